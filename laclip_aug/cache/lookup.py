"""Look rewrites up during training: memory-mapped, shared by all loader workers, checked.

The operating system keeps one copy of the map for all processes. What LMDB cannot stand is kept away from it: a file
cut short (a bus error) is refused by its size before it is mapped; an environment is opened anew in each process, and
never travels through a fork or a pickle; no lock file is needed, so a read-only mount will do.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import weakref
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lmdb

from laclip_aug.augmenter import CaptionAugmenter, Outcome, Rewrite, texts_of
from laclip_aug.cache.entry import crc32_of, unpack
from laclip_aug.cache.format import Manifest, read_manifest
from laclip_aug.cache.keys import caption_key
from laclip_aug.errors import CacheCorruptError, CacheFormatError, CacheMissError, ConfigurationError, UnknownNameError

FULL_CHECK_BYTES = 1 << 31
"""Up to this size (2 GiB, about two seconds) a lookup's checksum is compared when it is opened."""


class CaptionCache:
    """The rewrites of a cache, by caption.

    Args:
        directory: a cache whose build has finished (or that ``laclip-aug cache compile`` has made ready).
        check: compare the checksum of the whole lookup now. ``None`` does so up to 2 GiB. Whatever it says, the size is
            compared in each process, and each record's checksum when it is read. That catches a damaged text; damage
            to LMDB's own pages may show as a miss, or end the process. So run ``laclip-aug cache verify`` on a large
            cache that was copied.

    Raises:
        CacheFormatError: no cache, another format version, or one without a lookup.
        CacheCorruptError: the lookup is damaged.
    """

    def __init__(self, directory: str | Path, check: bool | None = None) -> None:
        self.directory = Path(directory)
        self.manifest: Manifest = read_manifest(self.directory)
        if self.manifest.lookup is None or not self.manifest.complete:
            raise CacheFormatError(
                f"the cache in {directory} has no lookup of all its shards: its build has not finished; run it "
                f"again, or use what there is after: laclip-aug cache compile {directory}"
            )
        self._entry: dict[str, Any] = self.manifest.lookup
        self._path = self.directory / self._entry["file"]
        self._sources: list[str] = self._entry["sources"]
        self._reader: _Reader | None = None
        self._check_size()
        if check or (check is None and self._entry["bytes"] <= FULL_CHECK_BYTES):
            self.check_whole()

    @property
    def sources(self) -> tuple[str, ...]:
        """What made the rewrites, such as the strategies of the LLM: all that is in any row, in a fixed order."""
        return tuple(self._sources)

    def most(self, sources: Collection[str]) -> int:
        """The largest number of rewrites of a caption from ``sources``."""
        counts = self.manifest.counts
        if not counts.largest:  # made by a release that did not note it: at most so many
            return counts.most
        return counts.most_from(sources)

    def fingerprint(self) -> str:
        """A hash of the stored texts' checksums and of what made them: equal where all texts are."""
        config, shards = self.manifest.config, self.manifest.shards
        parts = [config.fingerprint, str(config.seed), *(shard.sha256 for shard in shards)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    def __len__(self) -> int:
        """The number of captions, those without any accepted rewrite included."""
        return int(self._entry["records"])

    def __contains__(self, caption: str) -> bool:
        return self._value(caption_key(caption)) is not None

    def get(self, caption: str) -> tuple[Rewrite, ...] | None:
        """The rewrites of ``caption`` in the order of ``sources``; ``None`` if the cache does not know it.

        An empty tuple means that every rewrite of this caption was rejected. Takes a few microseconds.

        Raises:
            CacheCorruptError: the record is damaged.
        """
        key = caption_key(caption)
        value = self._value(key)
        return None if value is None else unpack(key, value, self._sources)

    def texts(self) -> Iterator[str]:
        """All rewrites, in the order of their captions' keys; as those are hashes, the first are a fair sample.

        Raises:
            CacheCorruptError: a record is damaged.
        """
        try:
            for key, value in self._open().items():
                yield from [rewrite.text for rewrite in unpack(key, value, self._sources)]
        except lmdb.Error as error:
            raise self._damaged(error) from error

    def check_whole(self) -> None:
        """Compare the checksum of the whole lookup with the manifest; raises :class:`CacheCorruptError`."""
        if crc32_of(self._path) != self._entry["crc32"]:
            raise CacheCorruptError(
                f"{self._path} is damaged; make it again with: laclip-aug cache compile {self.directory}"
            )

    def _check_size(self) -> None:
        try:
            size = self._path.stat().st_size
        except OSError as error:
            raise CacheCorruptError(
                f"{self._path} cannot be read ({error.strerror}); make it with: "
                f"laclip-aug cache compile {self.directory}"
            ) from None
        if size != self._entry["bytes"]:
            raise CacheCorruptError(
                f"{self._path} has {size} bytes, the manifest says {self._entry['bytes']}: it was cut short or "
                f"replaced; make it again with: laclip-aug cache compile {self.directory}"
            )

    def _open(self) -> _Reader:
        reader = self._reader
        if reader is None or reader.pid != os.getpid():
            self._check_size()
            reader = self._reader = _reader_of(self._path)
        return reader

    def _value(self, key: bytes) -> bytes | None:
        try:
            return self._open().get(key)
        except lmdb.Error as error:
            raise self._damaged(error) from error

    def _damaged(self, error: lmdb.Error) -> CacheCorruptError:
        return CacheCorruptError(
            f"{self._path} is damaged ({error}); make it again with: laclip-aug cache compile {self.directory}"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None}


class _Reader:
    """One read-only LMDB environment of this process, with one lasting read transaction (nothing writes the file)."""

    def __init__(self, path: Path) -> None:
        self.pid = os.getpid()
        try:
            self._environment = lmdb.open(str(path), subdir=False, readonly=True, lock=False, readahead=False)
            self._transaction = self._environment.begin(buffers=True)
        except lmdb.Error as error:
            raise CacheCorruptError(
                f"{path} is damaged ({error}); make it again with: laclip-aug cache compile DIR"
            ) from error
        self._limit = path.stat().st_size

    def get(self, key: bytes) -> bytes | None:
        value = self._transaction.get(key)
        return None if value is None else self._copied(value)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        with self._transaction.cursor() as cursor:
            for key, value in cursor:
                yield bytes(key), self._copied(value)

    def _copied(self, value: Any) -> bytes:
        if len(value) > self._limit:  # a damaged length; copying the bytes would leave the map
            raise lmdb.CorruptedError("a record is longer than the file")
        return bytes(value)

    def close(self) -> None:
        self._transaction.abort()
        self._environment.close()


_readers: weakref.WeakValueDictionary[tuple[int, int], _Reader] = weakref.WeakValueDictionary()


def _reader_of(path: Path) -> _Reader:
    """This process's reader of ``path``: LMDB must not open one file twice in a process, nor use a parent's."""
    status = path.stat()
    identity = (status.st_dev, status.st_ino)
    reader = _readers.get(identity)
    if reader is not None and reader.pid != os.getpid():
        reader.close()  # the copy that came through the fork; the parent's own stays open
        reader = None
    if reader is None:
        reader = _readers[identity] = _Reader(path)
    return reader


class CachedAugmenter(CaptionAugmenter):
    """The texts of a ready cache, as an augmenter (registered as ``"cached"``).

    Args:
        cache: the directory of a cache.
        on_miss: what to do with a caption that the cache does not know: ``"error"``, or ``"original"`` to let the
            caption stand in.

    Raises:
        CacheFormatError, CacheCorruptError: as :class:`CaptionCache`.
    """

    name = "cached"

    def __init__(self, cache: str | Path, on_miss: str = "error") -> None:
        if on_miss not in ("error", "original"):
            raise UnknownNameError("value of on_miss", str(on_miss), ("error", "original"))
        if not cache:
            raise ConfigurationError(
                "the cached augmenter needs a cache; give the directory that laclip-aug build made"
            )
        self.cache = CaptionCache(cache)
        self.on_miss = on_miss
        self.sources = self.cache.sources

    def augment(self, captions: Sequence[str], n: int, seed: int) -> list[list[str]]:
        """``n`` stored texts for each caption; ``seed`` plays no part, the texts are fixed.

        Raises:
            CacheMissError: a caption is unknown, and ``on_miss`` is ``"error"``.
        """
        return texts_of(self.outcomes(captions, n, seed), captions, n, self.sources)

    def outcomes(self, captions: Iterable[str], n: int, seed: int) -> Iterator[Outcome]:
        """One outcome per caption with the stored texts of the first ``n`` places in the cycle of sources."""
        for caption in captions:
            rewrites = self.cache.get(caption)
            if rewrites is None and self.on_miss == "error":
                raise CacheMissError(
                    f"the cache in {self.cache.directory} does not know the caption {caption[:80]!r}; run laclip-aug "
                    "build on this data into it, or let originals stand in with on_miss='original'"
                )
            quota = Counter(self.sources[j % len(self.sources)] for j in range(n)) if self.sources else Counter()
            chosen = []
            for rewrite in rewrites or ():
                if quota[rewrite.source] > 0:
                    quota[rewrite.source] -= 1
                    chosen.append(rewrite)
            yield Outcome(caption, tuple(chosen))

    def fingerprint(self) -> str:
        """A hash of the stored texts' checksums and of what made them."""
        return self.cache.fingerprint()

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "origin": self.cache.manifest.config.describe}

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("cached augmenter")
        group.add_argument("--from-cache", dest="cache", metavar="DIR", help="the cache to take texts from")
        group.add_argument("--on-miss", choices=("error", "original"), default="error", help="for unknown captions")

"""Look rewrites up during training: read from files that all loader workers share, and checked at each read.

A cache is opened at its last whole generation of tables and keeps to it, whatever a build adds meanwhile. Nothing but
reading is needed, so a read-only mount will do, and what is open works on in a forked worker.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from heapq import merge
from itertools import chain, groupby
from pathlib import Path
from shlex import quote
from typing import Any

from laclip_aug.augmenter import CaptionAugmenter, Outcome, Rewrite, texts_of
from laclip_aug.cache.dictionary import Dictionaries
from laclip_aug.cache.entry import unpack
from laclip_aug.cache.format import Manifest, TableEntry, read_manifest
from laclip_aug.cache.keys import caption_key, part_of, record_key
from laclip_aug.cache.table import Table
from laclip_aug.errors import (
    CacheCorruptError,
    CacheError,
    CacheFormatError,
    CacheMissError,
    ConfigurationError,
    UnknownNameError,
)
from laclip_aug.exchange.addresses import local_directory
from laclip_aug.exchange.row_keys import key_of as row_key

_TRIES = 10


class CaptionCache:
    """The rewrites of a cache, by caption or by the keys of images, as of its last whole generation.

    Opening costs the same for any size: each look-up checks what it reads. ``by_image`` tells whether rewrites are
    found by the keys of images.

    Args:
        directory: a cache whose first build has finished (or that ``laclip-aug cache compile`` has made ready).

    Raises:
        CacheFormatError: no cache, another format version, or one without a look-up.
        CacheCorruptError: the manifest or the head of a table is damaged.
        CacheError: ``directory`` is an address.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = local_directory(directory)
        self.manifest, self._tables = self._opened()
        self.by_image = self.manifest.by_image

    @property
    def sources(self) -> tuple[str, ...]:
        """What made the rewrites, such as the strategies of the LLM: all that is in any row, in a fixed order."""
        return tuple(self.manifest.sources)

    def most(self, sources: Collection[str]) -> int:
        """The largest number of rewrites of a caption from ``sources``."""
        return self.manifest.counts.most_from(sources)

    def fingerprint(self) -> str:
        """A hash of the stored texts' checksums and of what made them: equal where all texts are."""
        made = [f"{config.fingerprint} {config.seed}" for config in self.manifest.configs]
        parts = [*made, *(shard.sha256 for shard in self.manifest.shards)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    def __len__(self) -> int:
        """The number of captions, those without any accepted rewrite included."""
        return sum(entry.records for entry in self.manifest.tables)

    def __contains__(self, caption: str) -> bool:
        return self.get(caption) is not None

    def get(self, caption: str, image: str = "") -> tuple[Rewrite, ...] | None:
        """The rewrites of ``caption`` in the order of ``sources``; ``None`` if the cache does not know it.

        Where the cache is keyed by images (``by_image``), those of the image whose key is ``image``. An empty tuple
        means that every rewrite was rejected. Takes a few microseconds.

        Raises:
            ConfigurationError: the cache is keyed by images, and ``image`` is empty.
            CacheCorruptError: what would tell is damaged.
        """
        if not self.by_image:
            value = self.value(caption_key(caption))
        elif image:
            value = self.value(record_key(caption, row_key(image) or image))
        else:
            raise ConfigurationError(
                f"the cache in {self.directory} is keyed by images, and a caption alone finds nothing in it; give the "
                "image's key too, or import the rewrites without --image-key"
            )
        return None if value is None else unpack(value, self.manifest.sources)

    def texts(self) -> Iterator[str]:
        """All rewrites, in the order of their captions' keys; as those are hashes, the first are a fair sample.

        Raises:
            CacheCorruptError: a record is damaged.
        """
        generations = (chain.from_iterable(table.items() for table in parts) for parts in self._tables)
        for _, value in merge(*generations):
            yield from [rewrite.text for rewrite in unpack(value, self.manifest.sources)]

    def _opened(self) -> tuple[Manifest, list[list[Table]]]:
        for _ in range(_TRIES):  # a build may replace the generation between two steps
            manifest = read_manifest(self.directory)
            if not manifest.tables:
                raise CacheFormatError(
                    f"the cache in {self.directory} has no look-up: its build has not finished; run it again, or use "
                    f"what there is after: laclip-aug cache compile {quote(str(self.directory))}"
                )
            with suppress(FileNotFoundError):
                tables = self._tables_of(manifest)
                if all(table.path.exists() for parts in tables for table in parts):
                    return manifest, tables
        raise self._missing()

    def _tables_of(self, manifest: Manifest) -> list[list[Table]]:
        """The tables, each as the list of its parts: open files, of which nothing but the head is read yet."""
        try:
            shared = Dictionaries()
            return [
                [self._part(entry, shared) for entry in parts]
                for _, parts in groupby(manifest.tables, key=lambda entry: entry.first)
            ]
        except PermissionError as error:
            raise CacheError(f"{error.filename} cannot be read; check its permissions") from None

    def _part(self, entry: TableEntry, shared: Dictionaries) -> Table:
        table = Table(self.directory / entry.name, bytes.fromhex(entry.origin), shared)
        if (table.part, table.parts) != (entry.part, entry.parts):
            raise CacheCorruptError(
                f"{table.path} is part {table.part} of {table.parts}, and should be part {entry.part} of "
                f"{entry.parts}; make it again with: laclip-aug cache compile {quote(str(self.directory))}"
            )
        return table

    def _missing(self) -> CacheCorruptError:
        return CacheCorruptError(
            f"a table of the look-up in {self.directory} is missing; make it with: "
            f"laclip-aug cache compile {quote(str(self.directory))}"
        )

    def value(self, key: bytes) -> bytes | None:
        """What the look-up has under ``key``, as :func:`laclip_aug.cache.entry.unpack` takes it.

        Raises:
            CacheCorruptError: what would tell is damaged.
        """
        for parts in self._tables:
            if (value := parts[part_of(key, len(parts))].get(key)) is not None:
                return value
        return None

    def __getstate__(self) -> dict[str, Any]:
        return {"directory": self.directory, "manifest": self.manifest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In a spawned worker: open the generation that the parent has open, and so keeps."""
        self.directory, self.manifest = state["directory"], state["manifest"]
        self.by_image = self.manifest.by_image
        try:
            self._tables = self._tables_of(self.manifest)
        except FileNotFoundError:
            raise self._missing() from None


class CachedAugmenter(CaptionAugmenter):
    """The texts of a ready cache, as an augmenter (registered as ``"cached"``).

    Args:
        cache: the directory of a cache.
        on_miss: what to do with a caption that the cache does not know: ``"error"``, or ``"original"`` to let the
            caption stand in.

    Raises:
        CacheFormatError, CacheCorruptError: as :class:`CaptionCache`.
        ConfigurationError: no cache is named, or it is keyed by images.
        UnknownNameError: ``on_miss`` is none of these.
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
        if self.cache.by_image:
            raise ConfigurationError(
                f"the cache in {cache} is keyed by images, and an augmenter sees captions alone; import the rewrites "
                "without --image-key"
            )
        self.on_miss = on_miss
        self.sources = self.cache.sources

    def augment(self, captions: Sequence[str], n: int, seed: int) -> list[list[str]]:
        """``n`` stored texts for each caption; ``seed`` plays no part, the texts are fixed.

        Raises:
            CacheMissError: a caption is unknown, and ``on_miss`` is ``"error"``.
        """
        return texts_of(self.outcomes(captions, n, seed), captions, n, self.sources)

    def outcomes(self, captions: Iterable[str], n: int, seed: int) -> Iterator[Outcome]:
        """One outcome per caption with the stored texts of the first ``n`` places in the cycle of sources.

        Raises:
            CacheMissError: as :meth:`augment`.
        """
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
        """The cache's own description, as ``origin``."""
        return {**super().describe(), "origin": self.cache.manifest.config.describe}

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """``--from-cache`` and ``--on-miss``."""
        group = parser.add_argument_group("cached augmenter")
        group.add_argument("--from-cache", dest="cache", metavar="DIR", help="the cache to take texts from")
        group.add_argument("--on-miss", choices=("error", "original"), default="error", help="for unknown captions")

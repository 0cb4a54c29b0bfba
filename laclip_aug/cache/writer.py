"""The one writer of a cache: records in, shards out, nothing lost and nothing twice.

A record goes to the journal first. When the shard in work is full, three steps follow, each safe to be killed after:
the shard is written and renamed into place; the manifest that lists it replaces the old one; the journal, named after
its shard, is deleted. On opening, a journal of a shard that the manifest lists already is thus stale, and a shard that
the manifest does not list is still whole in its journal.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from laclip_aug.augmenter import Outcome, Rejection, Rewrite
from laclip_aug.cache.compile import BUCKETS, compile_lookup
from laclip_aug.cache.format import LOOKUP, MANIFEST, Config, Counts, open_or_create
from laclip_aug.cache.journal import Journal
from laclip_aug.cache.keys import KeySet, caption_key, normalise
from laclip_aug.cache.lock import writer_lock
from laclip_aug.cache.shards import read_keys, write_shard
from laclip_aug.errors import CacheCorruptError
from laclip_aug.exchange.files import TEMPORARY, disk_errors

INPUT_SOURCE = "input"
"""The ``source`` of a rejection of a caption as such (empty, too long), made by no augmenter."""


class CacheWriter:
    """Open a cache for writing, or make it; use it in a ``with`` statement.

    ``recovered`` and ``dropped_bytes`` tell what the journal of a killed run held.

    Args:
        directory: the cache; made if absent.
        config: what makes the texts; must equal what the cache was made with.
        shard_rows: captions per shard. A shard in work is held in memory once, when it is written.

    Raises:
        CacheFormatError: the directory holds something else, or another format version.
        CacheMismatchError: the cache was built with another configuration.
        CacheError: another process writes it, or the disk is full.
    """

    def __init__(self, directory: str | Path, config: Config, shard_rows: int = 65536) -> None:
        self.directory = Path(directory)
        self._shard_rows = shard_rows
        with ExitStack() as stack:
            stack.enter_context(writer_lock(self.directory))
            self.manifest = open_or_create(self.directory, config)
            self._clear_leftovers()
            self._journal = Journal(self._journal_path())
            stack.callback(lambda: self._close_journal())
            self.done = KeySet()
            for shard in self.manifest.shards:
                self.done.update(read_keys(self.directory, shard))
            self.done.update(caption_key(record.caption) for record in self._journal.records())
            self._stack = stack.pop_all()
        self.recovered, self.dropped_bytes = self._journal.recovered, self._journal.dropped

    def __enter__(self) -> CacheWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def new(self, captions: Iterable[str]) -> list[bool]:
        """For each normalised caption, whether it is new to the cache; from now on it is not."""
        return self.done.add_new([caption_key(caption) for caption in captions])

    def add(self, record: Outcome) -> None:
        """Store ``record``, whose caption ``new`` called new. Once this returns, a killed process cannot lose it."""
        self._journal.append(record)
        if len(self._journal) >= self._shard_rows:
            self._commit()

    def finish(self) -> None:
        """Write the last shard, and compile the lookup if anything changed."""
        if len(self._journal):
            self._commit()
        if not self.manifest.complete or not (self.directory / LOOKUP).exists():
            self.manifest.lookup = compile_lookup(self.directory, self.manifest)
        self.manifest.save(self.directory)

    def _commit(self) -> None:
        records = list(self._journal.records())
        shard = write_shard(self.directory, len(self.manifest.shards), records)
        self.manifest.shards.append(shard)
        count(self.manifest.counts, records)
        self.manifest.save(self.directory)
        self._journal.close()
        self._journal.path.unlink()
        self._journal = Journal(self._journal_path())

    def _close_journal(self) -> None:
        self._journal.close()
        if not len(self._journal):
            self._journal.path.unlink(missing_ok=True)

    def _journal_path(self) -> Path:
        return self.directory / f"journal-{len(self.manifest.shards):06d}"

    def _clear_leftovers(self) -> None:
        """Delete what a kill left behind and nothing needs: half-written files, journals of shards that are listed."""
        current = self._journal_path().name
        with disk_errors(self.directory):
            shutil.rmtree(self.directory / BUCKETS, ignore_errors=True)
            for kind in (MANIFEST, LOOKUP, "shard-*"):
                for half in self.directory.glob(kind + TEMPORARY):
                    half.unlink()
            for journal in self.directory.glob("journal-*"):
                if journal.name > current:
                    raise CacheCorruptError(
                        f"{journal} belongs to a later state of the cache than {MANIFEST}; restore the later manifest"
                    )
                if journal.name < current:
                    journal.unlink()


def count(counts: Counts, records: Iterable[Outcome]) -> None:
    """Add ``records`` to ``counts``; rejections of the caption as such are counted with the input, not here."""
    rewrites, rejections = counts.rewrites, counts.rejections
    for record in records:
        counts.captions += 1
        counts.with_rewrites += bool(record.rewrites)
        counts.most = max(counts.most, len(record.rewrites))
        counts.tokens += record.tokens
        counts.widen(Counter(rewrite.source for rewrite in record.rewrites))
        for rewrite in record.rewrites:
            rewrites[rewrite.source] = rewrites.get(rewrite.source, 0) + 1
        for rejection in record.rejections:
            if rejection.source != INPUT_SOURCE:
                rejections[rejection.reason] = rejections.get(rejection.reason, 0) + 1


def storable(record: Outcome) -> Outcome:
    """``record`` with each text that no cache may hold turned into a named rejection.

    ``empty``: nothing but white space; ``unchanged``: says what the caption says; ``nul``: has a NUL character;
    ``not-unicode``: has a lone surrogate, which no UTF-8 file can hold.
    """
    kept: list[Rewrite] = []
    refused = [Rejection(r.source, r.reason, encodable(r.text)) for r in record.rejections]
    for rewrite in record.rewrites:
        if reason := _unfit(rewrite.text, record.caption):
            refused.append(Rejection(rewrite.source, reason, encodable(rewrite.text)))
        else:
            kept.append(rewrite)
    return Outcome(record.caption, tuple(kept), tuple(refused), record.tokens)


def encodable(text: str) -> str:
    """``text`` with each lone surrogate written as ``\\udXXX``."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _unfit(text: str, caption: str) -> str | None:
    plain = normalise(text)
    if not plain:
        return "empty"
    if plain == caption:
        return "unchanged"
    if "\0" in text:
        return "nul"
    return "not-unicode" if encodable(text) != text else None

"""Look at single records of a cache, finished or not: those in its shards, then those in the journal."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, chain, islice
from pathlib import Path

from laclip_aug.augmenter import Outcome
from laclip_aug.cache.format import Counts, Manifest, counted, read_manifest
from laclip_aug.cache.journal import Scan, read_journal
from laclip_aug.cache.keys import caption_key, record_key
from laclip_aug.cache.shards import read_keys, read_rows, read_shard
from laclip_aug.errors import ConfigurationError
from laclip_aug.exchange.row_keys import key_of as row_key


@dataclass
class Snapshot:
    """A cache at one moment, and what a build that has not finished has in its journal."""

    directory: Path
    manifest: Manifest
    journal: Scan

    @property
    def pending(self) -> list[Outcome]:
        """The records in the journal."""
        return list(self.journal.records)

    @property
    def counts(self) -> Counts:
        """Totals over shards and journal."""
        total = self.manifest.counts
        total.include(counted(self.journal.records))
        return total


def snapshot(directory: Path) -> Snapshot:
    """The cache in ``directory`` as it is now; a build may go on meanwhile.

    Raises:
        CacheFormatError, CacheCorruptError: the manifest cannot be read.
    """
    read_manifest(directory)
    # journals first: one that becomes a shard before the manifest is read is listed there, and skipped here
    journals = {path.name: read_journal(path) for path in sorted(directory.glob("journal-*"))}
    manifest = read_manifest(directory)
    return Snapshot(directory, manifest, journals.get(f"journal-{len(manifest.shards):06d}", Scan()))


def records(directory: Path) -> Iterator[Outcome]:
    """Every record, in the order of shards and keys, then of the journal."""
    now = snapshot(directory)
    stored = (record for shard in now.manifest.shards for _, record in read_shard(directory, shard))
    return chain(stored, now.pending)


def find(directory: Path, caption: str) -> Outcome | None:
    """The record of ``caption`` with its rejections, or ``None``; in a cache keyed by images, that of the image of this
    key. Reads all shards.
    """
    now = snapshot(directory)
    wanted = record_key("", row_key(caption) or caption) if now.manifest.by_image else caption_key(caption)
    for shard in now.manifest.shards:
        for number, key in enumerate(read_keys(directory, shard)):
            if key == wanted:
                return next(read_rows(directory, shard, [number]))
    return next((r for r in now.pending if record_key(r.caption, r.image) == wanted), None)


def head(directory: Path, count: int) -> list[Outcome]:
    """The first ``count`` records in the order of :func:`records`.

    Raises:
        ConfigurationError: ``count`` is negative.
    """
    _check(count, "head")
    return list(islice(records(directory), count))


def sample(directory: Path, count: int, seed: int) -> list[Outcome]:
    """``count`` records drawn without replacement, in the order of :func:`records`; all of them if there are fewer.

    Raises:
        ConfigurationError: ``count`` is negative.
    """
    _check(count, "sample")
    now = snapshot(directory)
    shards, pending = now.manifest.shards, now.pending
    total = sum(shard.rows for shard in shards)
    everything = total + len(pending)
    chosen = sorted(random.Random(seed).sample(range(everything), min(count, everything)))
    found: list[Outcome] = []
    for shard, end in zip(shards, accumulate(shard.rows for shard in shards), strict=True):
        start = end - shard.rows
        found += read_rows(directory, shard, [number - start for number in chosen if start <= number < end])
    return found + [pending[number - total] for number in chosen if number >= total]


def _check(count: int, name: str) -> None:
    if count < 0:
        raise ConfigurationError(f"--{name} {count}: give 0 or more records")

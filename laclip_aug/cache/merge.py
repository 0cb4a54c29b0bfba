"""Several caches as one: the shards of a divided build, or caches of different captions.

Shard follows shard, cache after cache in the order in which they are named. A shard of new captions is linked or copied
as it is; of one that shares captions with earlier ones the new rows are written. So the work is that of what is new, a
caption has the record of the first cache that has it, and each shard still tells which run made it. Killed, the same
call goes on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from laclip_aug.augmenter import Outcome
from laclip_aug.cache.browse import snapshot
from laclip_aug.cache.compile import clear_tables, compile_lookup
from laclip_aug.cache.config import check_same
from laclip_aug.cache.format import Counts, Manifest, Shard
from laclip_aug.cache.keys import KeySet
from laclip_aug.cache.lock import writer_lock
from laclip_aug.cache.shards import read_keys, read_shard, shard_name, write_shard
from laclip_aug.cache.writer import next_shard, open_manifest, origin_of, run_number
from laclip_aug.errors import CacheMismatchError, ConfigurationError
from laclip_aug.exchange.addresses import local_directory
from laclip_aug.exchange.files import TEMPORARY, disk_errors

_EXAMPLES = 3
_OF_A_PART = ("empty", "too-long", "nul", "not-unicode")
"""Reasons of a refused caption that each part of a divided build counts for its own captions only."""


@dataclass
class MergeReport:
    """What a merge did: shards taken as they are and written anew, captions that were there already, and of these the
    ones whose later rewrites are others (``conflicts``), some of them by name.
    """

    linked: int = 0
    written: int = 0
    repeated: int = 0
    conflicts: int = 0
    examples: list[str] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)

    def lines(self) -> list[str]:
        """The report for people, one statement a line."""
        out = [f"{self.linked} shards taken as they are, {self.written} written anew"]
        if self.repeated:
            out.append(f"{self.repeated} captions were in an earlier cache already, whose record is kept")
        if self.conflicts:
            named = "; ".join(self.examples)
            out.append(f"  conflicts, other rewrites there: {self.conflicts}, for example {named}")
        counts = self.counts
        return [*out, f"the cache holds {counts.captions} captions; {counts.with_rewrites} of them have a rewrite"]


def merge_caches(
    directories: Sequence[str | Path], out: str | Path, *, allow_mixed: bool = False, progress: bool | None = None
) -> MergeReport:
    """Write the records of the caches in ``directories`` to ``out``.

    Args:
        directories: finished caches, by rank: of a caption that several have, the record of the first is kept.
        out: a new directory, or what the same call left when it was killed.
        allow_mixed: take caches of different configurations.

    Raises:
        ConfigurationError: fewer than one cache, one that is not finished, or ``out`` is one of them.
        CacheMismatchError: the caches were built with different configurations, or ``out`` holds something else.
        CacheFormatError, CacheCorruptError: a cache cannot be read.
        CacheError: the disk is full, or another process writes ``out``.
    """
    places, out = [local_directory(directory) for directory in directories], local_directory(out)
    if not places:
        raise ConfigurationError("there is nothing to merge; name the caches")
    if out.exists() and any(out.resolve() == place.resolve() for place in places):
        raise ConfigurationError(f"{out} is one of the caches; give a new directory with --out")
    if len({place.resolve() for place in places}) < len(places):
        raise ConfigurationError("a cache is named twice; name each once")
    manifests = [_finished(place) for place in places]
    for place, manifest in zip(places, manifests, strict=True):
        if not allow_mixed:
            for config in manifest.configs:
                check_same(places[0], manifests[0].configs, config)
        if not manifest.shards:
            raise ConfigurationError(f"{place} holds no captions; leave it out")
    with writer_lock(out):
        target, report = open_manifest(out), MergeReport()
        begun, made = target.shards, 0
        if not begun:
            target = Manifest([manifests[0].config], unfinished=True)
        known = KeySet()
        rows = sum(shard.rows for manifest in manifests for shard in manifest.shards)
        with tqdm(
            total=rows, desc="merge", unit=" captions", disable=None if progress is None else not progress
        ) as bar:
            for place, source in zip(places, manifests, strict=True):
                for shard in source.shards:
                    fresh = known.add_new(keys := list(read_keys(place, shard)))
                    report.repeated += len(keys) - sum(fresh)
                    if any(fresh):
                        if made < len(begun):
                            _check_begun(out, begun[made], [k for k, new in zip(keys, fresh, strict=True) if new])
                        else:
                            _take(place, source, shard, fresh, out, target)
                        report.linked += all(fresh)
                        report.written += not all(fresh)
                        made += 1
                    bar.update(shard.rows)
        if made < len(begun):
            raise CacheMismatchError(f"{out} holds more than these caches; give a new directory with --out")
        _conflicts(places, manifests, report)
        target.inputs = _inputs(manifests)
        compile_lookup(out, target)
        target.unfinished = any(manifest.unfinished for manifest in manifests)
        target.save(out)
        clear_tables(out, target)
    report.counts = target.counts
    return report


def _finished(place: Path) -> Manifest:
    now = snapshot(place)
    if now.pending or now.manifest.unfinished:
        raise ConfigurationError(f"the build of {place} has not finished; run it to its end first")
    return now.manifest


def _take(place: Path, source: Manifest, shard: Shard, fresh: list[bool], out: Path, target: Manifest) -> None:
    """Make the new rows of ``shard`` the next shard of ``target``."""
    origins = [origin_of(source, run) for run in shard.made_by]
    with next_shard(out, target) as index:
        if all(fresh):
            with disk_errors(out):
                _link(place / shard.name, out / shard_name(index))
            taken = replace(shard, name=shard_name(index))
        else:
            records = [r for (_, r), new in zip(read_shard(place, shard), fresh, strict=True) if new]
            taken = write_shard(out, index, records, origins)
        taken.made_by = [run_number(target, origin) for origin in origins]
        target.shards.append(taken)


def _link(file: Path, to: Path) -> None:
    """One file under both names, where the file system has that; shards are never written to. Else a copy."""
    half = to.with_name(to.name + TEMPORARY)
    half.unlink(missing_ok=True)
    try:
        os.link(file, half)
    except OSError:
        shutil.copyfile(file, half)
        with half.open("rb") as copied:
            os.fsync(copied.fileno())
    half.replace(to)


def _check_begun(out: Path, there: Shard, keys: list[bytes]) -> None:
    if list(read_keys(out, there)) != keys:
        raise CacheMismatchError(f"{out} holds something else than these caches; give a new directory with --out")


def _conflicts(places: Sequence[Path], manifests: Sequence[Manifest], report: MergeReport) -> None:
    """Compare the records of captions that several caches have."""
    if not report.repeated:
        return
    known, shared = KeySet(), set[bytes]()
    for keys in _keys(places, manifests):
        shared |= {key for key, new in zip(keys, known.add_new(keys), strict=True) if not new}
    first: dict[bytes, tuple[Any, ...]] = {}
    for place, manifest in zip(places, manifests, strict=True):
        for shard in manifest.shards:
            if shared.isdisjoint(read_keys(place, shard)):
                continue
            for key, record in read_shard(place, shard):
                if key in shared and first.setdefault(key, _texts(record)) != _texts(record):
                    report.conflicts += 1
                    if len(report.examples) < _EXAMPLES:
                        report.examples.append(f"{record.caption[:60]!r} in {place}")


def _keys(places: Sequence[Path], manifests: Sequence[Manifest]) -> Iterator[list[bytes]]:
    for place, manifest in zip(places, manifests, strict=True):
        for shard in manifest.shards:
            yield list(read_keys(place, shard))


def _texts(record: Outcome) -> tuple[Any, ...]:
    return tuple((rewrite.source, rewrite.text) for rewrite in record.rewrites)


def _inputs(manifests: Sequence[Manifest]) -> dict[str, dict[str, Any]]:
    """What was read. The parts of a divided build read the same rows, and each counts what is wrong with its own."""
    found: dict[str, dict[str, Any]] = {}
    for manifest in manifests:
        for name, entry in manifest.inputs.items():
            before = found.get(name)
            if before is None or not ("shard" in before and "shard" in entry):
                found[name if before is None else f"{name} ({len(found) + 1})"] = dict(entry)
                continue
            before["rows"] = max(before["rows"], entry["rows"])
            before["shard"] = f"{before['shard']}, {entry['shard']}"
            for group in ("rejections", "failed"):
                mine = dict(before.get(group, {}))
                for reason, number in entry.get(group, {}).items():
                    one = mine.get(reason, 0)
                    mine[reason] = one + number if group == "failed" or reason in _OF_A_PART else max(one, number)
                if mine or group == "rejections":
                    before[group] = mine
    return found

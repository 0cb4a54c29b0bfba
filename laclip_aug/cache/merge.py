"""Several caches as one: the shards of a divided build, or caches of different captions.

Shard follows shard, cache after cache in the order in which they are named. A shard of new captions is linked or copied
as it is; of one that shares captions with earlier ones the new rows are written. So a caption has the record of the
first cache that has it, and each shard still tells which run made it.

The manifest tells which shards were taken, so the work is that of what is new: when one more part has come, or one has
grown, the shards taken before are not even read, and new captions are looked up among those there. Killed, the same
call goes on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from laclip_aug.cache.bar import Bar
from laclip_aug.cache.browse import snapshot
from laclip_aug.cache.compile import clear_tables, compile_lookup
from laclip_aug.cache.config import check_keyed, check_same
from laclip_aug.cache.entry import pack
from laclip_aug.cache.format import Counts, Manifest, Shard
from laclip_aug.cache.inputs import take_inputs
from laclip_aug.cache.keys import KeySet
from laclip_aug.cache.lock import writer_lock
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.shards import read_keys, read_shard, shard_name, write_shard
from laclip_aug.cache.writer import journal_path, next_shard, open_manifest, origin_of_run, run_number
from laclip_aug.errors import ConfigurationError
from laclip_aug.exchange.addresses import local_directory
from laclip_aug.exchange.files import TEMPORARY, disk_errors

_EXAMPLES = 3
Source = tuple[Path, Manifest]


@dataclass
class MergeReport:
    """What is in ``out`` of the named caches: shards taken as they are and written anew, of both those that an earlier
    call had taken already (``before``), captions that were there when their shard came, and of these the ones whose
    rewrites there are others (``conflicts``), some that this call found by name.
    """

    linked: int = 0
    written: int = 0
    before: int = 0
    repeated: int = 0
    conflicts: int = 0
    examples: list[str] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)

    def lines(self) -> list[str]:
        """The report for people, one statement a line."""
        earlier = f"; {self.before} of these by an earlier merge" if self.before else ""
        out = [f"{self.linked} shards taken as they are, {self.written} written anew{earlier}"]
        if self.repeated:
            out.append(f"{self.repeated} captions were in an earlier cache already, whose record is kept")
        if self.conflicts:
            named = f", for example {'; '.join(self.examples)}" if self.examples else ""
            out.append(f"  conflicts, other rewrites there: {self.conflicts}{named}")
        return [*out, *self.counts.lines()]


def merge_caches(
    directories: Sequence[str | Path], out: str | Path, *, allow_mixed: bool = False, progress: bool | None = None
) -> MergeReport:
    """Add the records of the caches in ``directories`` to ``out``.

    Args:
        directories: finished caches, by rank: of a caption that several have, the record of the first is kept.
        out: a new directory, what a killed call left, or a finished cache, whose records are kept before all others.
        allow_mixed: take caches of different configurations.

    Raises:
        ConfigurationError: fewer than one cache, one that is not finished, or ``out`` is one of them.
        CacheMismatchError: the caches were built with different configurations.
        CacheFormatError, CacheCorruptError: a cache cannot be read.
        CacheError: the disk is full, or another process writes ``out``.
    """
    places, out = [local_directory(directory) for directory in directories], local_directory(out)
    if not places:
        raise ConfigurationError("there is nothing to merge; name the caches")
    if out.exists() and any(out.resolve() == place.resolve() for place in places):
        raise ConfigurationError(
            f"{out} is one of the caches; give a new directory with --out, or name only the others to add them to {out}"
        )
    if len({place.resolve() for place in places}) < len(places):
        raise ConfigurationError("a cache is named twice; name each once")
    sources = [(place, _finished(place)) for place in places]
    with writer_lock(out):
        target, report = open_manifest(out), MergeReport()
        if not target.shards and not journal_path(out, target).exists():
            target = Manifest(list(sources[0][1].configs))
        elif target.unfinished and not target.merged.under_way:
            raise ConfigurationError(
                f"the build of {out} has not finished; run it to its end first, or give a new directory with --out"
            )
        for place, source in sources:
            for config in source.configs:
                check_keyed(out if target.shards else places[0], target.configs, config)
                if not allow_mixed:
                    check_same(out if target.shards else places[0], target.configs, config, place)
            if not source.shards:
                raise ConfigurationError(f"{place} holds no captions; leave it out")
        named = [source.shards[0].sha256 for _, source in sources]
        if not set(target.merged.under_way) <= set(named):
            raise ConfigurationError(
                f"a merge into {out} that was killed had other caches too; name them again, or give a new directory "
                "with --out"
            )
        target.unfinished, target.merged.under_way = True, named
        _take_all(sources, out, target, report, progress)
        take_inputs(target, (source for _, source in sources))
        compile_lookup(out, target, bars=partial(Bar, shown=progress))
        target.save(out)
        _compare_all(sources, out, target, report)
        target.unfinished, target.merged.under_way = False, []
        target.save(out)
        clear_tables(out, target)
    report.counts = target.counts
    return report


def _take_all(
    sources: Sequence[Source], out: Path, target: Manifest, report: MergeReport, progress: bool | None
) -> None:
    """Make what is new in ``sources`` shards of ``target``."""
    taken = target.merged.shards
    new = [shard.rows for _, source in sources for shard in source.shards if shard.sha256 not in taken]
    there, met = _There(out, target) if new else None, set[str]()
    with Bar("merge", sum(new), progress) as bar:
        for place, source in sources:
            for shard in source.shards:
                if shard.sha256 in met:  # the same file in two caches
                    report.repeated += shard.rows
                    continue
                met.add(shard.sha256)
                if there is None or shard.sha256 in taken:
                    report.before += taken[shard.sha256][0] < shard.rows
                else:
                    fresh = there.add_new(list(read_keys(place, shard)))
                    if any(fresh):
                        _take(place, source, shard, fresh, out, target)
                    else:
                        taken[shard.sha256] = shard.rows, None
                    bar.add(shard.rows)
                repeated = taken[shard.sha256][0]
                report.repeated += repeated
                report.linked += not repeated
                report.written += 0 < repeated < shard.rows


class _There:
    """Which captions ``target`` has: those of its look-up stay on the disk, keys of later shards are in memory."""

    def __init__(self, out: Path, target: Manifest) -> None:
        self._lookup = CaptionCache(out) if target.tables else None
        self._later = KeySet()
        for shard in target.shards[target.tables[-1].end if target.tables else 0 :]:
            self._later.update(read_keys(out, shard))

    def add_new(self, keys: list[bytes]) -> list[bool]:
        """For each of ``keys``, whether it is new; from now on it is not."""
        fresh = self._later.add_new(keys)
        if self._lookup is None:
            return fresh
        return [new and self._lookup.value(key) is None for key, new in zip(keys, fresh, strict=True)]


def _compare_all(sources: Sequence[Source], out: Path, target: Manifest, report: MergeReport) -> None:
    """Count, once for each shard, the captions that have other rewrites in ``out``."""
    taken, met = target.merged.shards, set[str]()
    lookup = CaptionCache(out)
    numbers = {source: number for number, source in enumerate(target.sources)}
    for place, source in sources:
        for shard in source.shards:
            if shard.sha256 in met:
                continue
            met.add(shard.sha256)
            repeated, conflicts = taken[shard.sha256]
            if conflicts is None:
                conflicts = 0
                for key, record in read_shard(place, shard):  # rows taken from it are equal
                    texts = [(text.source, text.text) for text in record.rewrites]
                    known = all(source in numbers for source, _ in texts)  # no record of theirs was taken otherwise
                    if not known or lookup.value(key) != pack(texts, numbers):
                        conflicts += 1
                        if len(report.examples) < _EXAMPLES:
                            report.examples.append(f"{record.caption[:60]!r} in {place}")
                taken[shard.sha256] = repeated, conflicts
            report.conflicts += conflicts


def _finished(place: Path) -> Manifest:
    now = snapshot(place)
    if now.pending or now.manifest.unfinished:
        raise ConfigurationError(f"the build of {place} has not finished; run it to its end first")
    return now.manifest


def _take(place: Path, source: Manifest, shard: Shard, fresh: list[bool], out: Path, target: Manifest) -> None:
    """Make the new rows of ``shard`` the next shard of ``target``."""
    origins = [origin_of_run(source, run) for run in shard.made_by]
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
        target.merged.shards[shard.sha256] = fresh.count(False), 0 if all(fresh) else None


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

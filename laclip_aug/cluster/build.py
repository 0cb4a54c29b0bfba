"""Build a cache on a cluster: its parts by many workers, and the parts as one.

The driver holds nothing that cannot be lost. Parts are caches on the shared file system, and their number is written
beside them; a driver that is killed and started again finds both, and each part goes on from its journal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from laclip_aug.augmenter import CaptionAugmenter
from laclip_aug.cache.format import MANIFEST, read_manifest
from laclip_aug.cache.lock import writer_lock
from laclip_aug.cache.merge import MergeReport, merge_caches
from laclip_aug.cache.progress import Progress
from laclip_aug.cluster.driver import Driver, Tally
from laclip_aug.cluster.ray import RayCluster
from laclip_aug.cluster.worker import Work, folder_of
from laclip_aug.errors import CacheError, CacheFormatError, InputError
from laclip_aug.exchange.files import replace_file
from laclip_aug.exchange.readers import CaptionInput

_PARTS_OF_A_WORKER = 4
"""Each part reads the whole input, and the last ones to end leave workers idle: few parts against many."""
_LEAST_ROWS = 2000
"""Of a part, where each worker has one: as a part ends fewer and fewer captions are rewritten at once."""
_PLAN = "plan.json"


@dataclass
class ClusterReport:
    """What a run on a cluster did (``run``), and what the merged cache holds (``merged``)."""

    folder: Path
    parts: int
    workers: int
    run: Tally
    merged: MergeReport

    def lines(self) -> list[str]:
        """The report for people, one statement a line."""
        out = [
            f"failed, {reason}: {number} captions, for example {'; '.join(self.run.examples[reason][:3])}; nothing is "
            "stored of them: run the same command again to ask for them again"
            for reason, number in self.run.failed.most_common()
        ]
        run, log = self.run.run, self.run.log
        out.append(
            f"read {log.rows} rows: {run.captions} captions made in {self.parts} parts on {self.workers} workers, "
            f"{self.run.repeated} repeated or made before, {sum(log.rejections.values())} refused"
        )
        out += [f"  {line}" for line in (*log.lines(), *log.audit)]
        if self.run.replaced or self.run.tried_again:
            out.append(
                f"  workers that died and were replaced: {self.run.replaced}; parts tried again: {self.run.tried_again}"
            )
        seconds = max(self.run.seconds, 1e-9)
        tried = f", {run.acceptance:.1%} of attempts accepted" if run.tried else ""
        out.append(
            f"this run: {self.run.seconds:.1f} s, {run.captions / seconds:.1f} captions/s, "
            f"{run.tokens / seconds:.0f} tokens/s{tried}"
        )
        kept = f"its parts stay in {self.folder}, for a later run with more captions, and share their disk with it"
        return [*out, *self.merged.lines(), kept]


def build_on_cluster(
    cluster: RayCluster,
    make: Callable[[], CaptionAugmenter],
    work: Work,
    *,
    progress: bool | None = None,
) -> ClusterReport:
    """Build the cache ``work.directory`` on ``cluster``; goes on where a killed run stopped.

    Every machine has to see the inputs and the directory under the same paths, and have this package installed.

    Args:
        make: makes the augmenter, on each worker; Ray carries it there.
        work: what to build. There are as many parts as an earlier run had, else :func:`parts_for` says how many.
        progress: as of :func:`~laclip_aug.cache.build.build_cache`; one bar for all workers.

    Raises:
        LaclipError: what a build raises, of the first part that raised it. What was made is kept.
        CacheError: a part could not be written for half an hour, or its workers died one after another.
    """
    target = Path(work.home) / work.directory
    folder = folder_of(target)
    with writer_lock(folder):
        work = replace(work, parts=_planned(work, cluster.workers, folder, target))
        driver = Driver(cluster, make, work, Progress(progress))
        try:
            driver.run()
        finally:
            driver.close()
        places = [work.place(part) for part in range(work.parts)]
        full = [place for place in places if (place / MANIFEST).is_file() and read_manifest(place).shards]
        if not full:
            raise InputError(f"{', '.join(work.inputs)}: there is no caption to make anything of; check the input")
        merged = merge_caches(full, target, allow_mixed=work.allow_mixed, progress=progress)
    return ClusterReport(folder, work.parts, min(cluster.workers, work.parts), driver.tally, merged)


def _planned(work: Work, workers: int, folder: Path, target: Path) -> int:
    """The number of parts that an earlier run wrote down, or one that suits the input, which is written down now."""
    path = folder / _PLAN
    if path.is_file():
        try:
            return int(json.loads(path.read_text(encoding="utf-8"))["parts"])
        except (ValueError, KeyError, TypeError):
            number = sum(place.is_dir() for place in folder.iterdir())
            raise CacheFormatError(
                f'{path} is damaged; it has to say {{"parts": N}}, the number of parts, of which {number} are there'
            ) from None
    if (target / MANIFEST).is_file():
        raise CacheError(
            f"{target} holds a cache, and {folder} with its parts is not there; build into another directory, and "
            "merge both with laclip-aug cache merge"
        )
    parts = parts_for(CaptionInput(work.inputs, work.options), workers)
    replace_file(path, json.dumps({"parts": parts}).encode())
    return parts


def parts_for(captions: Iterable[str], workers: int) -> int:
    """Parts of at least 2,000 captions, one to four for each worker; reads no more captions than it needs."""
    most = _PARTS_OF_A_WORKER * workers
    rows = sum(1 for _ in islice(captions, most * _LEAST_ROWS))
    return max(workers, rows // _LEAST_ROWS)

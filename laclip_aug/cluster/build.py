"""Build a cache on a cluster: hand out the parts, replace who dies, put the parts together.

The driver holds nothing that cannot be lost. Parts are caches on the shared file system, and their number is written
beside them; a driver that is killed and started again finds both, and each part goes on from its journal.
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from laclip_aug import errors
from laclip_aug.augmenter import CaptionAugmenter
from laclip_aug.cache.format import MANIFEST, read_manifest
from laclip_aug.cache.lock import writer_lock
from laclip_aug.cache.merge import MergeReport, merge_caches
from laclip_aug.cache.progress import Progress
from laclip_aug.cluster.ray import RayCluster, WorkerLost
from laclip_aug.cluster.worker import Answer, State, Work, folder_of
from laclip_aug.errors import CacheError, CacheFormatError, InputError, LaclipError
from laclip_aug.exchange.files import replace_file

PARTS_OF_A_WORKER = 4
"""Each part reads the whole input, and the last ones to end leave workers idle: few parts against many."""
_PLAN = "plan.json"
_TICK = 0.5
_DEATHS = 5
"""Workers that may die on a part one after another, with nothing stored between, until it is given up."""
_WAITS = (1.0, 60.0)
"""Seconds until a part is tried again, twice as many each time."""
_PATIENCE = {"CacheError": 1800.0, "OSError": 1800.0, "InputError": 10.0, "ModelError": 10.0, "BackendError": 1800.0}
"""Seconds over which an error is taken for one that passes, as a full disk does. Any other ends the run at once."""


@dataclass
class ClusterReport:
    """What a run on a cluster did, besides what the merged cache holds (``merged``)."""

    parts: int
    workers: int
    made: int = 0
    tokens: int = 0
    rows: int = 0
    seconds: float = 0.0
    replaced: int = 0
    tried_again: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    merged: MergeReport = field(default_factory=MergeReport)

    def lines(self) -> list[str]:
        """The report for people, one statement a line."""
        out = [
            f"failed, {reason}: {number} captions, for example {'; '.join(self.examples[reason][:3])}; nothing is "
            "stored of them: run the same command again to ask for them again"
            for reason, number in self.failed.most_common()
        ]
        rate = self.made / max(self.seconds, 1e-9)
        out.append(f"read {self.rows} rows: {self.made} captions made in {self.parts} parts on {self.workers} workers")
        if self.replaced or self.tried_again:
            out.append(f"  workers that died and were replaced: {self.replaced}; parts tried again: {self.tried_again}")
        tokens = self.tokens / max(self.seconds, 1e-9)
        out.append(f"this run: {self.seconds:.1f} s, {rate:.1f} captions/s, {tokens:.0f} tokens/s")
        return out + self.merged.lines()


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
        work: what to build; the number of parts of an earlier run takes the place of ``work.parts``.
        progress: as of :func:`~laclip_aug.cache.build.build_cache`; one bar for all workers.

    Raises:
        LaclipError: what a build raises, of the first part that raised it. What was made is kept.
        CacheError: a part could not be written for half an hour, or its workers died one after another.
    """
    target = Path(work.home) / work.directory
    folder = folder_of(target)
    with writer_lock(folder):
        work = replace(work, parts=_planned(work.parts, folder, target))
        driver = _Driver(cluster, make, work, Progress(progress))
        try:
            driver.run()
        finally:
            driver.close()
    report, places = driver.report, [work.place(part) for part in range(work.parts)]
    full = [place for place in places if (place / MANIFEST).is_file() and read_manifest(place).shards]
    if not full:
        raise InputError(f"{', '.join(work.inputs)}: there is no caption to make anything of; check the input")
    report.merged = merge_caches(full, target, allow_mixed=work.allow_mixed, progress=progress)
    return report


def _planned(parts: int, folder: Path, target: Path) -> int:
    """The number of parts that an earlier run wrote down, or ``parts``, which is written down now."""
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
    replace_file(path, json.dumps({"parts": parts}).encode())
    return parts


@dataclass
class _Part:
    """A part that is not done: when to try it, how long it has been failing, and what of."""

    number: int
    due: float = 0.0
    failing_since: float | None = None
    waits: float = _WAITS[0]
    deaths: int = 0
    stored: int = -1


class _Driver:
    """The parts to do, the workers, and what each of them is asked."""

    def __init__(
        self, cluster: RayCluster, make: Callable[[], CaptionAugmenter], work: Work, progress: Progress
    ) -> None:
        self._cluster, self._make, self._work, self._progress = cluster, make, work, progress
        self.report = ClusterReport(work.parts, min(cluster.workers, work.parts))
        self._todo = deque(_Part(number) for number in range(work.parts))
        self._workers: list[Any] = []
        self._building: dict[Any, tuple[Any, _Part]] = {}  # answer to come → worker, part
        self._asked: dict[Any, Any] = {}  # state to come → worker
        self._states: dict[int, State] = {}  # by part
        self._given_up: list[str] = []
        self._done = 0
        self._started = time.monotonic()

    def run(self) -> None:
        """Build all parts. Raises as :func:`build_on_cluster`."""
        while self._todo or self._building:
            self._hand_out()
            for answered in self._cluster.wait([*self._building, *self._asked], _TICK):
                if answered in self._asked:
                    self._note_state(answered)
                elif answered in self._building:
                    self._note_answer(answered)
            self._show()
        self.report.seconds = time.monotonic() - self._started
        if self._given_up:
            raise CacheError(
                f"{len(self._given_up)} of {self._work.parts} parts were given up: {'; '.join(self._given_up[:3])}. "
                "The others are stored: once that is mended, run the same command again"
            )

    def close(self) -> None:
        """End the workers, and leave the bar as it is."""
        self._show(force=True)
        self._progress.close()
        for worker in self._workers:
            self._cluster.stop(worker)
        self._workers.clear()

    def _hand_out(self) -> None:
        """Give each free worker a part that is due, and start workers while there are parts for them."""
        busy = {id(worker) for worker, _ in self._building.values()}
        free = [worker for worker in self._workers if id(worker) not in busy]
        now = time.monotonic()
        for _ in range(len(self._todo)):
            part = self._todo.popleft()
            if part.due > now or not (free or len(self._workers) < self._cluster.workers):
                self._todo.append(part)
                continue
            if not free:
                free.append(self._cluster.start(self._make, self._work))
                self._workers.append(free[-1])
            worker = free.pop()
            self._building[self._cluster.build(worker, part.number)] = worker, part
        if not self._building:
            time.sleep(_TICK)  # all wait to be tried again

    def _note_answer(self, answered: Any) -> None:
        worker, part = self._building.pop(answered)
        self._states.pop(part.number, None)
        try:
            answer: Answer = self._cluster.result(answered)
        except WorkerLost as lost:
            self._replace(worker, part, str(lost))
            return
        self.report.made += answer.made
        self.report.tokens += answer.tokens
        if answer.error:
            self._try_later(part, answer)
            return
        self._done += 1
        self.report.rows = max(self.report.rows, answer.rows)
        self.report.failed += answer.failed
        for reason, examples in answer.examples.items():
            self.report.examples.setdefault(reason, []).extend(examples)

    def _replace(self, worker: Any, part: _Part, why: str) -> None:
        """Give the part of a dead worker to another; what was stored of it is gone on with."""
        self._workers.remove(worker)
        self._asked = {asked: other for asked, other in self._asked.items() if other is not worker}
        self.report.replaced += 1
        stored = _stored(self._work.place(part.number))
        part.deaths = part.deaths + 1 if stored == part.stored else 1
        part.stored = stored
        if part.deaths >= _DEATHS:
            self._given_up.append(f"part {part.number}: {part.deaths} workers died on it in a row ({why})")
        else:
            self._todo.appendleft(part)

    def _try_later(self, part: _Part, answer: Answer) -> None:
        now = time.monotonic()
        if answer.made or part.failing_since is None:
            part.failing_since, part.waits = now, _WAITS[0]
        patience = _PATIENCE.get(answer.error)
        if patience is None or (now - part.failing_since > patience and patience < _PATIENCE["CacheError"]):
            raise _error(answer)
        if now - part.failing_since > patience:
            self._given_up.append(f"part {part.number}: {answer.message}")
            return
        self.report.tried_again += 1
        part.due, part.waits = now + part.waits, min(2 * part.waits, _WAITS[1])
        self._todo.append(part)

    def _note_state(self, answered: Any) -> None:
        del self._asked[answered]
        try:
            state = self._cluster.result(answered)
        except WorkerLost:
            return  # its part's answer tells
        if any(part.number == state.part for _, part in self._building.values()):  # else it is done meanwhile
            self._states[state.part] = state

    def _show(self, force: bool = False) -> None:
        """The whole cluster as one build: parts that are done, and of the others the share of the input behind them."""
        waiting = {id(worker) for worker in self._asked.values()}
        for worker, _ in self._building.values():
            if id(worker) not in waiting and not force:
                self._asked[self._cluster.state(worker)] = worker
        states = list(self._states.values())
        totals = [state.total for state in states if state.total]
        total = max([*totals, self.report.rows], default=0)
        shares = sum(state.rows / state.total for state in states if state.total)
        rows = round(total * (self._done + shares) / self._work.parts)
        made = self.report.made + sum(state.made for state in states)
        tokens = self.report.tokens + sum(state.tokens for state in states)
        accepted = sum(state.accepted for state in states) / max(1, len(states))
        self._progress.show(rows, total or None, made, tokens, accepted, force)


def _error(answer: Answer) -> LaclipError:
    """The error of a worker, which has its message already: the constructors of some make it of other things."""
    kind = getattr(errors, answer.error, CacheError)
    error: LaclipError = kind.__new__(kind)
    Exception.__init__(error, answer.message)
    return error


def _stored(place: Path) -> int:
    """Bytes of records in a part."""
    return sum(path.stat().st_size for kind in ("journal-*", "shard-*") for path in place.glob(kind))

"""Who builds what: parts to workers, dead workers replaced, parts that failed tried again."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laclip_aug import errors
from laclip_aug.augmenter import CaptionAugmenter
from laclip_aug.cache.format import Counts
from laclip_aug.cache.inputs import take_log
from laclip_aug.cache.progress import Progress
from laclip_aug.cluster.ray import RayCluster, WorkerLost
from laclip_aug.cluster.worker import Answer, State, Work
from laclip_aug.errors import CacheError, ConfigurationError, LaclipError
from laclip_aug.exchange.log import InputLog

_TICK = 0.5
_DEATHS = 5
"""Workers that may die on a part one after another, with nothing stored between, until it is given up."""
_WAITS = (1.0, 60.0)
"""Seconds until a part is tried again, twice as many each time."""
_BRIEFLY, _LONG = 10.0, 1800.0
_PATIENCE = {"CacheError": _LONG, "OSError": _LONG} | dict.fromkeys(
    ("ModelError", "BackendError", "InputError"), _BRIEFLY
)
"""Seconds over which an error is taken for one that passes, as a full disk does. Any other ends the run at once."""
_LONELY = 60.0
"""Seconds without any worker after which a message says that the cluster has no room."""
_logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Part:
    """A part that is not done: when to try it, how long it has been failing, what was made before that, and deaths."""

    number: int
    due: float = 0.0
    failing_since: float | None = None
    waits: float = _WAITS[0]
    made: int = 0
    deaths: int = 0
    stored: int = -1


@dataclass(eq=False)
class _Worker:
    """A worker, what it is asked, and how far it said it is. It gets a part once it has said that it runs."""

    handle: Any
    look: Any
    runs: bool = False
    part: _Part | None = None
    answer: Any = None
    state: State | None = None


@dataclass
class Tally:
    """What all workers of a run made (``run``) and read (``log``), which captions were there already (``repeated``) or
    failed, and what went wrong meanwhile.
    """

    run: Counts = field(default_factory=Counts)
    repeated: int = 0
    log: InputLog = field(default_factory=InputLog)
    seconds: float = 0.0
    replaced: int = 0
    tried_again: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)


class Driver:
    """The parts to do, and the workers.

    Args:
        cluster: where workers start.
        make: makes the augmenter, on each worker.
        work: what to build.
        progress: where the state of all is shown.
    """

    def __init__(
        self, cluster: RayCluster, make: Callable[[], CaptionAugmenter], work: Work, progress: Progress
    ) -> None:
        self._cluster, self._make, self._work, self._progress = cluster, make, work, progress
        self.tally = Tally()
        self._todo = deque(_Part(number) for number in range(work.parts))
        self._workers: list[_Worker] = []
        self._given_up: list[str] = []
        self._done = self._failed_starts = 0
        self._started = self._looked = time.monotonic()
        self._told = False

    def run(self) -> None:
        """Build all parts.

        Raises:
            LaclipError: what a build raises and does not pass, of the first part that raised it.
            ConfigurationError: workers do not start.
            CacheError: parts were given up; the others are built.
        """
        while self._todo or any(worker.part for worker in self._workers):
            self._hand_out()
            asked = {
                question: worker
                for worker in self._workers
                for question in (worker.answer, worker.look)
                if question is not None
            }
            if not asked:
                time.sleep(_TICK)  # all parts wait to be tried again
            for question in self._cluster.wait(list(asked), _TICK):
                self._note(asked[question], question)
            self._look()
        self.tally.seconds = time.monotonic() - self._started
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
            self._cluster.stop(worker.handle)
        self._workers.clear()

    def _hand_out(self) -> None:
        """Give each free worker a part that is due, and start workers while there are parts for them."""
        now = time.monotonic()
        free = [worker for worker in self._workers if worker.runs and worker.part is None]
        for _ in range(len(self._todo)):
            part = self._todo.popleft()
            if part.due > now or not free:
                self._todo.append(part)
                continue
            worker = free.pop()
            worker.part, worker.answer = part, self._cluster.build(worker.handle, part.number)
        left = len(self._todo) + sum(worker.part is not None for worker in self._workers)
        for _ in range(min(self._cluster.workers, left) - len(self._workers)):
            handle = self._cluster.start(self._make, self._work)
            self._workers.append(_Worker(handle, self._cluster.state(handle)))

    def _note(self, worker: _Worker, question: Any) -> None:
        """Take an answer, or the news that there will be none."""
        if worker not in self._workers:
            return  # its other question told that it died
        try:
            found = self._cluster.result(question)
        except WorkerLost as lost:
            self._replace(worker, str(lost))
            return
        if isinstance(found, State):
            worker.look, worker.state = None, found
            if not worker.runs:
                worker.runs, self._failed_starts = True, 0
            return
        part, worker.part, worker.answer, worker.state = worker.part, None, None, None
        if part is not None:
            self._note_answer(part, found)

    def _note_answer(self, part: _Part, answer: Answer) -> None:
        self.tally.run.include(answer.run)
        if answer.error:
            part.made += answer.run.captions
            self._try_later(part, answer)
            return
        self._done += 1
        self.tally.repeated += max(0, answer.repeated - part.made)  # which the next try finds made before
        take_log(self.tally.log, answer.log)
        self.tally.failed += answer.failed
        for reason, examples in answer.examples.items():
            self.tally.examples.setdefault(reason, []).extend(examples)

    def _replace(self, worker: _Worker, why: str) -> None:
        """Give the part of a dead worker to another; what was stored of it is gone on with."""
        self._workers.remove(worker)
        self.tally.replaced += 1
        if not worker.runs:
            self._failed_starts += 1
            if self._failed_starts >= _DEATHS:
                raise ConfigurationError(
                    f"{_DEATHS} workers in a row did not start ({why}); install laclip-aug, of one version, on every "
                    "machine of the cluster"
                )
        if (part := worker.part) is None:
            return
        stored = _stored(self._work.place(part.number))
        part.deaths = part.deaths + 1 if stored == part.stored else 1
        part.stored = stored
        if part.deaths >= _DEATHS:
            self._given_up.append(f"part {part.number}: {part.deaths} workers died on it in a row ({why})")
        else:
            _logger.warning("part %d: its worker died; another goes on from what is stored", part.number)
            self._todo.appendleft(part)

    def _try_later(self, part: _Part, answer: Answer) -> None:
        now = time.monotonic()
        if answer.run.captions or part.failing_since is None:
            part.failing_since, part.waits = now, _WAITS[0]
        patience = _PATIENCE.get(answer.error, 0.0)
        if now - part.failing_since < patience:
            if part.failing_since == now:
                _logger.warning("part %d is tried again: %s", part.number, answer.message)
            self.tally.tried_again += 1
            part.due, part.waits = now + part.waits, min(2 * part.waits, _WAITS[1])
            self._todo.append(part)
        elif patience == _LONG:
            self._given_up.append(f"part {part.number}: {answer.message}")
        else:
            raise _error(answer)

    def _look(self) -> None:
        """Ask the workers how far they are, and show it, every now and then."""
        now = time.monotonic()
        if now - self._looked < _TICK:
            return
        self._looked = now
        if not any(worker.runs for worker in self._workers):
            if now - self._started > _LONELY and not self._told:
                self._told = True
                _logger.warning("no worker has started: the cluster has no room for one yet; see: ray status")
            return
        self._show()
        for worker in self._workers:
            if worker.look is None and worker.part is not None:
                worker.look = self._cluster.state(worker.handle)

    def _show(self, force: bool = False) -> None:
        """The whole cluster as one build: parts that are done, and of the others the share of the input behind them."""
        states = [
            worker.state
            for worker in self._workers
            if worker.part and worker.state and worker.state.part == worker.part.number
        ]
        total = max([*(state.total or 0 for state in states), self.tally.log.rows], default=0)
        shares = sum(state.rows / state.total for state in states if state.total)
        rows = round(total * (self._done + shares) / self._work.parts)
        run = self.tally.run
        made = run.captions + sum(state.made for state in states)
        tokens = run.tokens + sum(state.tokens for state in states)
        tried = [(run.acceptance, run.captions)] if run.tried else []
        tried += [(state.accepted, state.made) for state in states if state.accepted is not None]
        accepted = sum(share * n for share, n in tried) / max(1, sum(n for _, n in tried)) if tried else None
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

"""The captions under way: a stream of jobs for a backend, and outcomes as its completions come in.

Captions are taken up in their order, a few seconds of work at a time. What a caption asks for again goes to the head of
the queue, so captions are settled about in the order in which they came, and a killed build has lost little: what is in
the engine's slots and what was taken up with it. Among the captions taken up together, jobs of one prefix follow each
other, and of one caption within it. The order decides how fast the jobs run; it does not reach a text.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

from laclip_aug.augmenter import Outcome
from laclip_aug.errors import InputError, ModelError
from laclip_aug.generation.backend import Backend, Completion, Job
from laclip_aug.rewrite.rounds import CaptionWork, Plan

_SECONDS = 5.0
"""Work that is taken up together, once the rate is known."""
_FEWEST_JOBS, _MOST_CAPTIONS = 16, 4096
_MOST_SETTLED = 256
"""Captions that need no completion and are held back before the jobs are interrupted to let them go."""


class CaptionStream:
    """Runs ``captions`` through ``backend``; iterate over it once.

    ``together`` is the number of captions that are taken up at a time; by default what takes five seconds, and at
    first as many as were settled so far.
    """

    def __init__(self, captions: Iterable[str], plan: Plan, backend: Backend, together: int | None = None) -> None:
        self._source = iter(captions)
        self._plan, self._backend, self._together = plan, backend, together
        self._works: dict[int, CaptionWork] = {}
        self._under_way: set[str] = set()
        self._queue: deque[Job] = deque()
        self._settled: deque[Outcome] = deque()
        self._taken_up = self._count = self._asked = self._answered = 0
        self._exhausted = False
        self._started = time.monotonic()

    def __iter__(self) -> Iterator[Outcome]:
        """Outcomes, each as soon as its caption is settled.

        Raises:
            InputError: a caption is no text.
            ModelError: the backend gave up, or did not answer what it was asked.
        """
        while not self._exhausted or self._works:
            before = self._asked, self._count
            # A backend that has read the last job may answer it with a text that is refused: then it is called again.
            for completion in self._backend.complete(self._jobs()):
                self._take(completion)
                yield from self._release()
            yield from self._release()
            if missing := self._asked - self._answered:
                raise ModelError(
                    f"the backend answered, and left out {missing} jobs; run again, or use another backend"
                )
            if (self._works or not self._exhausted) and before == (self._asked, self._count):
                raise ModelError("the backend answered nothing, for it read no job; use another backend")

    def _jobs(self) -> Iterator[Job]:
        while self._queue or self._take_up():
            self._asked += 1
            yield self._queue.popleft()

    def _take_up(self) -> bool:
        """Queue the jobs of the next captions; False if there are none, or enough outcomes to let go of first."""
        while not self._exhausted and len(self._settled) < _MOST_SETTLED:
            captions = list(islice(self._source, self._size()))
            self._exhausted = not captions
            jobs: list[Job] = []
            for caption in captions:
                if not isinstance(caption, str):
                    raise InputError(f"a caption is {type(caption).__name__}, not text; check the input")
                if caption not in self._under_way:
                    self._taken_up += 1
                    self._under_way.add(caption)
                    jobs += self._next(self._taken_up, CaptionWork(caption, self._plan))
            if jobs:
                self._queue.extend(sorted(jobs, key=lambda job: job.prefix))
                return True
        return False

    def _size(self) -> int:
        if self._together is not None:
            return self._together
        fewest = math.ceil(_FEWEST_JOBS / max(1, self._plan.n * self._plan.candidates))
        soon = self._count * min(1.0, _SECONDS / max(time.monotonic() - self._started, 1e-9))
        return min(max(fewest, round(soon)), _MOST_CAPTIONS)

    def _take(self, completion: Completion) -> None:
        tag = completion.job.tag
        number, place, candidate = tag if isinstance(tag, tuple) and len(tag) == 3 else (0, 0, 0)
        work = self._works.get(number)
        if work is None:
            raise ModelError("the backend answered a job that was not asked; a rewrite could reach a wrong caption")
        self._answered += 1
        if work.take(place, candidate, completion):
            self._queue.extendleft(reversed(self._next(number, work)))

    def _next(self, number: int, work: CaptionWork) -> list[Job]:
        """The jobs of a caption's next round; none, and the caption is settled, if it is done."""
        if not work.done:
            self._works[number] = work
            return list(work.jobs(number))
        self._works.pop(number, None)
        self._under_way.discard(work.caption)
        self._settled.append(work.outcome())
        self._count += 1
        return []

    def _release(self) -> Iterator[Outcome]:
        while self._settled:
            yield self._settled.popleft()

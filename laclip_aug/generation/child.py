"""An engine in a process of its own, so that a native abort costs one batch and not the run.

llama.cpp ends its process where others raise: a failed assertion, a bad access, the system's out-of-memory killer. Here
that process is a child. When it ends, it is started again, and what was under way is tried again in two halves, each
by itself, and so on until all is done or one job stands alone. A job that ends the engine twice when alone is answered
with finish ``"error"``, and so is every later job with the same body; with ``"failed"`` if the process was killed from
outside, as by the system when memory runs out: another run may then ask again. Before that a harmless prompt must pass:
if even that ends the engine, the fault is not the caption's, and the run ends with a ModelError. Where jobs end the
engine together twice, and none alone, there are half as many slots from then on.

The child is a fresh interpreter, so it inherits neither threads nor locks. Messages are JSON; see
:mod:`laclip_aug.generation.wire`. A few jobs more than there are slots are under way, so that the engine never waits
for its parent.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any, Literal

from laclip_aug.errors import ModelError
from laclip_aug.generation.backend import Completion, Job, Sampling
from laclip_aug.generation.local import Settings
from laclip_aug.generation.process import Died, EngineProcess
from laclip_aug.generation.wire import pack_job, unpack_completion, unpack_error

_HARMLESS = Job("", "", "a dog", "", seed=0)
_MOST_TOGETHER = 2
_logger = logging.getLogger(__name__)


class ChildBackend:
    """Runs a :class:`~laclip_aug.generation.local.LocalBackend` in a child process.

    Args:
        target: the backend's class as ``module:name``; the child imports it.
        model, sampling, options: what its constructor takes. JSON types.

    Raises:
        the exceptions of that constructor, with their messages; ModelError if the child ends while loading.
    """

    def __init__(self, target: str, model: str | Path, sampling: Sampling | None = None, **options: Any) -> None:
        self.sampling = sampling or Sampling()
        self._request = target, {"model": str(model), "sampling": asdict(self.sampling), **options}
        self._process: EngineProcess | None = None
        self._closed = self._busy = False
        self._numbers, self._runs = count(1), count(1)
        self._ended_by: dict[str, tuple[str, Literal["error", "failed"]]] = {}  # body → what it did, and the finish
        self._together = 0  # times that jobs ended the engine together and none alone, with so many slots
        self._description: dict[str, Any] | None = None
        self._provenance: dict[str, Any] = {}
        self._cut_before, self._cut_now = 0, 0
        self._ready()

    @property
    def cut(self) -> int:
        """Captions that were shortened so far, to fit ``n_ctx``."""
        return self._cut_before + self._cut_now

    def describe(self) -> dict[str, Any]:
        """What the engine in the child says of itself."""
        return dict(self._description or {})

    def provenance(self) -> dict[str, Any]:
        """What the engine in the child ran with, as far as that cannot change what is asked for."""
        return dict(self._provenance)

    def complete(self, jobs: Iterable[Job]) -> Iterator[Completion]:
        """One completion per job, in any order; reads at most a quarter more jobs ahead than there are slots.

        Raises:
            ConfigurationError: a job's prompt does not fit even without its body.
            ModelError: the backend is closed or busy, or its process ends whatever it is asked.
        """
        self._refuse_if_closed()
        return self._complete(iter(jobs))

    def close(self) -> None:
        """End the child. Completions under way end with an error; closing twice is fine."""
        self._closed = True
        if self._process is not None:
            self._process.close()
            self._process = None

    def _complete(self, jobs: Iterator[Job]) -> Iterator[Completion]:
        if self._busy:
            raise ModelError("this backend is completing other jobs; exhaust or close the earlier complete() first")
        self._busy = True
        try:
            while True:
                under_way: dict[int, Job] = {}
                try:
                    yield from self._run(jobs, under_way, self.settings.n_slots + max(2, self.settings.n_slots // 4))
                    return
                except Died as died:
                    self._refuse_if_closed()
                    blamed = yield from self._halves(list(under_way.values()), died)
                    self._together += len(under_way) > 1 and not blamed
                    if self._together == _MOST_TOGETHER:
                        self._lower_slots()
        finally:
            self._busy = False

    def _run(self, jobs: Iterator[Job], under_way: dict[int, Job], most: int) -> Iterator[Completion]:
        """Keep ``most`` jobs under way until there are no more. When :class:`Died` is raised, some still are.

        ``most`` is above the number of slots or of jobs: an engine with a free slot waits for a job, or for the end.
        """
        process, run, more = self._ready(), next(self._runs), True
        process.send("run", run)
        try:
            while True:
                while more and len(under_way) < most:
                    job = next(jobs, None)
                    if job is None:
                        more = False
                        process.send("end", run)
                    elif ended := self._ended_by.get(_key(job)):
                        yield Completion(job, *ended, 0)
                    else:
                        number = next(self._numbers)
                        under_way[number] = job
                        process.send("job", run, number, pack_job(job))
                if not under_way:
                    return
                kind, *message = process.receive()
                if kind == "error" and message[0] == run:
                    raise unpack_error(message[1])
                if kind == "done" and (done := under_way.pop(message[0], None)):
                    self._cut_now = message[2]
                    yield unpack_completion(message[1], done)
        finally:
            if more or under_way:
                process.send("stop", run)

    def _halves(self, jobs: list[Job], died: Died) -> Generator[Completion, None, bool]:
        """Complete ``jobs``, one of which may have ended the engine; whether one has. The others come to no harm."""
        groups = deque(_split(jobs))
        _logger.warning("the engine ended (%s); its %d texts under way are tried again in halves", died, len(jobs))
        alone: list[Died] = []
        blamed = False
        while groups:
            group = groups.popleft()
            under_way: dict[int, Job] = {}
            try:
                yield from self._run(iter(group), under_way, len(group) + 1)
                alone.clear()
            except Died as again:
                left = list(under_way.values())
                alone = [*alone, again] if len(group) == 1 else []
                if len(alone) == 2:
                    yield self._blame(left[0], again, "failed" if any(d.from_outside for d in alone) else "error")
                    alone, blamed = [], True
                else:
                    groups.extendleft(reversed(_split(left)))
        return blamed

    def _blame(self, job: Job, died: Died, finish: Literal["error", "failed"]) -> Completion:
        """The completion of a job that ended the engine when alone, unless the engine ends anyway."""
        try:
            for _ in self._run(iter([_HARMLESS]), {}, 2):
                pass
        except Died as again:
            raise ModelError(
                f"the engine ends whatever it is asked ({again}); check the memory that is free, lower n_slots or "
                "n_ctx, or install llama-cpp-python again"
            ) from again
        how = f"this prompt ended the engine's process ({died})"
        skipped = "skipped" if finish == "error" else "left to a later run"
        _logger.warning("a caption ended the engine twice (%s) and is %s: %.200r", died, skipped, job.body)
        self._ended_by[_key(job)] = how, finish
        return Completion(job, how, finish, 0)

    def _lower_slots(self) -> None:
        """Go on with half as many slots, if there can be: they take less memory, and shorter steps."""
        slots, self._together = self.settings.n_slots // 2, 0
        if slots < (2 if self.settings.reproducible else 1):
            return
        _logger.warning(
            "the engine ended %d times over texts that pass by themselves; it goes on with n_slots = %d, not %d",
            _MOST_TOGETHER, slots, self.settings.n_slots,
        )  # fmt: skip
        self._request[1]["n_slots"] = slots
        if self._process is not None:
            self._process.close()
        self._ready()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ModelError("this backend is closed; make a new one")

    def _ready(self) -> EngineProcess:
        """The running child; starts one if there is none, or it has ended."""
        self._refuse_if_closed()
        if self._process is not None and self._process.ended:
            self._process.close()
            self._process = None
        if self._process is None:
            self._cut_before, self._cut_now = self.cut, 0
            process = EngineProcess(*self._request)
            if self._description is not None and process.description != self._description:
                process.close()
                raise ModelError("the model file was changed while it was in use; start again")
            self._description, self._provenance, self._process = process.description, process.provenance, process
            self.settings = Settings(**process.settings)
        return self._process


def _split(jobs: list[Job]) -> list[list[Job]]:
    middle = (len(jobs) + 1) // 2
    return [half for half in (jobs[:middle], jobs[middle:]) if half]


def _key(job: Job) -> str:
    return job.body or job.prefix + job.lead + job.tail

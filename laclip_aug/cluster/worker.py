"""What runs on each machine: an augmenter, loaded once, and with it one part of the captions after another.

A part is a cache of its own in ``DIR.parts``, on a file system that all machines share. It is built as on one machine:
its journal lets another worker go on where one died, and its lock keeps two of them apart.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from laclip_aug.augmenter import CaptionAugmenter
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.format import Counts
from laclip_aug.cache.part import Part
from laclip_aug.cache.progress import Progress
from laclip_aug.errors import CacheError, LaclipError
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.readers import InputOptions


@dataclass(frozen=True)
class Work:
    """What all parts have in common; the arguments of :func:`~laclip_aug.cache.build.build_cache`.

    Args:
        home: where relative paths start, on every machine.
        parts: how many there are; the driver chooses it.
    """

    inputs: tuple[str, ...]
    directory: str
    home: str
    n: int | None
    seed: int
    options: InputOptions
    max_caption_chars: int
    shard_rows: int
    allow_mixed: bool
    parts: int = 0

    def place(self, part: int) -> Path:
        """The cache of a part."""
        return folder_of(Path(self.home) / self.directory) / f"{part:05d}"


def folder_of(directory: Path) -> Path:
    """Where the parts of the cache ``directory`` are."""
    return directory.with_name(directory.name + ".parts")


@dataclass(frozen=True)
class State:
    """How far a worker is in ``part``: rows read, of about how many, captions and tokens made, attempts accepted."""

    part: int
    rows: int = 0
    total: int | None = None
    made: int = 0
    tokens: int = 0
    accepted: float | None = None


@dataclass(frozen=True)
class Answer:
    """What became of a part: what this run made of it and read for it, or the error that stopped it, by its class and
    message; then it tells captions and tokens only.
    """

    run: Counts = field(default_factory=Counts)
    repeated: int = 0
    log: InputLog = field(default_factory=InputLog)
    failed: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    error: str = ""
    message: str = ""


class PartBuilder:
    """Builds parts, one at a time.

    Args:
        make: makes the augmenter; called here, at the first part.
        work: what to build.
    """

    def __init__(self, make: Callable[[], CaptionAugmenter], work: Work) -> None:
        self._make, self._work = make, work
        self._augmenter: CaptionAugmenter | None = None
        self._progress = _Noted(-1)

    def build(self, part: int) -> Answer:
        """Build ``part``, or go on with it. Errors that a message explains are answers: they cross machines whole."""
        work = self._work
        self._progress = _Noted(part)
        try:
            _enter(work.home)
            if self._augmenter is None:
                self._augmenter = self._make()
            report = build_cache(
                list(work.inputs),
                work.place(part),
                self._augmenter,
                n=work.n,
                seed=work.seed,
                options=work.options,
                max_caption_chars=work.max_caption_chars,
                shard_rows=work.shard_rows,
                allow_mixed=work.allow_mixed,
                part=Part(part, work.parts),
                progress=self._progress,
            )
        except (LaclipError, OSError) as error:
            made = self._progress.state
            kind = type(error).__name__ if isinstance(error, LaclipError) else "OSError"
            return Answer(Counts(made.made, tokens=made.tokens), error=kind, message=str(error))
        log = replace(report.input, position=_end)  # that of a reader holds its file, which crosses to no machine
        return Answer(report.run, report.repeated, log, report.failed, report.failed_examples)

    def state(self) -> State:
        """How far it is; called while a part is being built."""
        return self._progress.state


def _end() -> int:
    return 0


def _enter(home: str) -> None:
    try:
        os.chdir(home)
    except OSError as error:
        raise CacheError(
            f"the machine {os.uname().nodename} has no {home} ({error.strerror}); mount the file system there under "
            "that path, as every machine of the cluster needs it"
        ) from None


class _Noted(Progress):
    """A build's progress, kept instead of shown."""

    def __init__(self, part: int) -> None:
        super().__init__(shown=False)
        self.state = State(part)

    def show(
        self, rows: int, total: int | None, made: int, tokens: int, accepted: float | None, force: bool = False
    ) -> None:
        self.state = State(self.state.part, rows, total, made, tokens, accepted)

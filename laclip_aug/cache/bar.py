"""How far a long step over captions is: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple, TextIO, TypeVar

from tqdm import tqdm

_FIRST_LINES = (2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
_LINE_EVERY = 60.0
_UNKNOWN = {"ncols": 100, "nrows": 20}
"""The size of a terminal that does not tell it; at 0 columns no bar would be drawn."""

_LEAST_SECONDS, _LEAST_DONE = 1.0, 3
"""That a time left is reckoned from."""
_DRAW_EVERY = 0.2

Item = TypeVar("Item")


class Bar:
    """Shows how many captions of a step are done, with rate and time left, while its ``with`` block lasts.

    Args:
        description: what the step does.
        total: captions to be done; None if only their reading tells.
        shown: True draws the bar, False shows nothing, None draws it on a terminal and writes lines to a log: none in
            the first two seconds, six in the first minute, then one a minute, and one at the end.
        clock: seconds, as ``time.monotonic``.
        stream: where to; standard error by default.
        part: where ``total`` is None, what part of 1 is done, if that is known.
    """

    def __init__(
        self,
        description: str,
        total: int | None,
        shown: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
        stream: TextIO | None = None,
        part: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._description, self._total, self._clock, self._stream = description, total, clock, stream or sys.stderr
        self._drawn = is_drawn(shown, self._stream)
        self._lines = shown is None and not self._drawn
        self._part, self._done, self._due = part, 0.0, Due()
        self._base: Done | None = None

    def __enter__(self) -> Bar:
        self._started = self._shown_at = self._clock()
        self._bar = tqdm(
            total=self._total,
            desc=self._description,
            disable=not self._drawn,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} captions [{elapsed}{postfix}]",
            leave=False,
            file=self._stream,
            **size_of_terminal(self._stream) if self._drawn else {},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if kind is None and self._due.begun:
            self._say(f"{round(self._done)} captions in {tqdm.format_interval(self._clock() - self._started)}")

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """``items``, one for each caption, which is done when the next is asked for."""
        for item in items:
            yield item
            self.add(1)

    def share(self, captions: float) -> Callable[[float], None]:
        """For a part of the step, of so many ``captions``: to be called with each share of 1 of it that is done."""
        return lambda part: self.add(part * captions)

    def add(self, captions: float) -> None:
        """So many more ``captions`` are done."""
        self._done += captions
        if not (self._drawn or self._lines):
            return
        now = self._clock()
        if self._base is None:
            self._base = Done(now, self._done)
        if self._drawn:
            if now - self._shown_at >= _DRAW_EVERY:
                self._shown_at = now
                self._bar.total, self._bar.n = self._all(), round(self._done)
                self._bar.set_postfix_str(self._pace(now))
        elif self._due(now - self._started):
            total, of = self._all(), ""
            if total is not None:
                about = "about " if self._total is None else ""
                of = f" of {about}{total} captions ({self._done / max(1, total):.0%})"
            self._say(f"{round(self._done)}{of or ' captions'}, {self._pace(now)}")

    def _pace(self, now: float) -> str:
        """The rate so far, and the time left where something can be said of it."""
        left = time_left(self._base, Done(now, self._done), self._all())
        rate = f"{self._done / max(now - self._started, 1e-9):.1f} captions/s"
        return f"{rate}, {left} left" if left else rate

    def _all(self) -> int | None:
        """The captions to be done, or about how many, as far as is known by now."""
        if self._total is not None:
            return self._total
        part = self._part()
        return round(self._done / part) if part else None

    def _say(self, text: str) -> None:
        say(f"{self._description}: {text}", self._stream)


Bars = Callable[[str, int], Bar]
"""Makes the bar of a step from its description and its captions."""


class Done(NamedTuple):
    """What was done at a moment."""

    seconds: float
    number: float


def time_left(base: Done | None, now: Done, total: int | None) -> str:
    """The time until ``total`` is done, at the pace since ``base``; empty as long as little was done since.

    ``base`` is best what was done when anything was: an engine's start, or the reading of a first slab, lies before it.
    """
    if base is None or total is None:
        return ""
    seconds, number = now.seconds - base.seconds, now.number - base.number
    if seconds < _LEAST_SECONDS or number < _LEAST_DONE:
        return ""
    return str(tqdm.format_interval(max(0.0, total - now.number) * seconds / number))


class Due:
    """When the next line of a log is due: six in the first minute, then one a minute."""

    def __init__(self) -> None:
        self._next = deque(_FIRST_LINES)

    def __call__(self, seconds: float) -> bool:
        """Whether one is, so many ``seconds`` after the start; if so, it is taken as written."""
        if seconds < self._next[0]:
            return False
        while self._next and self._next[0] <= seconds:
            self._next.popleft()
        if not self._next:
            self._next.append(seconds + _LINE_EVERY)
        return True

    @property
    def begun(self) -> bool:
        """Whether any line was due so far."""
        return self._next[0] > _FIRST_LINES[0]


def say(line: str, stream: TextIO) -> None:
    """Write ``line`` to a log; one that does not take it (a full disk, a reader that has gone) stops no work."""
    with suppress(OSError):
        print(line, file=stream, flush=True)


def is_drawn(shown: bool | None, stream: TextIO) -> bool:
    """Whether a bar is drawn on ``stream``: if it is wanted, or nothing is said and it is a terminal."""
    return stream.isatty() if shown is None else shown


def size_of_terminal(stream: TextIO) -> dict[str, Any]:
    """How tqdm is told the size of ``stream``; it may be 0, as in containers and under programs that record."""
    try:
        unknown = 0 in os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        unknown = False
    return dict(_UNKNOWN) if unknown else {"dynamic_ncols": True}

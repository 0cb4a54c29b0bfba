"""How far a build is: a bar on a terminal, plain lines in a log.

Rate and time left come from the last half of the run, at most five minutes of it: its start (reading prompts, skipping
what an earlier run made) says little about the rest.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

from tqdm import tqdm

from laclip_aug.cache.bar import Bar, Done, Due, is_drawn, say, size_of_terminal, time_left

_DRAW_EVERY = 0.2
_SAMPLE_EVERY = 0.5
_SHORTEST, _LONGEST = 5.0, 300.0
"""Seconds that a rate is taken over."""


class Progress:
    """Shows the state of a build.

    Args:
        shown: True draws the bar, False shows nothing, None draws it on a terminal and writes lines to a log: six in
            the first minute, then one a minute.
        clock: seconds, as ``time.monotonic``.
        stream: where to; standard error by default.
    """

    def __init__(
        self, shown: bool | None = None, clock: Callable[[], float] = time.monotonic, stream: TextIO | None = None
    ) -> None:
        self._shown, self._clock, self._stream = shown, clock, stream or sys.stderr
        drawn = is_drawn(shown, self._stream)
        self._lines = not drawn
        self._started = self._drawn = clock()
        self._due = Due()
        self._samples = deque([(self._started, 0, 0, 0)])
        self._base: Done | None = None
        self._bar = tqdm(
            desc="build",
            disable=not drawn,
            **size_of_terminal(self._stream) if drawn else {},
            file=self._stream,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} rows [{elapsed}{postfix}]",
        )

    def show(
        self, rows: int, total: int | None, made: int, tokens: int, accepted: float | None, force: bool = False
    ) -> None:
        """Take note of the state, and show it if it is time to.

        Args:
            rows: rows of the input that are done with.
            total: about how many there are, if known.
            made: captions made in this run.
            tokens: tokens made in this run.
            accepted: the part of the attempts that was accepted; None where nothing was tried yet.
            force: show it now; in a log, if anything was shown there before.
        """
        now = self._clock()
        if self._shown is False or (now - self._drawn < _DRAW_EVERY and not force):
            return
        self._drawn = now
        if now - self._samples[-1][0] >= _SAMPLE_EVERY or force:
            self._samples.append((now, rows, made, tokens))
        span = min(max((now - self._started) / 2, _SHORTEST), _LONGEST)
        while len(self._samples) > 2 and self._samples[1][0] <= now - span:
            self._samples.popleft()
        then, rows_then, made_then, tokens_then = self._samples[0]
        if self._base is None and rows:
            self._base = Done(now, rows)  # what an earlier run made is passed over at once
        seconds = max(now - then, 1e-9)
        state = [f"{(made - made_then) / seconds:.1f} captions/s"]
        base = self._base and max(self._base, Done(then, rows_then))
        if left := time_left(base, Done(now, rows), total):
            state.append(f"{left} left")
        if tokens:
            state.append(f"{(tokens - tokens_then) / seconds:.0f} tokens/s")
        if accepted is not None:
            state.append(f"{accepted:.0%} accepted")
        if not self._lines:
            self._bar.total, self._bar.n = total, rows
            self._bar.set_postfix_str(", ".join(state))
        elif self._due(now - self._started) or (force and self._due.begun):
            of = "" if total is None else f" of about {total} ({rows / max(1, total):.0%})"
            say(f"build: {rows} rows{of}, {', '.join(state)}", self._stream)

    def step(self, description: str, total: int) -> Bar:
        """The bar of a step of the build, of ``total`` captions, shown as this is."""
        return Bar(description, total, self._shown, self._clock, self._stream)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()

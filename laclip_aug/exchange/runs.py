"""Runs of rows that are out of line: cumulative sums of log-likelihood ratios, one for each way to be out of line.

Of a row it is known with the captions at which offsets its text agrees. Two kinds of run are looked for:

- *shifted by d*: texts agree with the caption ``d`` rows on, and not with their own. As a data set may be sorted, or
  have several captions of an image in a row, what is normal at ``d`` is what is seen at ``-d``.
- *of other rows*: texts agree with their own caption as seldom as with that of a row far away. A row speaks for this
  only against a third of the best agreement seen, since one input may hold rewrites, and further on captions of the
  image, which agree less.

A sum starts anew where it would fall below zero, and a run is found when it rises above ``LIMIT``. Rows in line lower
it, so that a run by chance has a probability of about ``exp(-LIMIT)`` a row.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

WINDOW = 3
OFFSETS = (0, *(sign * d for d in range(1, WINDOW + 1) for sign in (1, -1)))
LIMIT = 28.0
"""``exp(-28)`` is one in 1.4 trillion rows."""

_FALL = 10.0
"""So far below its highest a sum falls where a run has ended."""
_LEAST = 0.002
_REMEMBERED = 4096
_NEAR = 64


@dataclass(frozen=True)
class Rates:
    """How often texts agree: ``best`` where they belong, ``far`` by chance, ``at`` each offset over all rows."""

    best: float
    far: float
    at: Mapping[int, float]


@dataclass(frozen=True)
class Run:
    """Rows ``start`` to ``end`` (without it, counted from 0); ``offset`` 0: their texts are of no row around."""

    start: int
    end: int
    offset: int
    place: str

    def sentence(self) -> str:
        """What is wrong from its first row on."""
        if not self.offset:
            return "its text and those after it say nothing of their captions"
        rows = "row" if abs(self.offset) == 1 else f"{abs(self.offset)} rows"
        side, what = ("below", "is missing before it") if self.offset > 0 else ("above", "is too many before it")
        return f"its text and those after it belong to the caption one {rows} {side}, as if a text {what}".replace(
            "one 2", "2"
        ).replace("one 3", "3")


@dataclass
class _Sum:
    """The sum for one kind of run."""

    offset: int
    value: float = 0.0
    start: int = 0
    place: str = ""
    rows: int = 0
    own: int = 0
    found: bool = False
    highest: float = 0.0
    end: int = 0
    bits: deque[tuple[int, str, float]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))


class Runs:
    """All runs of an input, given in chunks."""

    def __init__(self) -> None:
        self._sums = [_Sum(offset) for offset in OFFSETS]
        self._found: list[Run] = []
        self._seldom = 1.0

    def feed(
        self,
        rates: Rates,
        agree: npt.NDArray[np.bool_],
        judged: npt.NDArray[np.bool_],
        first: int,
        places: Sequence[str],
    ) -> None:
        """Rows from number ``first`` on: ``agree`` ``[rows, offsets]``, and which rows could be judged."""
        tables = [_table(rates, one.offset) for one in self._sums]
        self._seldom = rates.far + (rates.best - rates.far) / 4
        for at in np.flatnonzero(judged).tolist():
            row = agree[at].tolist()
            own = row[0]
            for column, (one, table) in enumerate(zip(self._sums, tables, strict=True)):
                if table is not None:
                    self._step(one, table[own][row[column]], own, first + at, places[at])

    def close(self) -> tuple[int, Run | None]:
        """How many rows are in runs, and the run that begins first."""
        for one in self._sums:
            self._end(one)
        self._found.sort(key=lambda run: run.start)
        total, reached = 0, 0
        for run in self._found:
            total += max(0, run.end - max(run.start, reached))
            reached = max(reached, run.end)
        first = self._found[0] if self._found else None
        if first and not first.offset:  # where a text went tells better where it is missed
            first = next((run for run in self._found if run.offset and run.start < first.start + _NEAR), first)
        return total, first

    def _step(self, one: _Sum, step: tuple[float, float], own: bool, row: int, place: str) -> None:
        if one.value == 0.0:
            one.start, one.place = row, place
            one.rows = one.own = 0
            one.bits.clear()
        one.rows += 1
        one.own += own
        one.value += step[0]
        if one.value <= 0.0:
            self._end(one)
            return
        if not one.found:
            one.bits.append((row, place, step[1]))
            if one.value >= LIMIT:
                one.found, one.highest, one.end = True, one.value, row + 1
                one.start, one.place = _change(one)
        elif one.value >= one.highest:
            one.highest, one.end = one.value, row + 1
        elif one.value < one.highest - _FALL:
            self._end(one)

    def _end(self, one: _Sum) -> None:
        # texts that are of their own caption and of its neighbours too, as those of one image are, are in line
        if one.found and one.own <= self._seldom * one.rows:
            self._found.append(Run(one.start, one.end, one.offset, one.place))
        one.value, one.found = 0.0, False


def _change(one: _Sum) -> tuple[int, str]:
    """The row from which on the rows remembered speak most for the run."""
    best, total, where = -math.inf, 0.0, (one.start, one.place)
    for row, place, sharp in reversed(one.bits):
        total += sharp
        if total > best:
            best, where = total, (row, place)
    return where


def _table(rates: Rates, offset: int) -> list[list[tuple[float, float]]] | None:
    """What a row adds to the sum, by whether its text agrees with its own caption and with that at ``offset``: for the
    finding of a run, and for where it begins. ``None`` where the rates are too near to each other to tell.
    """
    best = min(rates.best, 0.98)
    far = max(rates.far, _LEAST)
    if not offset:
        if best < 2 * far or best - far < 0.05:
            return None
        careful = far + (best - far) / 3
        not_own = (math.log((1 - far) / (1 - careful)), math.log((1 - far) / (1 - best)))
        is_own = (math.log(far / careful), math.log(far / best))
        return [[not_own, not_own], [is_own, is_own]]
    there = max(far, rates.at[-offset], _LEAST)
    if best < 1.5 * there or best - there < 0.05:
        return None
    yes, no = math.log(best / there), math.log((1 - best) / (1 - there))
    less, more = math.log(there / best), math.log((1 - there) / (1 - best))
    return [[(no, no + more), (yes, yes + more)], [(no + less, no + less), (yes + less, yes + less)]]

"""How much a threshold keeps: for each signal, the share of texts on the right side of a row of bounds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

_ROWS = 12
_STEPS = (1, 2, 2.5, 5, 10)


class Swept:
    """The values of a signal: how often there is each.

    They are rounded to four digits: of hundreds of millions of texts they are some ten thousand.

    ``unknown`` counts the texts without a value, ``at_least`` tells whether high ones are kept.
    """

    def __init__(self, at_least: bool = True, values: Iterable[float] = ()) -> None:
        self.at_least = at_least
        self.counts: Counter[float] = Counter()
        self.unknown = 0
        self.add(values)

    def add(self, values: Iterable[float]) -> None:
        """Count ``values``."""
        values = list(values)
        known = [value for value in values if not math.isnan(value)]
        self.counts.update(known)
        self.unknown += len(values) - len(known)

    def shares(self) -> list[tuple[float, float]]:
        """(bound, share of the known values that hold it) for round bounds from the 1st to the 99th percentile.

        Of 0, 0.1, 0.2 and 0.3, half is at least 0.2.
        """
        if not self.counts:
            return []
        values = np.array(sorted(self.counts))
        upto = np.cumsum([0, *(self.counts[value] for value in values.tolist())])
        low, high = _quantile(values, upto, 0.01), _quantile(values, upto, 0.99)
        step = _step((high - low) / _ROWS)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        bounds = [round(number * step, 10) for number in range(first, last + 1)]
        if self.at_least:
            numbers = upto[-1] - upto[np.searchsorted(values, bounds, side="left")]
        else:
            numbers = upto[np.searchsorted(values, bounds, side="right")]
        return [(bound, float(number) / int(upto[-1])) for bound, number in zip(bounds, numbers, strict=True)]


def lines(swept: Mapping[str, Swept]) -> list[str]:
    """A table for people, by condition without its bound."""
    out: list[str] = []
    for name, found in swept.items():
        unknown = f" ({found.unknown} unknown)" if found.unknown else ""
        out.append(f"{name:<24} kept, of {found.counts.total()} texts{unknown}")
        out += [f"{bound:>24g} {share:7.1%}" for bound, share in found.shares()]
    return out


def _quantile(values: npt.NDArray[np.float64], upto: npt.NDArray[np.int64], share: float) -> float:
    """The value below which ``share`` of all are, between two values in proportion; ``upto`` counts those before."""
    place = share * (int(upto[-1]) - 1)
    below, above = values[np.searchsorted(upto, [math.floor(place), math.ceil(place)], side="right") - 1]
    return float(below + (above - below) * (place - math.floor(place)))


def _step(width: float) -> float:
    """The least round number from ``width`` up: 1, 2, 2.5 or 5 times a power of ten; 0.05 if there is no width."""
    if width <= 0:
        return 0.05
    scale = 10.0 ** math.floor(math.log10(width))
    return next(step * scale for step in _STEPS if step * scale >= width * (1 - 1e-9))

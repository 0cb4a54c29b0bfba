"""How much a threshold keeps: for each signal, the share of texts on the right side of a row of bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

_ROWS = 12
_STEPS = (1, 2, 2.5, 5, 10)


def kept_shares(values: Sequence[float], at_least: bool = True) -> list[tuple[float, float]]:
    """(bound, share of the known ``values`` that hold it) for round bounds from the 1st to the 99th percentile.

    ``[0, 0.1, 0.2, 0.3]`` has, among others, ``(0.2, 0.5)``.
    """
    known = np.sort(np.array([value for value in values if not math.isnan(value)]))
    if not known.size:
        return []
    low, high = np.quantile(known, [0.01, 0.99])
    step = _step((high - low) / _ROWS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    bounds = [round(number * step, 10) for number in range(first, last + 1)]
    if at_least:
        counts = known.size - np.searchsorted(known, bounds, side="left")
    else:
        counts = np.searchsorted(known, bounds, side="right")
    return [(bound, float(count) / known.size) for bound, count in zip(bounds, counts, strict=True)]


def lines(measured: Mapping[str, tuple[Sequence[float], bool]]) -> list[str]:
    """A table for people; ``measured`` maps a condition without its bound to values and whether high is kept."""
    out: list[str] = []
    for name, (values, at_least) in measured.items():
        unknown = sum(map(math.isnan, values))
        out.append(f"{name:<24} kept, of {len(values) - unknown} texts" + (f" ({unknown} unknown)" if unknown else ""))
        out += [f"{bound:>24g} {share:7.1%}" for bound, share in kept_shares(values, at_least)]
    return out


def _step(width: float) -> float:
    """The least round number from ``width`` up: 1, 2, 2.5 or 5 times a power of ten; 0.05 if there is no width."""
    if width <= 0:
        return 0.05
    scale = 10.0 ** math.floor(math.log10(width))
    return next(step * scale for step in _STEPS if step * scale >= width * (1 - 1e-9))

"""Mean and deviation over seeds, and differences paired by seed with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

_EXACT = 6
"""Up to so many seeds, all resamples are looked at: 6 ** 6 of them."""
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Summary:
    """Of the values of a group: mean, sample deviation (None of one value), and how many there are."""

    mean: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class Difference:
    """Mean of the differences of the seeds that both have; the 95% interval is None for one seed."""

    mean: float
    interval: tuple[float, float] | None
    count: int


def summary(values: Sequence[float]) -> Summary:
    """Mean and sample deviation (n - 1 in the denominator)."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Summary(float(np.mean(values)), deviation, len(values))


def paired(treated: Mapping[int, float], base: Mapping[int, float]) -> Difference | None:
    """How much more ``treated`` has than ``base``, both by seed; None where no seed is in both."""
    seeds = sorted(treated.keys() & base.keys())
    if not seeds:
        return None
    differences = np.array([treated[seed] - base[seed] for seed in seeds])
    return Difference(float(differences.mean()), bootstrap(differences.tolist()), len(seeds))


def bootstrap(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """The percentile interval of the mean: exact for few values, over a fixed sample of resamples for more.

    With two to four values it can reach no further than they do, and is too narrow.
    """
    count = len(values)
    if count < 2:
        return None
    if count <= _EXACT:
        chosen = np.array(list(product(range(count), repeat=count)))
    else:
        chosen = np.random.default_rng(0).integers(0, count, size=(_RESAMPLES, count))
    means = np.asarray(values, dtype=np.float64)[chosen].mean(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)

"""Accuracy from scores: top-k, and the mean over classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def ranks_of_labels(scores: NDArray[np.floating], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """``[N]``: how many classes come before the right one in ``scores [N, C]``, the first class first among equals."""
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    before = np.arange(scores.shape[1])[None, :] < labels[:, None]
    ranks: NDArray[np.int64] = ((scores > own) | ((scores == own) & before)).sum(axis=1)
    return ranks


def mean_per_class(right: NDArray[np.bool_], labels: NDArray[np.int64]) -> float:
    """The mean over the classes that occur of the part of their images that is right."""
    counts = np.bincount(labels)
    there = counts > 0
    return float((np.bincount(labels, weights=right)[there] / counts[there]).mean())


def top_k_and_mean(
    scores: NDArray[np.floating], labels: NDArray[np.int64], ks: Sequence[int] = (1, 5)
) -> dict[str, float]:
    """``top-1``, ``top-5`` (where there are more than five classes) and ``mean-per-class``, in percent."""
    ranks = ranks_of_labels(scores, labels)
    found = {f"top-{k}": 100 * float((ranks < k).mean()) for k in ks if k == 1 or k < scores.shape[1]}
    return {**found, "mean-per-class": 100 * mean_per_class(ranks < 1, labels)}

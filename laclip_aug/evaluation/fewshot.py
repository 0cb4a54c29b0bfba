"""Few-shot classification by nearest class mean, as in SimpleShot (Wang et al., 2019) and El Banani et al. (2023).

An episode draws classes, a few training images of each as support, and test images of each as queries. The support's
mean is subtracted from both, all are brought to unit length, and a query gets the class whose mean of support vectors
is nearest by Euclidean distance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from laclip_aug.errors import InputError
from laclip_aug.evaluation.zeroshot import unit

Episode = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
_TOGETHER = 64
"""Episodes that are computed at once."""


def episodes(
    train_labels: NDArray[np.int64],
    test_labels: NDArray[np.int64],
    count: int,
    ways: int,
    shots: int,
    queries: int,
    seed: int,
) -> Iterator[Episode]:
    """Support ``[ways, shots]`` as training indices; queries ``[Q]`` as test indices; their place among the classes.

    Classes without a test image are not drawn. A class with fewer than ``queries`` test images gives all it has.

    Raises:
        InputError: there are fewer classes than ``ways``, or a class has fewer training images than ``shots``.
    """
    both = np.intersect1d(train_labels, test_labels)
    if len(both) < ways:
        raise InputError(
            f"{ways}-way episodes need as many classes in training and test images; there are {len(both)}; take other "
            "data, or write a protocol with fewer ways and name its file with --protocol"
        )
    support = [np.flatnonzero(train_labels == label) for label in both]
    asked = [np.flatnonzero(test_labels == label) for label in both]
    if min(map(len, support)) < shots:
        raise InputError(
            f"{shots}-shot episodes need so many training images of each class; one has {min(map(len, support))}; take "
            "other data, or write a protocol with fewer shots and name its file with --protocol"
        )
    generator = np.random.default_rng(seed)
    for _ in range(count):
        classes = generator.choice(len(both), ways, replace=False)
        drawn = [support[c][generator.choice(len(support[c]), shots, replace=False)] for c in classes]
        tests = [
            asked[c] if len(asked[c]) <= queries else asked[c][generator.choice(len(asked[c]), queries, replace=False)]
            for c in classes
        ]
        yield np.stack(drawn), np.concatenate(tests), np.repeat(np.arange(ways), [len(test) for test in tests])


def few_shot(
    train: NDArray[np.float32],
    train_labels: NDArray[np.int64],
    test: NDArray[np.float32],
    test_labels: NDArray[np.int64],
    count: int,
    ways: int,
    shots: int,
    queries: int,
    seed: int,
) -> dict[str, float]:
    """Mean accuracy over ``count`` episodes, its standard deviation, and half the 95% interval of the mean, in percent.

    Args:
        train: ``[N, D]`` features; ``train_labels`` ``[N]``.
        test: ``[M, D]`` features; ``test_labels`` ``[M]``.
    """
    right: list[float] = []
    drawn = episodes(train_labels, test_labels, count, ways, shots, queries, seed)
    while some := [episode for _, episode in zip(range(_TOGETHER), drawn, strict=False)]:
        right += _accuracies(train, test, some)
    accuracy = 100 * np.array(right)
    deviation = float(accuracy.std(ddof=1)) if count > 1 else 0.0
    return {
        "accuracy": float(accuracy.mean()),
        "standard deviation": deviation,
        "95% interval ±": 1.96 * deviation / math.sqrt(count),
    }


def _accuracies(train: NDArray[np.float32], test: NDArray[np.float32], some: list[Episode]) -> list[float]:
    width = train.shape[1]
    support = train[np.stack([indices for indices, _, _ in some])]  # [E, ways, shots, D]
    mean = support.mean(axis=(1, 2))  # [E, D]
    support = unit((support - mean[:, None, None]).reshape(-1, width)).reshape(support.shape)
    means = support.mean(axis=2)  # [E, ways, D]
    lengths = [len(indices) for _, indices, _ in some]
    asked = test[np.concatenate([indices for _, indices, _ in some])]  # [Q of all, D]
    asked = unit(asked - np.repeat(mean, lengths, axis=0))
    half = 0.5 * (means * means).sum(axis=2)
    found: list[float] = []
    start = 0
    for number, (_, indices, places) in enumerate(some):
        queries = asked[start : start + len(indices)]
        start += len(indices)
        # the query's own length is the same for every class: |q - m|^2 / 2 = const - (q m - |m|^2 / 2)
        nearest = (queries @ means[number].T - half[number]).argmax(axis=1)
        found.append(float((nearest == places).mean()))
    return found

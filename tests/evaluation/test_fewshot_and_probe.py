"""Few-shot and linear probe on scikit-learn's digits, against versions in numpy and scipy written out here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from laclip_aug.errors import InputError, UnknownNameError
from laclip_aug.evaluation.fewshot import episodes, few_shot
from laclip_aug.evaluation.logistic import fit
from laclip_aug.evaluation.probe import best_cost, linear_probe
from laclip_aug.evaluation.protocols import LinearProbe, load_protocol

Array = NDArray[Any]


@pytest.fixture(scope="module")
def digits() -> tuple[Array, Array]:
    """``[1797, 64]`` pixels from 0 to 1, and the digits."""
    images, labels = load_digits(return_X_y=True)
    return images / 16, labels.astype(np.int64)


def reference_few_shot(train: Array, train_labels: Array, test: Array, test_labels: Array, drawn: list[Any]) -> Array:
    """The accuracy of each episode, query by query, as the definition reads."""
    found = []
    for support, queries, _ in drawn:
        mean = np.mean([train[i] for row in support for i in row], axis=0)
        classes = [train_labels[row[0]] for row in support]
        centres = [
            np.mean([(train[i] - mean) / np.linalg.norm(train[i] - mean) for i in row], axis=0) for row in support
        ]
        right = 0
        for i in queries:
            query = (test[i] - mean) / np.linalg.norm(test[i] - mean)
            right += classes[int(np.argmin([np.linalg.norm(query - c) for c in centres]))] == test_labels[i]
        found.append(right / len(queries))
    return np.array(found)


def test_few_shot_against_the_definition(digits: tuple[Array, Array]) -> None:
    images, labels = digits
    train, test = (images[:900], labels[:900]), (images[900:], labels[900:])
    settings = (300, 5, 5, 6, 8)
    drawn = list(episodes(train[1], test[1], *settings))
    accuracy = 100 * reference_few_shot(*train, *test, drawn)
    assert 70 < accuracy.mean() < 99  # neither trivial nor hopeless
    found = few_shot(*train, *test, *settings)
    assert found["accuracy"] == pytest.approx(accuracy.mean(), abs=1e-6)
    assert found["standard deviation"] == pytest.approx(accuracy.std(ddof=1), abs=1e-6)
    assert found["95% interval ±"] == pytest.approx(1.96 * accuracy.std(ddof=1) / 300**0.5, abs=1e-6)
    assert few_shot(*train, *test, *settings) == found
    assert few_shot(*train, *test, 300, 5, 5, 6, 9) != found


def test_episodes_are_what_they_should_be() -> None:
    train = np.repeat([3, 5, 7, 9], [5, 6, 9, 5])
    test = np.repeat([3, 5, 7, 11], [2, 8, 3, 9])  # 9 has no test image, 11 no training image; 3 and 7 have few
    seen: set[int] = set()
    for support, queries, places in episodes(train, test, 200, 3, 5, 6, 0):
        classes = train[support]
        assert (classes == classes[:, :1]).all()
        assert sorted(classes[:, 0]) == [3, 5, 7]
        assert all(len(set(row)) == 5 for row in support.tolist())
        assert (test[queries] == classes[places, 0]).all()
        assert len(set(queries.tolist())) == len(queries) == 2 + 6 + 3
        seen |= set(queries.tolist())
    assert seen == set(range(13))
    with pytest.raises(InputError, match=r"4-way episodes need .* there are 3; .*with fewer ways"):
        list(episodes(train, test, 1, 4, 5, 6, 0))
    with pytest.raises(InputError, match="6-shot episodes need"):
        list(episodes(train, test, 1, 3, 6, 6, 0))


def test_the_packaged_protocol_is_the_papers() -> None:
    found: Any = load_protocol("few-shot")
    assert (found.episodes, found.ways, found.shots, found.queries) == (5000, 5, 5, 6)
    probe: Any = load_protocol("linear-probe")
    assert (probe.objective, probe.iterations, probe.fine) == ("norm", 1000, 29)
    assert probe.costs == (1e-6, 1e-4, 1e-2, 1, 1e2, 1e4, 1e6)


def reference_fit(features: Array, labels: Array, cost: float, objective: str) -> tuple[Array, Array, float]:
    """Weights, bias and value at the minimum, by scipy."""
    count, width = features.shape
    classes = int(labels.max()) + 1
    onehot = np.eye(classes)[labels]

    def value(flat: Array) -> tuple[float, Array]:
        weight, bias = flat[: classes * width].reshape(classes, width), flat[classes * width :]
        logits = features @ weight.T + bias
        loss = (logsumexp(logits, axis=1) - logits[np.arange(count), labels]).mean()
        slope = (softmax(logits, axis=1) - onehot) / count
        gradient = slope.T @ features
        norm = np.sqrt((weight**2).sum())
        if objective == "norm":
            loss += 0.5 * norm / cost
            gradient += 0.5 / cost * (weight / norm if norm else 0)
        else:
            loss += 0.5 * norm**2 / (cost * count)
            gradient += weight / (cost * count)
        return loss, np.concatenate([gradient.ravel(), slope.sum(axis=0)])

    start = np.zeros(classes * (width + 1))
    found = minimize(
        value,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 20000, "maxfun": 50000, "gtol": 1e-12, "ftol": 1e-16, "maxcor": 50},
    )
    return found.x[: classes * width].reshape(classes, width), found.x[classes * width :], float(found.fun)


@pytest.mark.parametrize("objective", ["norm", "scikit-learn"])
@pytest.mark.parametrize("cost", [1.0, 30.0])
def test_fit_against_scipy(digits: tuple[Array, Array], objective: str, cost: float) -> None:
    images, labels = digits[0][:600], digits[1][:600]
    weight, bias, value = reference_fit(images, labels, cost, objective)
    found = fit(torch.as_tensor(images), torch.as_tensor(labels), 10, cost, objective)
    assert found.objective == pytest.approx(value, abs=1e-6)
    expected = softmax(images @ weight.T + bias, axis=1)
    got = torch.softmax(found.scores(torch.as_tensor(images)), dim=1).numpy()
    assert np.abs(got - expected).max() < 1e-6
    single = fit(torch.as_tensor(images, dtype=torch.float32), torch.as_tensor(labels), 10, cost, objective)
    assert single.objective == pytest.approx(value, abs=2e-5)


def test_scikit_learns_objective_is_scikit_learns(digits: tuple[Array, Array]) -> None:
    images, labels = digits[0][:600], digits[1][:600]
    theirs = LogisticRegression(C=0.5, tol=1e-12, max_iter=5000).fit(images, labels)
    ours = fit(torch.as_tensor(images), torch.as_tensor(labels), 10, 0.5, "scikit-learn")
    got = torch.softmax(ours.scores(torch.as_tensor(images)), dim=1).numpy()
    assert np.abs(got - theirs.predict_proba(images)).max() < 5e-6  # it stops by rules of its own


def test_a_norm_that_is_not_squared_has_a_threshold(digits: tuple[Array, Array]) -> None:
    """At W = 0 the cross-entropy falls at most as fast as its gradient is long; a steeper penalty keeps W there."""
    images, labels = digits[0][:600], digits[1][:600]
    share = np.bincount(labels) / len(labels)
    slope = np.linalg.norm((share - np.eye(10)[labels]).T @ images / len(images))
    below = fit(torch.as_tensor(images), torch.as_tensor(labels), 10, 0.5 / (1.3 * slope))
    above = fit(torch.as_tensor(images), torch.as_tensor(labels), 10, 0.5 / (0.7 * slope))
    assert float(below.weight.norm()) < 0.05 < 0.2 < float(above.weight.norm())
    with pytest.raises(UnknownNameError, match="unknown objective 'squared'"):
        fit(torch.as_tensor(images), torch.as_tensor(labels), 10, 1.0, "squared")


COARSE = [1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6]


def test_the_search_by_hand() -> None:
    tried: list[float] = []

    def peak_at(target: float) -> Any:
        tried.clear()

        def accuracy(cost: float) -> float:
            tried.append(cost)
            return -abs(np.log10(cost) - target)

        return accuracy

    # The best coarse value is 1; around it are 10^(-2 + k / 7), k = 0 ... 28, and k = 17 is what is looked for.
    # k = 7, 14, 21 are tried (14 is 1, known): the middle is best, so 7 ... 20 are left. Of these 14 the 4th, 8th and
    # last but 3rd are k = 10, 14, 17: the upper half, 14 ... 20, is left. Then k = 15, 17, 19: the middle, 15 ... 18.
    # Then k = 16, 17, 18: 16 and 17 are left, and of them 17.
    assert np.log10(best_cost(peak_at(3 / 7), COARSE, 29)) == pytest.approx(3 / 7)
    assert tried[:7] == COARSE
    assert [round(7 * np.log10(cost) + 14) for cost in tried[7:]] == [7, 21, 10, 17, 15, 19, 16, 18]
    assert len(set(tried)) == len(tried)  # none is fitted twice
    assert best_cost(peak_at(-9.0), COARSE, 29) == 1e-6  # never beyond the ends
    assert best_cost(peak_at(9.0), COARSE, 29) == 1e6
    assert best_cost(lambda cost: 1.0, COARSE, 29) == 1e-6  # the first of equal ones, as in the original


def reference_probe(train: Any, val: Any, test: Any) -> tuple[float, float]:
    """Accuracy and C of the whole protocol by scipy; the search is written out again."""

    def accuracy(fitted: Any, tested: Any, cost: float) -> float:
        weight, bias, _ = reference_fit(fitted[0], fitted[1], cost, "norm")
        return 100 * float(((tested[0] @ weight.T + bias).argmax(axis=1) == tested[1]).mean())

    costs = [10.0**power for power in (-6, -4, -2, 0, 2, 4, 6)]
    coarse = [accuracy(train, val, cost) for cost in costs]
    best = costs[int(np.argmax(coarse))]
    grid = [g for g in np.logspace(np.log10(best) - 2, np.log10(best) + 2, 29) if 0.999e-6 < g < 1.001e6]
    known = {best: max(coarse)}
    grid = [best if abs(np.log10(g / best)) < 1e-6 else g for g in grid]
    while len(grid) > 1:
        low, middle, high = len(grid) // 4, len(grid) // 2, len(grid) + (-len(grid) // 4)
        for place in (low, middle, high):
            known.setdefault(grid[place], accuracy(train, val, grid[place]))
        top = max(known[grid[place]] for place in (low, middle, high))
        if known[grid[low]] == top:
            grid = grid[:middle]
        elif known[grid[high]] == top:
            grid = grid[middle:]
        else:
            grid = grid[low:high]
    cost = max(known, key=lambda c: known[c])
    both = np.concatenate([train[0], val[0]]), np.concatenate([train[1], val[1]])
    return accuracy(both, test, cost), cost


def test_the_whole_probe_against_scipy(digits: tuple[Array, Array]) -> None:
    images, labels = digits
    parts = [(images[a:b, ::2], labels[a:b]) for a, b in ((0, 200), (200, 400), (400, 900))]
    protocol: Any = load_protocol("linear-probe")
    found = linear_probe(*parts, protocol, device="cpu")
    accuracy, cost = reference_probe(*parts)
    assert found["C"] == pytest.approx(cost, rel=1e-6)
    assert found["accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_mean_per_class_is_the_accuracy_where_it_is_asked_for(digits: tuple[Array, Array]) -> None:
    images, labels = digits
    keep = np.flatnonzero((labels != 8) | (np.arange(len(labels)) % 9 == 0))  # eights are rare
    images, labels = images[keep], labels[keep]
    parts = [(images[a:b], labels[a:b]) for a, b in ((0, 300), (300, 450), (450, 1200))]
    protocol = LinearProbe(name="p", version=1, objective="scikit-learn", iterations=50, costs=(0.01, 1.0), fine=3)
    found = linear_probe(*parts, protocol, mean_per_class=True, device="cpu")
    assert found["accuracy"] == found["mean-per-class"] != found["top-1"]


def test_classes_that_a_split_lacks_and_numbers_with_gaps(digits: tuple[Array, Array]) -> None:
    images, labels = digits[0], digits[1] * 1000
    parts = [(images[a:b], labels[a:b]) for a, b in ((0, 300), (300, 310), (310, 900))]
    protocol = LinearProbe(name="p", version=1, objective="norm", iterations=50, costs=(1.0, 100.0), fine=3)
    assert linear_probe(*parts, protocol, device="cpu")["top-1"] > 80

"""Linear probe: logistic regression on features that are not normalised, its C chosen on validation images.

The search is that of El Banani et al. (2023): seven values of C from 1e-6 to 1e6; then, of 29 log-spaced values from a
coarse step below the best to one above, the quarter points are tried and the half around the best of them is kept,
until one is left; then a fit on training and validation images together.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from laclip_aug.evaluation.accuracy import top_k_and_mean
from laclip_aug.evaluation.logistic import fit
from laclip_aug.evaluation.protocols import LinearProbe

Split = tuple[NDArray[np.floating], NDArray[np.int64]]


def best_cost(accuracy: Callable[[float], float], coarse: list[float], fine: int) -> float:
    """The C of the highest ``accuracy`` that the search finds; the first found of equal ones.

    Args:
        accuracy: of a C, on validation images; called once for each.
        coarse: the first values, ascending and log-spaced.
        fine: values of the second search.
    """
    known: dict[float, float] = {}

    def of(cost: float) -> float:
        if cost not in known:
            known[cost] = accuracy(cost)
        return known[cost]

    best = max(coarse, key=of)
    step = np.log10(coarse[1] / coarse[0]) if len(coarse) > 1 else 0.0
    middle = np.log10(best)
    around = np.round(np.linspace(middle - step, middle + step, fine), 9)  # 10**round(log10(C)) is C again
    costs = [best if value == np.round(middle, 9) else float(10.0**value) for value in around]
    costs = [cost for cost in costs if coarse[0] * (1 - 1e-9) <= cost <= coarse[-1] * (1 + 1e-9)]
    tried = {best: known[best]}
    while len(costs) > 1:
        count = len(costs)
        quarter, half, late = costs[count // 4], costs[count // 2], costs[-count // 4]
        tried |= {cost: of(cost) for cost in (quarter, half, late) if cost not in tried}
        top = max(tried[quarter], tried[half], tried[late])
        if top == tried[quarter]:
            costs = costs[: count // 2]
        elif top == tried[late]:
            costs = costs[count // 2 :]
        else:
            costs = costs[count // 4 : -count // 4]
    return max(tried, key=lambda cost: tried[cost])


def linear_probe(
    train: Split, val: Split, test: Split, protocol: LinearProbe, mean_per_class: bool = False, device: str = ""
) -> dict[str, float]:
    """Accuracy on ``test`` in percent, and the C.

    Args:
        train: features ``[N, D]`` and class numbers ``[N]``; the precision of the features is that of the fit.
        mean_per_class: choose C by the mean over classes, not by the part of the images that is right.
        device: of the fit, as torch names it; a GPU where there is one, if empty.
    """
    import torch
    from tqdm import tqdm

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    metric = "mean-per-class" if mean_per_class else "top-1"
    names, numbers = np.unique(np.concatenate([train[1], val[1], test[1]]), return_inverse=True)
    cuts = np.cumsum([len(train[1]), len(val[1])])
    labels = [torch.as_tensor(part, device=device) for part in np.split(numbers, cuts)]
    features = [torch.as_tensor(np.ascontiguousarray(part[0]), device=device) for part in (train, val, test)]

    def accuracies(fitted: list[int], cost: float, tested: int) -> dict[str, float]:
        found = fit(
            torch.cat([features[part] for part in fitted]) if len(fitted) > 1 else features[fitted[0]],
            torch.cat([labels[part] for part in fitted]),
            len(names), cost, protocol.objective, protocol.iterations,
        )  # fmt: skip
        scores = found.scores(features[tested]).cpu().numpy()
        return top_k_and_mean(scores, labels[tested].cpu().numpy())

    with tqdm(desc="linear probe", unit=" fits", mininterval=0.2 if sys.stderr.isatty() else 30.0) as bar:

        def validated(cost: float) -> float:
            bar.set_postfix_str(f"C = {cost:.3g}", refresh=False)
            found = accuracies([0], cost, 1)[metric]
            bar.update()
            return found

        cost = best_cost(validated, [float(c) for c in protocol.costs], protocol.fine)
        found = accuracies([0, 1], cost, 2)
        bar.update()
    chosen = {"accuracy": found[metric], **{name: value for name, value in found.items() if name != "top-5"}}
    return {**chosen, "C": cost}

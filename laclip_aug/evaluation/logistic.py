"""Multinomial logistic regression by L-BFGS with strong Wolfe line search, from zero weights.

Two objectives, with cross-entropies :math:`l_i` of ``N`` images, weights ``W [C, D]`` and a bias that is not penalised:

- ``norm``, of El Banani et al. (2023) and LaCLIP: ``mean(l) + 0.5 * |W| / C``, the norm not squared. It has a threshold
  like a lasso's: where C is so small that the slope of the cross-entropy at W = 0 is below ``0.5 / C``, W stays near 0.
- ``scikit-learn``: ``C * sum(l) + 0.5 * |W|^2``, here divided by ``C * N``, which moves no minimum.

The gradient is written out; arithmetic is in the features' own precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from laclip_aug.errors import UnknownNameError

OBJECTIVES = ("norm", "scikit-learn")
_GRADIENT, _CHANGE, _HISTORY = 1e-7, 1e-9, 100
_EXACT = 1e-6
"""In double precision both tolerances are so much smaller; single precision could not reach them."""


@dataclass(frozen=True)
class Fitted:
    """Weights ``[C, D]``, bias ``[C]``, and the objective that they reach."""

    weight: Any
    bias: Any
    objective: float

    def scores(self, features: Any) -> Any:
        """Logits ``[N, C]`` of ``features [N, D]``."""
        import torch

        return torch.addmm(self.bias, features, self.weight.T)


def fit(
    features: Any, labels: Any, classes: int, cost: float, objective: str = "norm", iterations: int = 1000
) -> Fitted:
    """The minimum of ``objective`` at ``C = cost``.

    Args:
        features: tensor ``[N, D]``.
        labels: tensor ``[N]`` of class numbers below ``classes``.

    Raises:
        UnknownNameError: there is no such objective.
    """
    import torch

    if objective not in OBJECTIVES:
        raise UnknownNameError("objective", objective, OBJECTIVES)
    count, width = features.shape
    parameters = torch.zeros(classes, width + 1, dtype=features.dtype, device=features.device)
    gradient = torch.zeros_like(parameters)
    parameters.grad = gradient
    weight, bias = parameters[:, :width], parameters[:, width]
    rows = torch.arange(count, device=features.device)

    def closure() -> Any:
        logits = torch.addmm(bias, features, weight.T)
        logs = torch.log_softmax(logits, dim=1)
        loss = -logs[rows, labels].mean()
        slope = logs.exp_()
        slope[rows, labels] -= 1
        slope /= count
        torch.mm(slope.T, features, out=gradient[:, :width])
        gradient[:, width] = slope.sum(dim=0)
        norm = weight.norm()
        if objective == "norm":
            loss = loss + 0.5 / cost * norm
            if norm > 0:  # at zero the subgradient nearest to none, as autograd has it
                gradient[:, :width] += 0.5 / cost * weight / norm
        else:
            loss = loss + 0.5 / (cost * count) * norm**2
            gradient[:, :width] += weight / (cost * count)
        return loss

    exact = _EXACT if features.dtype == torch.float64 else 1.0
    optimiser = torch.optim.LBFGS(
        [parameters],
        max_iter=iterations,
        tolerance_grad=_GRADIENT * exact,
        tolerance_change=_CHANGE * exact,
        history_size=_HISTORY,
        line_search_fn="strong_wolfe",
    )
    with torch.no_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]
        reached = float(closure())
    return Fitted(weight.clone(), bias.clone(), reached)

"""Multinomial logistic regression by L-BFGS with strong Wolfe line search, from zero weights.

Two objectives, with cross-entropies :math:`l_i` of ``N`` images, weights ``W [C, D]`` and a bias that is not penalised:

- ``norm``, of El Banani et al. (2023) and LaCLIP: ``mean(l) + 0.5 * |W| / C``, the norm not squared. It has a threshold
  like a lasso's: where C is so small that the slope of the cross-entropy at W = 0 is below ``0.5 / C``, W stays near 0.
- ``scikit-learn``: ``C * sum(l) + 0.5 * |W|^2``, here divided by ``C * N``, which moves no minimum.

The search is in other coordinates, which move no minimum: features are centred, and ``W = V L^-1``, where ``L L'`` is
``S / K + p I``, the curvature at zero for ``K`` classes; ``S`` is the features' covariance, ``p`` the penalty's part.
There the problem is nearly round, and a fit of features that resemble each other takes tens of steps, not a thousand.
The gradient is written out; arithmetic is in the features' own precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from laclip_aug.errors import UnknownNameError

OBJECTIVES = ("norm", "scikit-learn")
_GRADIENT, _CHANGE, _HISTORY = 1e-7, 1e-9, 100
_FLOOR, _LEAST = 1e-5, 1e-12
_NOTHING = 1e-6
"""Gain over the best constant answer that is none."""
_SCALE = 1e4
"""What the objective is multiplied by: torch's L-BFGS learns no curvature from a step that gains less than 1e-10."""
_EXACT = {"torch.float64": (1e-6, 1e-9)}
"""How much smaller both tolerances are in double precision; single precision could not reach them."""


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
    penalty = 0.5 / cost if objective == "norm" else 1 / (cost * count)
    mean = features.mean(dim=0)
    rounded, inverse = _rounded(features - mean, classes, penalty)
    parameters = torch.zeros(classes, width + 1, dtype=features.dtype, device=features.device)
    gradient = torch.zeros_like(parameters)
    parameters.grad = gradient
    turned, bias = parameters[:, :width], parameters[:, width]
    rows = torch.arange(count, device=features.device)

    def closure() -> Any:
        logs = torch.log_softmax(torch.addmm(bias, rounded, turned.T), dim=1)
        loss = -logs[rows, labels].mean()
        slope = logs.exp_()
        slope[rows, labels] -= 1
        slope /= count
        torch.mm(slope.T, rounded, out=gradient[:, :width])
        gradient[:, width] = slope.sum(dim=0)
        weight = turned @ inverse
        norm = weight.norm()
        if objective == "norm":
            loss = loss + penalty * norm
            if norm > 0:  # at zero the subgradient nearest to none, as autograd has it
                gradient[:, :width] += penalty * (weight / norm) @ inverse.T
        else:
            loss = loss + 0.5 * penalty * norm**2
            gradient[:, :width] += penalty * weight @ inverse.T
        return loss

    def scaled() -> Any:
        loss = closure()
        gradient.mul_(_SCALE)
        return loss * _SCALE

    exact, exact_change = _EXACT.get(str(features.dtype), (1.0, 1.0))
    optimiser = torch.optim.LBFGS(
        [parameters],
        max_iter=iterations,
        tolerance_grad=_SCALE * _GRADIENT * exact,
        tolerance_change=_SCALE * _CHANGE * exact_change,
        history_size=_HISTORY,
        line_search_fn="strong_wolfe",
    )
    with torch.no_grad():
        optimiser.step(scaled)  # type: ignore[no-untyped-call]
        reached = float(closure())
    weight = turned @ inverse
    shares = torch.bincount(labels, minlength=classes).double() / count
    constant = float(torch.special.entr(shares).sum())
    if objective == "norm" and constant - reached < _NOTHING * exact:
        weight = torch.zeros_like(weight)  # below the threshold; what is left of W is rounding, and would be counted on
    return Fitted(weight, bias - weight @ mean, reached)


def _rounded(centred: Any, classes: int, penalty: float) -> tuple[Any, Any]:
    """Features in the coordinates of the search, ``X L'^-1``, and ``L^-1 [D, D]``."""
    import torch

    covariance = (centred.T @ centred).double() / (len(centred) * classes)
    floor = _FLOOR * float(covariance.diagonal().mean()) + _LEAST
    eye = torch.eye(len(covariance), dtype=torch.float64, device=centred.device)
    lower = torch.linalg.cholesky(covariance + (penalty + floor) * eye)
    inverse = torch.linalg.solve_triangular(lower, eye, upper=False).to(centred.dtype)
    return centred @ inverse.T, inverse

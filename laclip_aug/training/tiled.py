"""Contrastive losses over stacks of texts that never hold all logits.

A tile is some rows of queries against all of their keys, so a row's log-sum-exp is known as soon as the tile is. Its
gradient with respect to the logits follows at once and is multiplied into the gradients of the features, in float32,
before the tile is dropped: three matrix products in all, where storing logits for backward also takes three. Backward
only scales what forward formed. Memory is O(K B D) for those gradients, plus a few tiles.

Matrix products run in the dtype that ambient autocast gives them; everything else in float32 (float64 for float64).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE_ELEMENTS = {"cpu": 1 << 21, "cuda": 1 << 25}
"""Logits in a tile, by device type: 8 MB and 128 MB in float32. A few tensors of that size live at a time."""


class Teacher(NamedTuple):
    """Another model's features of the same queries ``[m, D']`` and keys ``[S, N, D']``, and its scale."""

    queries: Tensor
    keys: Tensor
    scale: Tensor


class Problem(NamedTuple):
    """What is contrasted with what, apart from the features.

    ``positive`` ``[m]``: for each query the key, of every slice, that is its positive. ``query_ids`` ``[m]`` and
    ``key_ids`` ``[N]``: a pair with equal ids that is no positive pair is left out; or None. ``loss``: ``index``
    (InfoNCE within each slice), ``joint`` (InfoNCE, negatives of all slices) or ``sigmoid``. With a ``teacher`` the
    loss is the cross-entropy with the teacher's softmax over each slice; then nothing else here matters.
    """

    positive: Tensor
    query_ids: Tensor | None = None
    key_ids: Tensor | None = None
    loss: str = "index"
    tile_elements: int | None = None
    teacher: Teacher | None = None


@torch.compiler.disable  # type: ignore[untyped-decorator]
def contrast(queries: Tensor, keys: Tensor, scale: Tensor, bias: Tensor | None, problem: Problem) -> Tensor:
    """The loss of ``queries`` ``[m, D]`` against ``keys`` ``[S, N, D]``: the sum over m and S, divided by ``m * S``.

    Differentiable once, in the features, in ``scale`` and in ``bias`` (scalars, or of shape ``[1]``).
    """
    apply: Callable[..., Tensor] = _Contrast.apply
    return apply(queries, keys, scale, bias, problem, torch.is_grad_enabled())


class _Contrast(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, scale: Tensor, bias: Tensor | None, problem: Problem, training: bool
    ) -> Tensor:
        need_queries, need_keys, need_scale, need_bias = (training and need for need in ctx.needs_input_grad[:4])
        slices, width, dim = keys.shape
        total = torch.promote_types(queries.dtype, torch.float32)
        # The products' dtype under ambient autocast, asked for once so that features are cast once, not per tile.
        product = (queries[:1] @ keys[0, :1].T).dtype
        factor = scale.reshape(())
        scaled = (factor * queries).to(product)
        offset = bias.reshape(()) if bias is not None and problem.loss == "sigmoid" else None

        wanted = any((need_queries, need_keys, need_scale, need_bias))
        grad_queries = torch.zeros_like(queries, dtype=total) if need_queries or need_scale else None
        grad_keys = torch.zeros_like(keys, dtype=total) if need_keys else None
        loss, grad_bias = (torch.zeros((), dtype=total, device=queries.device) for _ in range(2))
        together = slices if problem.loss == "joint" else 1
        budget = problem.tile_elements or TILE_ELEMENTS.get(queries.device.type, 1 << 25)
        step = max(1, budget // (together * width))
        for first in range(0, slices, together):
            part = slice(first, first + together)
            flat = keys[part].to(product).reshape(together * width, dim)
            for start in range(0, len(queries), step):
                rows = slice(start, start + step)
                logits = (scaled[rows] @ flat.T).view(-1, together, width)
                if problem.teacher is None:
                    value, grad = _RULES[problem.loss](logits, problem, rows, offset, total, wanted)
                else:
                    value, grad = _distil(logits, problem.teacher, rows, first, total)
                loss += value
                if not wanted:
                    continue
                if need_bias and offset is not None:
                    grad_bias += grad.sum()
                grad = grad.view(-1, len(flat)).to(product)
                if grad_queries is not None:
                    grad_queries[rows] += grad @ flat
                if grad_keys is not None:
                    grad_keys[part] += (grad.T @ scaled[rows]).view(together, width, dim)
        grad_scale = None
        if grad_queries is not None:  # so far with respect to scale * queries
            grad_scale = (grad_queries * queries).sum()
            grad_queries *= factor
        ctx.terms = terms = len(queries) * slices
        ctx.kinds = [one if one is None else (one.dtype, one.shape) for one in (queries, keys, scale, bias)]
        ctx.save_for_backward(grad_queries, grad_keys, grad_scale, grad_bias)
        return loss / terms

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return *gradients(ctx, upstream), None, None


def gradients(ctx: Any, upstream: Tensor) -> list[Tensor | None]:
    """The gradients that ``forward`` saved, divided by ``ctx.terms``, each of the dtype and shape in ``ctx.kinds``."""
    factor = upstream / ctx.terms
    # Scaled before the cast: under a gradient scaler, float16 would lose what is still unscaled.
    return [
        (grad * factor).to(kind[0]).reshape(kind[1]) if need and grad is not None else None
        for grad, kind, need in zip(ctx.saved_tensors, ctx.kinds, ctx.needs_input_grad, strict=False)
    ]


def _own(problem: Problem, rows: slice) -> tuple[Tensor, slice, Tensor]:
    """The index of the positives of a tile ``[R, S, N]``; what it selects has the shape ``[R, S]``."""
    positive = problem.positive[rows]
    return torch.arange(len(positive), device=positive.device), slice(None), positive


def _drop_duplicates(logits: Tensor, problem: Problem, rows: slice) -> None:
    if problem.query_ids is None or problem.key_ids is None:
        return
    same = problem.query_ids[rows, None] == problem.key_ids
    row, _, column = _own(problem, rows)
    same[row, column] = False
    logits.masked_fill_(same.unsqueeze(1), -torch.inf)


def _index(
    logits: Tensor, problem: Problem, rows: slice, _: Tensor | None, total: torch.dtype, wanted: bool
) -> tuple[Tensor, Tensor]:
    """Softmax over each slice. The gradient is p, and p - 1 at the positive. A bias cancels from the softmax."""
    _drop_duplicates(logits, problem, rows)
    log_p = torch.log_softmax(logits, dim=2, dtype=total)
    own = _own(problem, rows)
    positive = log_p[own]
    if wanted:
        log_p.exp_()
        log_p[own] = torch.expm1(positive)
    return -positive.sum(), log_p


def _joint(
    logits: Tensor, problem: Problem, rows: slice, _: Tensor | None, total: torch.dtype, wanted: bool
) -> tuple[Tensor, Tensor]:
    """Each positive against the other rows' keys of all slices.

    With n the negatives' log-sum-exp, term s is d_s - l_s for d_s = log(exp(n) + exp(l_s)). A negative l occurs in
    all terms: its gradient is the sum over s of exp(l - d_s).
    """
    _drop_duplicates(logits, problem, rows)
    logits = logits.to(total)
    own = _own(problem, rows)
    positive = logits[own]
    logits[own] = -torch.inf
    negative = torch.logsumexp(logits, dim=(1, 2))
    whole = torch.logaddexp(negative[:, None], positive)
    if wanted:
        logits.add_(torch.logsumexp(-whole, dim=1)[:, None, None]).exp_()
        logits[own] = torch.expm1(positive - whole)
    return (whole - positive).sum(), logits


def _sigmoid(
    logits: Tensor, problem: Problem, rows: slice, bias: Tensor | None, total: torch.dtype, wanted: bool
) -> tuple[Tensor, Tensor]:
    """-log sigmoid(l) for a positive, -log sigmoid(-l) for any other pair; gradients -sigmoid(-l) and sigmoid(l)."""
    logits = logits.to(total) if bias is None else logits.to(total) + bias
    _drop_duplicates(logits, problem, rows)
    own = _own(problem, rows)
    positive = logits[own]
    losses = torch.nn.functional.softplus(logits)
    losses[own] = torch.nn.functional.softplus(-positive)
    if wanted:
        logits.sigmoid_()
        logits[own] = -torch.sigmoid(-positive)
    return losses.sum(), logits


def _distil(logits: Tensor, teacher: Teacher, rows: slice, number: int, total: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cross-entropy of slice ``number`` with the teacher's softmax q, which is a constant. The gradient is p - q."""
    said = (teacher.scale.reshape(()) * teacher.queries[rows]) @ teacher.keys[number].T
    wanted = torch.softmax(said, dim=1, dtype=total).unsqueeze(1)
    log_p = torch.log_softmax(logits, dim=2, dtype=total)
    value = -(wanted * log_p).sum()
    return value, log_p.exp_().sub_(wanted)


_RULES = {"index": _index, "joint": _joint, "sigmoid": _sigmoid}

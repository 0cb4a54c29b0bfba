"""InfoNCE both ways between images and K texts each, in four matrix products per text where the plain form takes six.

Both directions share their logits. A first pass over tiles of image rows finds each row's log-sum-exp and, running,
each column's. A second pass makes the logits anew and from them the gradient of both directions at once. No more than a
tile of logits is held; the gradients of the features, O(K B D), are formed in forward and only scaled in backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from laclip_aug.training.tiled import TILE_ELEMENTS, gradients


@torch.compiler.disable  # type: ignore[untyped-decorator]
def symmetric(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    ids: Tensor | None = None,
    tile_elements: int | None = None,
) -> Tensor:
    """CLIP's loss between ``images`` ``[N, D]`` and each slice ``[:, j]`` of ``texts`` ``[N, K, D]``, averaged over K.

    Pairs of different rows with equal ``ids`` ``[N]`` are left out. Differentiable once. ``bias`` cancels from a
    softmax, so its gradient is zero; it is taken to stay in the graph, as it does in the plain form.
    """
    apply: Callable[..., Tensor] = _Symmetric.apply
    return apply(images, texts, scale, bias, ids, tile_elements, torch.is_grad_enabled())


class _Symmetric(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        texts: Tensor,
        scale: Tensor,
        bias: Tensor | None,
        ids: Tensor | None,
        tile_elements: int | None,
        training: bool,
    ) -> Tensor:
        count, k, _ = texts.shape
        total = torch.promote_types(images.dtype, torch.float32)
        product = (images[:1] @ texts[0, :1].T).dtype  # under ambient autocast
        factor = scale.reshape(())
        queries, keys = (factor * images).to(product), texts.to(product)
        rows_at_once = max(1, (tile_elements or TILE_ELEMENTS.get(images.device.type, 1 << 25)) // count)

        def tiles() -> Iterator[tuple[slice, int, Tensor]]:
            for start in range(0, count, rows_at_once):
                rows = slice(start, min(start + rows_at_once, count))
                same = None
                if ids is not None:
                    same = ids[rows, None] == ids
                    same.diagonal(start).fill_(False)
                for j in range(k):
                    logits = (queries[rows] @ keys[:, j].T).to(total)
                    yield rows, j, logits if same is None else logits.masked_fill_(same, -torch.inf)

        row_lse = images.new_empty((k, count), dtype=total)
        column_lse = torch.full_like(row_lse, -torch.inf)
        positive = torch.empty_like(row_lse)
        for rows, j, logits in tiles():
            positive[j, rows] = logits.diagonal(rows.start)
            row_lse[j, rows] = torch.logsumexp(logits, dim=1)
            column_lse[j] = torch.logaddexp(column_lse[j], torch.logsumexp(logits, dim=0))
        # p - 1 at the positives, for both directions
        diagonal = torch.expm1(positive - row_lse) + torch.expm1(positive - column_lse)

        ctx.kinds = [one if one is None else (one.dtype, one.shape) for one in (images, texts, scale, bias)]
        ctx.terms = 2 * k * count
        if training and any(ctx.needs_input_grad[:4]):
            grad_images = torch.zeros_like(images, dtype=total)
            grad_texts = torch.zeros_like(texts, dtype=total) if ctx.needs_input_grad[1] else None
            for rows, j, logits in tiles():
                grad = torch.exp(logits - row_lse[j, rows, None])
                grad += logits.sub_(column_lse[j]).exp_()
                grad.diagonal(rows.start).copy_(diagonal[j, rows])
                grad = grad.to(product)
                grad_images[rows] += grad @ keys[:, j]
                if grad_texts is not None:
                    grad_texts[:, j] += grad.T @ queries[rows]
            grad_scale = (grad_images * images).sum()
            grad_images *= factor
            ctx.save_for_backward(grad_images, grad_texts, grad_scale, torch.zeros_like(grad_scale))
        loss: Tensor = (row_lse - positive + column_lse - positive).sum() / ctx.terms
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return *gradients(ctx, upstream), None, None, None

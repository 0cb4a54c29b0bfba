"""One all-gather of features over the ranks, with the gradient that open_clip's losses give them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.distributed.nn
from torch import Tensor, distributed


def gather(features: Tensor, *, with_grad: bool, keep_own: bool, rank: int, world_size: int) -> Tensor:
    """All ranks' ``[B, D]`` features as ``[world_size * B, D]``, in the order of the ranks.

    Args:
        with_grad: gradients flow back to the rank that each row came from (summed over the ranks).
        keep_own: without ``with_grad``, this rank's own rows still carry their gradient.
    """
    features = features.contiguous()  # collectives refuse strided tensors
    if with_grad:
        collect: Callable[[Tensor], tuple[Tensor, ...]] = torch.distributed.nn.all_gather
        return torch.cat(collect(features), dim=0)
    parts = [torch.empty_like(features) for _ in range(world_size)]
    distributed.all_gather(parts, features.detach())
    if keep_own:
        parts[rank] = features
    return torch.cat(parts, dim=0)


def gather_ids(ids: Tensor, world_size: int) -> Tensor:
    """All ranks' ``[B]`` row ids as ``[world_size * B]``."""
    ids = ids.contiguous()
    parts = [torch.empty_like(ids) for _ in range(world_size)]
    distributed.all_gather(parts, ids)
    return torch.cat(parts)


class Features(NamedTuple):
    """What a rank contrasts, ``images`` ``[m, D]`` and ``texts`` ``[m * K, D]``, with what: those of all ranks."""

    images: Tensor
    texts: Tensor
    all_images: Tensor
    all_texts: Tensor


def gathered(images: Tensor, texts: Tensor, *, whole: bool, with_grad: bool, rank: int, world_size: int) -> Features:
    """The features of a rank with those of all; ``whole``: the rank contrasts all of them, not its own alone."""
    if world_size == 1:
        return Features(images, texts, images, texts)
    all_images, all_texts = (
        gather(part, with_grad=with_grad, keep_own=whole, rank=rank, world_size=world_size) for part in (images, texts)
    )
    return Features(all_images if whole else images, all_texts if whole else texts, all_images, all_texts)

"""Ids of a batch's rows, for masking equal captions and for drawing one text per image.

All arithmetic is on int64 with wrap-around, so it gives the same values on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from laclip_aug.seeding import derive


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _mix(x: Tensor) -> Tensor:
    """A bijection of the 64-bit integers in which each bit depends on all (the finaliser of SplitMix64)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ _shift(x, shift)) * _signed(factor)
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """The logical right shift; torch's own keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def row_ids(texts: Tensor, texts_per_image: int = 1) -> Tensor:
    """A 64-bit hash of each image's first text: ``[B * K, L]`` token ids, sample-major, to ``[B]`` int64.

    Rows with the same first text (the original caption) have the same id.
    """
    first = texts[::texts_per_image].to(torch.int64)
    position = _mix(torch.arange(1, first.shape[1] + 1, device=first.device))
    return _mix(_mix(first + position).sum(dim=1))


def side_key(seed: int) -> int:
    """What ``seed`` gives :func:`text_choice`."""
    return _signed(derive("text side", seed))


def text_choice(key: int | Tensor, rows: int, k: int, ids: Tensor | None, device: torch.device) -> Tensor:
    """Which of its ``k`` texts each of ``rows`` images draws: ``[rows]`` in 0..k-1, uniform.

    A function of ``key`` (see :func:`side_key`) and the row's id; of the row's number where there are no ``ids``. So it
    does not depend on the number of ranks, and stays the same while one batch is accumulated. A key in a tensor of one
    number may change without compiling anew what calls this.
    """
    keys = torch.arange(rows, device=device) if ids is None else ids
    draws = _mix(keys ^ key)
    return _shift(draws, 33) % k

"""Composition: is the right caption nearer to its image than hard negatives (SugarCrepe, Hsieh et al., 2023)?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from laclip_aug.evaluation.zeroshot import unit


def composition(
    images: NDArray[np.float32], right: NDArray[np.float32], wrong: NDArray[np.float32], owners: NDArray[np.int64]
) -> float:
    """The part of the rows, in percent, whose right caption is strictly nearer than each of its wrong ones.

    Args:
        images: ``[N, D]`` features of the image of each row.
        right: ``[N, D]`` of its caption.
        wrong: ``[M, D]`` of all wrong captions.
        owners: ``[M]`` the row of each of them.
    """
    images = unit(images)
    own = (images * unit(right)).sum(axis=1)
    others = (images[owners] * unit(wrong)).sum(axis=1)
    best = np.full(len(images), -np.inf, dtype=others.dtype)
    np.maximum.at(best, owners, others)
    return 100 * float((own > best).mean())

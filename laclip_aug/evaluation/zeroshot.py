"""Zero-shot classification: the class whose text is nearest, through open_clip's classifier."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from laclip_aug.evaluation.accuracy import top_k_and_mean

_ROWS = 4096


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """``vectors [N, D]`` with unit length; zeros stay zeros."""
    lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=vectors.dtype)


def zero_shot(
    images: NDArray[np.float32], labels: NDArray[np.int64], classifier: NDArray[np.float32]
) -> dict[str, float]:
    """Top-1, top-5 and mean-per-class accuracy, in percent.

    Args:
        images: ``[N, D]`` features, normalised or not.
        labels: ``[N]`` class numbers.
        classifier: ``[D, C]`` unit vectors.
    """
    scores = [unit(images[at : at + _ROWS]) @ classifier for at in range(0, len(images), _ROWS)]
    return top_k_and_mean(np.concatenate(scores), labels)

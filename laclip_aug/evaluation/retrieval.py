"""Image-text retrieval: recall at k, exact, in blocks, with any number of captions per image.

Rank is the number of wrong candidates that come before the best right one: those with a higher score, and of those with
an equal score the ones that stand before it. So a model that gives every image the same features finds the first image
only. Scores are formed in double precision and compared in single, so that equal features have equal scores however the
blocks are cut.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from laclip_aug.evaluation.zeroshot import unit

_QUERIES, _CANDIDATES = 1024, 8192


def first_ranks(
    queries: NDArray[np.float32],
    candidates: NDArray[np.float32],
    pairs: NDArray[np.int64],
    block: tuple[int, int] = (_QUERIES, _CANDIDATES),
) -> NDArray[np.int64]:
    """``[Q]``: how many wrong candidates come before the best right one of each query, by cosine.

    Args:
        queries: ``[Q, D]``.
        candidates: ``[C, D]``.
        pairs: ``[P, 2]`` (query, right candidate); each query has one at least.
        block: queries and candidates at a time: 8 bytes of memory for each product of both.
    """
    queries, candidates = unit(queries), unit(candidates)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    ranks = np.zeros(len(queries), dtype=np.int64)
    for start in range(0, len(queries), block[0]):
        stop = min(start + block[0], len(queries))
        mine = pairs[np.searchsorted(pairs[:, 0], start) : np.searchsorted(pairs[:, 0], stop)]
        rows, right = mine[:, 0] - start, mine[:, 1]
        some = queries[start:stop].astype(np.float64)
        products = np.einsum("pd,pd->p", some[rows], candidates[right].astype(np.float64)).astype(np.float32)
        best = np.full(stop - start, -np.inf, dtype=np.float32)
        np.maximum.at(best, rows, products)
        place = np.full(stop - start, len(candidates), dtype=np.int64)
        top = products == best[rows]
        np.minimum.at(place, rows[top], right[top])
        for at in range(0, len(candidates), block[1]):
            scores = (some @ candidates[at : at + block[1]].astype(np.float64).T).astype(np.float32)
            inside = (right >= at) & (right < at + scores.shape[1])
            scores[rows[inside], right[inside] - at] = -np.inf
            earlier = np.arange(at, at + scores.shape[1])[None, :] < place[:, None]
            before = (scores > best[:, None]) | ((scores == best[:, None]) & earlier)
            ranks[start:stop] += before.sum(axis=1)
    return ranks


def retrieval(
    images: NDArray[np.float32], texts: NDArray[np.float32], owners: NDArray[np.int64], at: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """Recall at k in percent, from images to texts (any of an image's captions counts) and from texts to images.

    Args:
        images: ``[N, D]`` features.
        texts: ``[M, D]`` features.
        owners: ``[M]`` the image of each text; each image has one at least.
    """
    numbers = np.arange(len(owners))
    found: dict[str, float] = {}
    for name, ranks in (
        ("image-to-text", first_ranks(images, texts, np.stack([owners, numbers], axis=1))),
        ("text-to-image", first_ranks(texts, images, np.stack([numbers, owners], axis=1))),
    ):
        found |= {f"{name} R@{k}": 100 * float((ranks < k).mean()) for k in at}
    return found

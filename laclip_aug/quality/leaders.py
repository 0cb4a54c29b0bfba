"""Captions that say the same but for spelling, found as they come: each is a leader, or folds onto one.

A caption folds onto the nearest leader before it whose words' character n-grams have a cosine of at least ``threshold``
with its own (:mod:`laclip_aug.quality.neighbours`; case and punctuation do not count) and whose colours, numbers and
negation are the same. It is compared with leaders alone, never with a folded one, so likeness does not chain (a is like
b, b like c, a not like c). Order hardly counts: "a man on a court swinging a racket" folds onto "a man is swinging a
racket on a court", and where order is all that tells two captions apart, that is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from laclip_aug.errors import ConfigurationError, MissingExtraError
from laclip_aug.quality.attributes import attributes
from laclip_aug.quality.letters import runs_of
from laclip_aug.quality.neighbours import DIMENSIONS, Embedding

LEAST = 0.98
"""The least threshold: below, captions of different things are found alike (``young man``, ``young boy``)."""
_EXACT = 1 << 13  # leaders up to which every one is compared
_GROWTH = 4  # cells are made anew when there are so many times more leaders
_CELLS_SEARCHED = 8
_SEED = 0
_DIGITS = 4


class Leaders:
    """The leaders so far. Memory: about 2 KB for each, with its text.

    Every leader is compared up to 8,192; beyond, those in the 8 nearest of some hundred cells, which misses few.

    Raises:
        ConfigurationError: ``threshold`` is not from 0.98 to 1.
        MissingExtraError: faiss or scikit-learn is not installed.
    """

    def __init__(self, threshold: float) -> None:
        if not LEAST <= threshold <= 1:
            raise ConfigurationError(
                f"captions of a likeness of {threshold} cannot be folded: from {LEAST} to 1 they say the same, below "
                "they do not"
            )
        try:
            import faiss
        except ImportError as error:
            raise MissingExtraError("quality", "faiss") from error
        self._faiss, self._threshold, self._embed = faiss, threshold, Embedding()
        self._captions: list[str] = []
        self._index: Any = faiss.IndexFlatIP(DIMENSIONS)
        self._cells_for = _EXACT

    def __len__(self) -> int:
        return len(self._captions)

    def fold(self, captions: Sequence[str], may_lead: Sequence[bool]) -> list[str | None]:
        """For each caption in turn the leader it folds onto; ``None`` if there is none: then it is one, if it may.

        Costs the square of ``len(captions)`` in memory.
        """
        vectors = self._embed([" ".join(runs_of(caption)) for caption in captions])
        near = self._near(vectors)
        # [i, j]: the captions of this call with each other; only leaders count, which are known as the loop goes on
        for i, j in np.argwhere(np.tril(vectors @ vectors.T, -1) >= self._least):
            near[i].append((round(float(vectors[i] @ vectors[j]), _DIGITS), len(self) + int(j)))
        fresh: list[int] = []
        places = {}  # of this call's leaders
        found: list[str | None] = []
        for i, caption in enumerate(captions):
            alike = [(-score, place) for score, place in near[i] if place < len(self) or place in places]
            leader = next(
                (self._name(place, captions) for _, place in sorted(alike) if self._same(place, captions, caption)),
                None,
            )
            found.append(leader)
            if leader is None and may_lead[i] and vectors[i].any():
                places[len(self) + i] = i
                fresh.append(i)
        self._add([captions[i] for i in fresh], vectors[fresh])
        return found

    @property
    def _least(self) -> float:
        return self._threshold - 0.5 * 10.0**-_DIGITS

    def _name(self, place: int, captions: Sequence[str]) -> str:
        return self._captions[place] if place < len(self) else captions[place - len(self)]

    def _same(self, place: int, captions: Sequence[str], caption: str) -> bool:
        return attributes(self._name(place, captions)) == attributes(caption)

    def _near(self, vectors: npt.NDArray[np.float32]) -> list[list[tuple[float, int]]]:
        """For each vector the cosines and places of the leaders within the threshold."""
        if not len(self) or not len(vectors):
            return [[] for _ in vectors]
        starts, scores, places = self._index.range_search(vectors, self._least)
        return [
            [(round(float(scores[k]), _DIGITS), int(places[k])) for k in range(starts[i], starts[i + 1])]
            for i in range(len(vectors))
        ]

    def _add(self, captions: list[str], vectors: npt.NDArray[np.float32]) -> None:
        self._captions += captions
        self._index.add(vectors)
        if len(self) <= self._cells_for:
            return
        self._cells_for = _GROWTH * len(self)
        everything = self._index.reconstruct_n(0, len(self))
        cells = int(len(self) ** 0.5)
        index = self._faiss.IndexIVFFlat(
            self._faiss.IndexFlatIP(DIMENSIONS), DIMENSIONS, cells, self._faiss.METRIC_INNER_PRODUCT
        )
        index.nprobe, index.cp.seed = _CELLS_SEARCHED, _SEED
        index.train(everything[np.linspace(0, len(self) - 1, min(len(self), 40 * cells)).astype(np.int64)])
        index.make_direct_map(True)
        index.add(everything)
        self._index = index

"""Captions that say the same but for spelling, found as they come: each is a leader, or folds onto one.

A caption folds onto the nearest leader before it whose colours, numbers and negation are its own and whose character
n-grams, within words, have a cosine of at least ``threshold`` with its own (:mod:`laclip_aug.quality.neighbours`; case
and punctuation do not count). It is compared with leaders alone, never with a folded one, so likeness does not chain (a
is like b, b like c, a not like c). Order hardly counts: "a man on a court swinging a racket" folds onto "a man is
swinging a racket on a court", and where order is all that tells two captions apart, that is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from laclip_aug.errors import ConfigurationError
from laclip_aug.quality.attributes import Attributes, attributes
from laclip_aug.quality.letters import runs_of
from laclip_aug.quality.neighbours import DIMENSIONS, EXACT, Embedding, index_of, library

LEAST = 0.98
"""The least threshold: below, captions of different things are found alike (``young man``, ``young boy``)."""
_GROWTH = 4  # cells are made anew when there are so many times more leaders
_DIGITS = 4


class Leaders:
    """The leaders so far. Memory: about 2 KB for each, with its text; 2.6 where each has its own number.

    Those of the same colours, numbers and negation are compared, every one up to 8,192 such; beyond, those in the 8
    nearest of some hundred cells, which misses few.

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
        self._faiss, self._threshold, self._embed = library(), threshold, Embedding()
        self._groups: dict[Attributes, _Group] = {}

    def fold(self, captions: Sequence[str], may_lead: Sequence[bool]) -> list[str | None]:
        """For each caption in turn the leader it folds onto; ``None`` if there is none: then it is one, if it may.

        Costs 4 bytes of memory for each two of ``captions`` whose colours, numbers and negation are the same.
        """
        vectors = self._embed([" ".join(runs_of(caption)) for caption in captions])
        able = np.array(may_lead, bool) & vectors.any(axis=1)
        together: dict[Attributes, list[int]] = {}
        for i, caption in enumerate(captions):
            together.setdefault(attributes(caption), []).append(i)
        found: list[str | None] = [None] * len(captions)
        for key, rows in together.items():
            group = self._groups.get(key)
            if group is None:
                group = self._groups[key] = _Group(self._faiss, self._threshold)
            leaders = group.fold([captions[i] for i in rows], vectors[rows], able[rows])
            for i, leader in zip(rows, leaders, strict=True):
                found[i] = leader
        return found


class _Group:
    """The leaders of the same colours, numbers and negation."""

    def __init__(self, faiss: Any, threshold: float) -> None:
        self._least = threshold - 0.5 * 10.0**-_DIGITS
        self._captions: list[str] = []
        self._index: Any = faiss.IndexFlatIP(DIMENSIONS)
        self._cells_for = EXACT

    def fold(
        self, captions: list[str], vectors: npt.NDArray[np.float32], may_lead: npt.NDArray[np.bool_]
    ) -> list[str | None]:
        """As :meth:`Leaders.fold`, where ``vectors`` ``[N, D]`` are those of ``captions``."""
        before = self._nearest(vectors)
        among = vectors @ vectors.T
        leads = np.zeros(len(captions), bool)
        found: list[str | None] = []
        for i, (score, place) in enumerate(before):
            # of this call only leaders count, which are known as the loop goes on
            alike = np.flatnonzero(leads[:i] & (among[i, :i] >= self._least))
            if len(alike) and (own := _rounded(among[i, alike])).max() > score:
                found.append(captions[alike[own.argmax()]])
            elif place >= 0:
                found.append(self._captions[place])
            else:
                found.append(None)
                leads[i] = may_lead[i]
        fresh = np.flatnonzero(leads)
        self._add([captions[i] for i in fresh], vectors[fresh])
        return found

    def _nearest(self, vectors: npt.NDArray[np.float32]) -> list[tuple[float, int]]:
        """For each vector the cosine and the place of the nearest leader within the threshold; -1 if there is none."""
        if not self._captions:
            return [(-1.0, -1)] * len(vectors)
        starts, scores, places = self._index.range_search(vectors, self._least)
        scores = _rounded(scores)
        found = []
        for start, end in pairwise(starts.tolist()):
            best = scores[start:end].max(initial=-1.0)
            nearest = places[start:end][scores[start:end] == best]
            found.append((float(best), int(nearest.min()) if len(nearest) else -1))
        return found

    def _add(self, captions: list[str], vectors: npt.NDArray[np.float32]) -> None:
        self._captions += captions
        self._index.add(vectors)
        if len(self._captions) <= self._cells_for:
            return
        self._cells_for = _GROWTH * len(self._captions)
        self._index = index_of(self._index.reconstruct_n(0, len(self._captions)))
        self._index.make_direct_map(True)


def _rounded(cosines: npt.NDArray[np.float32]) -> npt.NDArray[np.floating[Any]]:
    """As far as they count, so that the order of additions does not."""
    return np.round(cosines, _DIGITS)

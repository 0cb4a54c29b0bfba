"""Pairs (source caption, target caption) that say nearly the same.

Two captions of one image share 40% of their content; a model trained on all such pairs learns to invent. Kept here
are near pairs: nearly all that the target says is in the source, and the source's rare words are in the target.
They are found among the captions of one image and, by TF-IDF over content concepts, among those of other images:
"A man rides a wave on a surfboard" and "A man riding a wave on his surfboard" are of two photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.embedded_rewriter.words import concepts, people, words
from laclip_aug.quality.attributes import Attributes, attributes


@dataclass(frozen=True)
class Near:
    """Bounds on a pair. ``precision``: share of the target's concepts in the source, by idf; ``recall``: vice versa."""

    precision: float
    recall: float
    jaccard: float  # of words, at most


SIBLING = Near(0.7, 0.55, 0.8)
STRANGER = Near(0.8, 0.65, 0.75)


class Captions:
    """Captions with what is needed to compare two of them."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = list(texts)
        self.concepts = [frozenset(concepts(text)) for text in texts]
        self.words = [frozenset(words(text)) for text in texts]
        self.attributes: list[Attributes] = [attributes(text) for text in texts]
        self.people = [people(text) for text in texts]
        vectorizer = TfidfVectorizer(analyzer=concepts, dtype=np.float32)
        self.matrix: csr_matrix = vectorizer.fit_transform(self.texts)
        self.frequency = np.bincount(self.matrix.indices, minlength=self.matrix.shape[1]) / len(self.texts)
        self.idf = {c: float(vectorizer.idf_[i]) for c, i in vectorizer.vocabulary_.items()}

    def weight(self, found: frozenset[str]) -> float:
        return sum(self.idf[c] for c in found)

    def near(self, source: int, target: int, bounds: Near) -> bool:
        """Whether the pair is within ``bounds`` and keeps colours, numbers, negation and people."""
        s, t = self.concepts[source], self.concepts[target]
        if not s or not t or self.attributes[source] != self.attributes[target]:
            return False
        if len(self.texts[target].split()) > 40 or len(self.texts[source].split()) > 45:
            return False
        (sg, sy, so), (tg, ty, to) = self.people[source], self.people[target]
        if (not tg <= sg and (sg or bounds is STRANGER)) or (ty and so and not sy) or (to and sy and not so):
            return False
        shared = self.weight(s & t)
        if shared < bounds.precision * self.weight(t) or shared < bounds.recall * self.weight(s):
            return False
        a, b = self.words[source], self.words[target]
        return len(a & b) <= bounds.jaccard * len(a | b)

    def neighbours(self, rows: Sequence[int], keep: int = 12, least: float = 0.62) -> dict[int, list[int]]:
        """For each of ``rows`` the captions with the highest TF-IDF cosine, at least ``least``.

        Concepts in over 4% of all captions only count once candidates are found: their posting lists are long.
        """
        rare = self.matrix[:, np.flatnonzero(self.frequency < 0.04)]
        transposed = rare.T.tocsr()
        found: dict[int, list[int]] = {}
        for start in range(0, len(rows), 512):
            block = rows[start : start + 512]
            scores = (rare[block] @ transposed).tocsr()
            for i, row in enumerate(block):
                span = slice(scores.indptr[i], scores.indptr[i + 1])
                index, value = scores.indices[span], scores.data[span]
                index = index[value > 0.25]
                if len(index) > 300:
                    index = index[np.argsort(-value[value > 0.25])[:300]]
                full = (self.matrix[index] @ self.matrix[row].T).toarray()[:, 0]
                order = np.argsort(-full, kind="stable")
                found[row] = [int(index[j]) for j in order[: 4 * keep] if full[j] >= least and index[j] != row][
                    : 3 * keep
                ]
        return found

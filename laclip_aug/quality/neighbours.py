"""Signals that compare a text with all others of a shard: character n-grams, and faiss to search.

Texts become vectors without a model and without fitting: each character 3- to 5-gram within words is hashed to one of
256 dimensions and to a sign, which is a random projection with one entry a column (Weinberger et al. 2009, "Feature
Hashing"): cosines are kept to about 1/16.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from laclip_aug.errors import MissingExtraError
from laclip_aug.quality.signals import Signal, TextPair

DIMENSIONS = 256
EXACT = 1 << 13
"""Vectors up to which every one is compared."""
_NEAREST = 10
_PART = 4096  # queries that faiss multiplies at a time: in parts as in one go, to the last digit
_FEW = 20  # queries from which on it multiplies
_SEED = 0


class NGrams(Signal):
    """Cosine of the two texts' character n-grams (hashed, projected), about -0.2 to 1."""

    def __init__(self) -> None:
        self._embed = Embedding()

    def measure(self, pairs: Sequence[TextPair]) -> list[float]:
        """The cosine of each pair; 0 if either text has no letter."""
        captions = self._embed([pair.caption for pair in pairs])
        texts = self._embed([pair.text for pair in pairs])
        return [float(number) for number in (captions * texts).sum(axis=1)]


class _Compared(Signal):
    """A signal of each text among all: the search takes minutes for a shard, and is cut into parts.

    Raises:
        MissingExtraError: faiss or scikit-learn is not installed.
    """

    needs = "texts"

    def __init__(self) -> None:
        self._embed = Embedding()
        library()  # now, and not when a shard has been read

    def measure(self, pairs: Sequence[TextPair]) -> list[float]:
        """The numbers of all ``pairs``."""
        return list(chain.from_iterable(self.in_parts(pairs)))

    @abstractmethod
    def in_parts(self, pairs: Sequence[TextPair]) -> Iterator[list[float]]:
        """See :meth:`Signal.in_parts`."""


class Rank(_Compared):
    """Place of the text's own caption among the captions of its shard by n-grams: 1 is nearest, 11 beyond the tenth."""

    def in_parts(self, pairs: Sequence[TextPair]) -> Iterator[list[float]]:
        """The place of each pair's caption among the distinct captions of ``pairs``."""
        places = {caption: place for place, caption in enumerate(dict.fromkeys(pair.caption for pair in pairs))}
        captions = index_of(self._embed(list(places)))
        for part in _parts(len(pairs)):
            own = np.array([places[pair.caption] for pair in pairs[part]], np.int64)
            hits = _search(captions, self._embed([pair.text for pair in pairs[part]])) == own[:, None]
            yield [float(row.argmax()) + 1 if row.any() else _NEAREST + 1.0 for row in hits]


class Neighbours(_Compared):
    """Cosine by n-grams of the text with the nearest text before it in its shard, of any caption; high repeats."""

    def in_parts(self, pairs: Sequence[TextPair]) -> Iterator[list[float]]:
        """The greatest cosine with one of the ten nearest that stand before it; 0 if none of them does."""
        texts = self._embed([pair.text for pair in pairs])
        index = index_of(texts)
        for part in _parts(len(pairs)):
            found = []
            for place, row in enumerate(_search(index, texts[part]), part.start):
                before = [int(other) for other in row if 0 <= other < place]
                found.append(max((float(texts[place] @ texts[other]) for other in before), default=0.0))
            yield found


class Embedding:
    """Texts to unit vectors ``[n, 256]``; zeros where there is no letter.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """

    def __init__(self) -> None:
        try:
            from sklearn.feature_extraction.text import HashingVectorizer
        except ImportError as error:
            raise MissingExtraError("quality", "sklearn") from error
        self._hash: Any = HashingVectorizer(
            analyzer="char_wb", ngram_range=(3, 5), n_features=DIMENSIONS, norm=None, dtype=np.float32
        )

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        # a caption stands beside each of its texts: each distinct text is embedded once
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        if not places:
            return np.zeros((0, DIMENSIONS), np.float32)
        hashed = self._hash.transform([text.encode("utf-8", "replace").decode() for text in places])
        vectors: npt.NDArray[np.float32] = hashed.toarray()
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return vectors[[places[text] for text in texts]]


def _parts(count: int) -> Iterator[slice]:
    starts = range(0, max(1, count - _FEW + 1), _PART)
    for start in starts:
        yield slice(start, count if start == starts[-1] else start + _PART)


def library() -> Any:
    """The module faiss.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("quality", "faiss") from error
    return faiss


def index_of(base: npt.NDArray[np.float32]) -> Any:
    """What finds the nearest in ``base`` ``[N, 256]``.

    Every vector is compared up to 8,192; beyond, those in the 8 nearest of some hundred cells, which misses few.
    """
    faiss = library()
    if len(base) <= EXACT:
        index: Any = faiss.IndexFlatIP(DIMENSIONS)
    else:
        cells = int(len(base) ** 0.5)
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(DIMENSIONS), DIMENSIONS, cells, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = 8
        index.cp.seed = _SEED
        index.train(base[np.linspace(0, len(base) - 1, min(len(base), 40 * cells)).astype(np.int64)])
    index.add(base)
    return index


def _search(index: Any, queries: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Places of the ten nearest to each query, best first, -1 where there are fewer."""
    near: npt.NDArray[np.int64] = index.search(queries, _NEAREST)[1]
    return near

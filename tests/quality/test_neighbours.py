"""Signals over all texts of a shard."""

import sys

import numpy as np
import pytest

from laclip_aug.errors import MissingExtraError
from laclip_aug.quality import neighbours
from laclip_aug.quality.signals import TextPair, create_signal


def test_ngrams_see_inflection_and_not_other_words() -> None:
    caption = "two brown dogs are playing in the snow"
    texts = [caption, "a brown dog plays in snow", "a plate of rice with beans"]
    same, near, far = create_signal("ngrams").measure([TextPair(caption, text) for text in texts])
    assert same == pytest.approx(1, abs=1e-5)
    assert near > 0.4
    assert abs(far) < 0.25


def test_projection_keeps_the_cosine_of_the_counts() -> None:
    """Against the cosine of the exact n-gram counts, which 256 random dimensions keep to about 1/16."""
    from sklearn.feature_extraction.text import CountVectorizer

    texts = ["two brown dogs play in the snow", "a brown dog plays in snow", "a man holds a tray", "snow on a train"]
    counts = CountVectorizer(analyzer="char_wb", ngram_range=(3, 5)).fit_transform(texts).toarray().astype(float)
    counts /= np.linalg.norm(counts, axis=1, keepdims=True)
    found = create_signal("ngrams").measure([TextPair(a, b) for a in texts for b in texts])
    assert np.abs(np.array(found) - (counts @ counts.T).ravel()).max() < 0.2


CAPTIONS = [f"{a} {b} {c}" for a in ("red", "blue", "old", "tiny") for b in ("train", "cat", "boat", "tree") for c in
            ("in rain", "on grass", "at night", "by a lake")]  # fmt: skip


def test_rank_is_the_place_of_the_own_caption() -> None:
    texts = [*CAPTIONS[:-2], CAPTIONS[0], "zzz qqq xxx"]
    ranks = create_signal("rank").measure([TextPair(c, t) for c, t in zip(CAPTIONS, texts, strict=True)])
    assert ranks[:-2] == [1] * 62
    assert ranks[-2] > 1  # it says what another caption says
    assert ranks[-1] == 11


def test_neighbours_look_back_only() -> None:
    texts = ["a red train in rain", "a cat on grass", "a red train in the rain", "a cat on grass"]
    found = create_signal("neighbours").measure([TextPair(str(i), text) for i, text in enumerate(texts)])
    assert found[0] == 0
    assert found[1] < 0.4
    assert 0.8 < found[2] < 1
    assert found[3] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["rank", "neighbours"])
def test_a_missing_library_is_named_before_anything_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match="'faiss'; install it with: pip install"):
        create_signal(name)


@pytest.mark.parametrize("rest", [1, 19, 20])
def test_each_text_of_a_part_is_compared_with_those_of_all(rest: int) -> None:
    """Of 4,096 texts and a rest, each is said twice, one right after the other; the captions are as many."""
    texts = [f"{caption} {i}" for i in range(70) for caption in CAPTIONS for _ in range(2)][: 4096 + rest]
    pairs = [TextPair(text, text) for text in texts]
    assert create_signal("rank").measure(pairs) == [1] * len(texts)
    again = create_signal("neighbours").measure(pairs)[1::2]
    assert again == pytest.approx([1] * len(again), abs=1e-5)


def test_many_texts_are_searched_in_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [TextPair(f"{caption} {i}", f"{caption} {i}") for i in range(20) for caption in CAPTIONS]
    exact = create_signal("rank").measure(pairs)
    assert exact == [1] * len(pairs)
    monkeypatch.setattr(neighbours, "EXACT", 256)
    assert create_signal("rank").measure(pairs) == exact
    assert create_signal("rank").measure(pairs) == create_signal("rank").measure(pairs)

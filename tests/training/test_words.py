"""The table of words against open_clip's own tokenizers: the same ids for every text, or no table at all."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer

from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.training.sampling import TextSampler
from laclip_aug.training.tokenizer import AugmentingTokenizer, SharedEpoch
from laclip_aug.training.words import WORDS, WordTokens, with_word_table

from .conftest import rewrite

CLIP: Any = open_clip.get_tokenizer("ViT-B-32")
TABLE: Any = with_word_table(CLIP)
HOSTILE = (
    "",
    "   ",
    "Two  Brown dogs' toys -- isn't it?",
    "AT&amp;amp;T &lt;b&gt; & co",
    "<start_of_text> a <END_OF_TEXT>b",
    "a\tdog\nand\ra\x00cat\x1b[0m",
    "caf\u00e9 \u2019s \u4e00\u53ea\u72d7 \U0001f415",
    "\u00e2\u20ac\u2122 mojibake",
    "word " * 200,
    "x" * 3000,
    "a \ud800 dog",
)


def test_clip_s_tokenizer_gets_a_table() -> None:
    assert isinstance(TABLE, WordTokens)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("length", [None, 8, 1])
def test_hostile_texts_give_the_same_ids(text: str, length: int | None) -> None:
    for _ in range(2):  # without the words in the table, and with them
        assert torch.equal(TABLE([text], length), CLIP([text], length))
        assert torch.equal(TABLE(text, length), CLIP(text, length))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40), min_size=1, max_size=3))
@example(["a&b", "it's It'S 'tis", "3rd 10,000th"])
def test_any_ascii_texts_give_the_same_ids(texts: list[str]) -> None:
    assert torch.equal(TABLE(texts), CLIP(texts))


@settings(deadline=None, max_examples=100)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_gives_the_same_ids(text: str) -> None:
    assert torch.equal(TABLE([text]), CLIP([text]))


def test_the_table_stops_growing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laclip_aug.training.words.WORDS", 2)
    small = WordTokens(CLIP)

    assert small.encode("a red dog and a red cat") == CLIP.encode("a red dog and a red cat")
    assert list(small._table) == ["a", "red"]
    assert WORDS > 2


def test_long_words_are_not_kept() -> None:
    table = WordTokens(CLIP)

    assert torch.equal(table("a " + "x" * 3000), CLIP("a " + "x" * 3000))
    assert list(table._table) == ["a"]


def test_no_texts() -> None:
    assert torch.equal(TABLE([]), CLIP([]))


def test_it_learns_from_so_many_texts_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laclip_aug.training.words.LEARNED", 2)
    table, texts = WordTokens(CLIP), iter(["a red dog", "caf\u00e9 & bar", "a cat"])

    table.learn(texts)

    assert set(table._table) == {"a", "red", "dog"}
    assert next(texts) == "a cat"


def test_it_reads_on_only_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laclip_aug.training.words.WORDS", 3)
    table, texts = WordTokens(CLIP), iter(["a red dog", "a blue cat", "a green bird"])

    table.learn(texts)

    assert list(texts) == ["a green bird"]


def test_it_travels_to_spawned_workers_with_its_words() -> None:
    # Under spawn, a loader pickles its dataset.
    table = WordTokens(CLIP)
    table.learn(["a red dog"])

    again = pickle.loads(pickle.dumps(table))  # noqa: S301

    assert again._table == table._table
    assert torch.equal(again(["a red dog", "a blue cat"]), CLIP(["a red dog", "a blue cat"]))


@pytest.mark.parametrize(
    "tokenizer",
    [
        SimpleTokenizer(clean="whitespace"),
        SimpleTokenizer(clean="canonicalize"),
        SimpleTokenizer(reduction_mask="random"),
        lambda texts: torch.zeros(len(texts), 4),
    ],
    ids=["keeps case", "drops punctuation", "drops words at random", "a function"],
)
def test_other_tokenizers_are_left_alone(tokenizer: Any) -> None:
    assert with_word_table(tokenizer) is tokenizer


def test_training_texts_are_tokenised_as_open_clip_would(cache: Path) -> None:
    tokenizer = AugmentingTokenizer(CLIP, TextSampler(CaptionCache(cache), multi=True), SharedEpoch())
    texts = ["a red dog", *(rewrite("a red dog", name) for name in ("chatgpt", "bard", "human"))]

    assert isinstance(tokenizer.tokenizer, WordTokens)
    assert torch.equal(tokenizer(["a red dog"])[0], CLIP(texts))

"""Checks of the two texts alone, at the edges of what they allow."""

from __future__ import annotations

import unicodedata
from types import SimpleNamespace

import pytest

from laclip_aug.quality import checks
from laclip_aug.quality.attributes import Attributes, attributes
from laclip_aug.quality.checks import TEXT_CHECKS, Candidate, folded


def test_marks_without_end_take_no_longer_than_letters() -> None:
    """An imported text may be of any length."""
    marks = "\u0301\u0316" * 60_000
    assert folded("A dog" + marks) == "a do\u01f5" + "\u0316" * 60_000 + "\u0301" * 59_999
    assert attributes("two red dogs " + marks) == Attributes(frozenset({"red"}), frozenset({"2"}), False)


def test_a_letter_is_looked_at_once_however_many_texts_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Millions of texts are compared with their captions, and share their letters."""
    looked: list[str] = []

    def category(letter: str) -> str:
        looked.append(letter)
        return unicodedata.category(letter)

    monkeypatch.setattr(checks, "unicodedata", SimpleNamespace(category=category))
    assert folded("Två hundar, nr. 7: «snön»!") == "två hundar nr 7 snön"
    assert [folded(f"{number} hundar i snön") for number in range(10_000, 10_500)][7] == "10007 hundar i snön"
    assert len(looked) <= len({*"två hundar, nr. 7: «snön»! 0123456789i"})


@pytest.mark.parametrize(
    ("words", "stops", "tokens"), [(75, 0, 77), (74, 1, 77), (72, 3, 77), (75, 1, 78), (73, 3, 78), (70, 7, 79)]
)
def test_clips_limit_is_77_tokens_to_the_token(words: int, stops: int, tokens: int) -> None:
    """A word of one letter is one token of CLIP's, a full stop another; the begin and the end of the text are two."""
    assert words + stops + 2 == tokens
    letters = [letter + ("." if place < stops else "") for place, letter in enumerate("abcefghijk" * 8)][:words]
    assert TEXT_CHECKS["too-long"](Candidate("a dog", " ".join(letters))) is (tokens > 77)


def test_the_rest_of_a_word_behind_a_mark_is_no_word() -> None:
    """Turkish's dotted capital, and Yoruba's letters with a point and a tone, are two characters in small letters."""
    assert attributes("BİTEN GÜN") == attributes("günün biri")  # "ending": no ten
    assert attributes("ìwà ẹ̀tan") == attributes("ìwà")  # "deceit": no tan
    assert attributes("ten tan dogs, isn't it?").numbers == {"10"}

"""Checks of the two texts alone, at the edges of what they allow."""

from __future__ import annotations

import pytest

from laclip_aug.quality.attributes import attributes
from laclip_aug.quality.checks import TEXT_CHECKS, Candidate


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

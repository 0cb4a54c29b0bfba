"""Normal forms in linear time are Unicode's, to the letter."""

import re
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laclip_aug.quality.normal import normal_form

# letters with and without marks, marks above and below, marks of two marks, and those that only a form makes marks of
_ODD = (
    "aé\u1ec7 \u0301\u0316\u0327\u0344\u0345\u0f40\u0f71\u0f73\u0f81\u3099\uff9eかﾊ하\u1100\u1161\u11a8猫①\ufb2c\u1d15e"
)
PIECES = st.tuples(st.text(st.sampled_from(_ODD) | st.characters(), min_size=1, max_size=4), st.integers(1, 300))


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=6), st.sampled_from(["NFC", "NFKC"]))
def test_a_form_is_that_of_the_standard_library(pieces, form):
    text = "".join(piece * times for piece, times in pieces)
    assert normal_form(form, text) == unicodedata.normalize(form, text)


@pytest.mark.parametrize(
    ("form", "unit", "sorted_marks"),
    [
        ("NFC", "\u0301\u0316", "\u0316\u0301"),
        ("NFC", "\u0f73\u0f71", "\u0f71\u0f71\u0f72"),  # a vowel that is two marks, though it counts as none
        ("NFKC", "\uff9e\u0301", "\u3099\u0301"),  # a letter that this form makes a mark of
    ],
)
def test_no_marks_take_longer_than_as_many_letters(form, unit, sorted_marks):
    expected = "".join(mark * 60_000 for mark in sorted_marks)
    assert normal_form(form, "猫" + unit * 60_000) == "猫" + expected


def test_two_letters_begin_with_a_mark():
    """Marks are looked for among what are no letters and digits, and these two."""
    letters = [letter for letter in map(chr, range(sys.maxunicode + 1)) if re.match(r"\w", letter)]
    assert [x for x in letters if unicodedata.combining(unicodedata.normalize("NFKD", x)[0])] == ["\uff9e", "\uff9f"]


def test_marks_come_to_the_standard_library_in_their_order(monkeypatch):
    """It lets a mark pass each before it of a higher class: with none to pass, its time grows with the text alone."""
    given, normalize = [], unicodedata.normalize
    monkeypatch.setattr(unicodedata, "normalize", lambda form, text: given.append(text) or normalize(form, text))
    normal_form("NFC", "a dog " + "\u0301\u0316" * 5_000)
    long = [text.removeprefix("a dog ").strip() for text in given if len(text) > 5_000]
    assert long and all(list(text) == sorted(text, key=unicodedata.combining) for text in long)

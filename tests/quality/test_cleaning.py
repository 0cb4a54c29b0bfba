"""What CLIP reads of a caption, compared with open_clip's own cleaning."""

import itertools
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laclip_aug.quality.cleaning import as_clip_reads, is_nothing

TEXTS = [
    "a dog",
    "  a dog\n",
    "salt &amp; pepper",
    "salt &amp;amp; pepper",
    "&nbsp;",
    "&amp;nbsp;",
    "&#160; &#xa0;",
    "\x07",
    "\x1b[36;44mred\x1b[0m",
    "\x1b[0m",
    "",
    " \t",
    "?!",
    "\u200b",
    "caf\u00c3\u00a9 \u732b",
    "\u201cquoted\u201d \uff41\uff42",
    "AT&T & co",
    "&lt;b&gt;bold&lt;/b&gt;",
    "\x00",
    "\u00c2\u00a0",
    "\u00ef\u00bb\u00bf",
    "\u00e3\u20ac\u20ac",
    "\u0432\u0402\u0453",
    "\uff06nbsp;",
    "Â",
    "\u0441\u043e\u0431\u0430\u043a\u0430",
    "a dog " + "\u0301\u0316" * 200,
    "\uff21\u1ec7" + "\u0344\u0316" * 200 + "①",
    "две собаки бегут по пляжу &amp; " * 60,
    "ﾊﾞﾅﾅとﾊﾟﾝ\n" * 200,
    "मेज़ पर बाल ".encode().decode("latin-1") * 60,
    "a <b>dog</b>\n&eacute;\n" + "é猫" * 700,
]
MARKS = {
    "marks": "\u0301\u0316",
    "half-width sound marks": "\uff9e\u0301\u0316",
    "escapes": "&#x301;&#x316;",
    "escaped escapes": "&amp;#x301;&amp;#x316;",
    "control characters between": "\u0301\x01\u0316\x01",
    "byte order marks between": "\u0301\ufeff\u0316\ufeff",
    "colours between": "\u0301\x1b[0m\u0316\x1b[0m",
    "broken characters": "\u0301\u0316".encode().decode("latin-1"),
    "twice broken": "\u0301\u0316".encode().decode("latin-1").encode().decode("latin-1"),
    "broken characters of letters and marks": "I\u0300\x81I\u0300\x96",
}
"""Whatever becomes an accent above and one below, again and again, on the way through ftfy."""


def test_marks_without_end_take_no_longer_than_letters() -> None:
    assert as_clip_reads("\u0301\u0316" * 60_000) == "\u0316" * 60_000 + "\u0301" * 60_000


def out_of_order(text: str) -> int:
    """The most marks in a row that are not sorted by class: the standard library's time grows with their square."""
    groups = [
        [*map(unicodedata.combining, run)] for _, run in itertools.groupby(text, lambda c: unicodedata.combining(c) > 0)
    ]
    return max((len(classes) for classes in groups if classes != sorted(classes)), default=0)


@pytest.mark.parametrize("unit", MARKS.values(), ids=MARKS)
def test_marks_that_come_about_in_ftfy_take_no_longer_than_letters(monkeypatch: pytest.MonkeyPatch, unit: str) -> None:
    normalize, given = unicodedata.normalize, [""]
    monkeypatch.setattr(unicodedata, "normalize", lambda form, text: given.append(text) or normalize(form, text))
    found = as_clip_reads("a猫 " + unit * 5_000)
    assert max(map(out_of_order, given)) <= 256
    assert "\u0316" * 5_000 in found and "\u0301" * 4_999 in found


@pytest.mark.parametrize("unit", MARKS.values(), ids=MARKS)
def test_so_many_marks_are_read_as_open_clip_reads_them(unit: str) -> None:
    from open_clip.tokenizer import basic_clean

    text = "a猫 " + unit * 700 + " ﾊﾞ &amp; caf\u00c3\u00a9"
    assert as_clip_reads(text) == basic_clean(text)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([*MARKS.values(), *TEXTS[:-6], "\n", "<", "猫"]), st.integers(1, 600)), max_size=5
    )
)
def test_texts_of_any_such_pieces_are_read_as_open_clip_reads_them(pieces: list[tuple[str, int]]) -> None:
    from open_clip.tokenizer import basic_clean

    text = "".join(piece * times for piece, times in pieces)
    assert as_clip_reads(text) == basic_clean(text)


@pytest.mark.parametrize("text", TEXTS)
def test_as_open_clip_cleans(text: str) -> None:
    from open_clip.tokenizer import SimpleTokenizer, basic_clean

    assert as_clip_reads(text) == basic_clean(text)
    assert is_nothing(text) == (SimpleTokenizer().encode(text) == [])

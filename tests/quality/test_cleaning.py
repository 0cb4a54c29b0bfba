"""What CLIP reads of a caption, compared with open_clip's own cleaning."""

import pytest

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
    "a dog " + "\u0301\u0316" * 200,
    "\uff21\u1ec7" + "\u0344\u0316" * 200 + "①",
]


def test_marks_without_end_take_no_longer_than_letters() -> None:
    assert as_clip_reads("\u0301\u0316" * 60_000) == "\u0316" * 60_000 + "\u0301" * 60_000


@pytest.mark.parametrize("text", TEXTS)
def test_as_open_clip_cleans(text: str) -> None:
    from open_clip.tokenizer import SimpleTokenizer, basic_clean

    assert as_clip_reads(text) == basic_clean(text)
    assert is_nothing(text) == (SimpleTokenizer().encode(text) == [])

"""Words as runs of letters and digits with their marks: vowel signs of Indic scripts, vowel points, combining accents.

Python's ``\\w`` leaves marks out, and a pattern of it alone makes of "कुत्ता" the three letters क, त, त.
"""

from __future__ import annotations

import re
import unicodedata

from laclip_aug.quality.normal import normal_form

RULE = 2
"""Version of what words are, to be raised with any change; part of what gates and folded builds are known by."""
_FIRST = 0x300  # no mark comes before
_PAST = 0x1F000  # beyond are those alone that choose a glyph
_GLYPHS = range(0xFE00, 0xFE10)  # and so do these: they make an emoji of a character


def _class_of_marks() -> str:
    """As ranges: a class of single characters, some beyond U+FFFF, is searched one by one."""
    codes = [c for c in range(_FIRST, _PAST) if unicodedata.category(chr(c)) in ("Mn", "Mc") and c not in _GLYPHS]
    firsts = [c for c, before in zip(codes, [0, *codes], strict=False) if c != before + 1]
    lasts = [c for c, behind in zip(codes, [*codes[1:], 0], strict=True) if c != behind - 1]
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in zip(firsts, lasts, strict=True))


MARKS = _class_of_marks()
"""The marks that belong to letters, as the inside of a character class of a pattern."""


def run(letter: str) -> str:
    """The pattern of one or more ``letter``, itself a pattern of one character, with marks behind any of them."""
    # what is not as far as the first mark, such as a space, is not looked for among all: that takes five times as long
    return rf"{letter}+(?:(?![\0-{chr(_FIRST - 1)}])[{MARKS}]+{letter}*)*"


_RUN = re.compile(run(r"[^\W_]"))


def composed(text: str) -> str:
    """``text`` case folded, and a letter with its mark one character where Unicode has that: in whatever form it came.

    >>> composed("CAFE\\u0301") == composed("Café")
    True
    """
    plain = text.casefold()
    return normal_form("NFC", plain)


def runs_of(text: str) -> list[str]:
    """The words, case folded, between white space, punctuation and signs; without spaces a sentence may be one.

    >>> runs_of("A black dog, काला कुत्ता")
    ['a', 'black', 'dog', 'काला', 'कुत्ता']
    """
    return _RUN.findall(composed(text))

"""Unicode's normal forms, in time that grows with a text and no faster.

A form sorts the marks on a letter (accents, points, tones) by their class. CPython lets each mark pass those before it
one by one, so that a caption of 64,000 marks takes it ten seconds; here they are sorted at once. What comes out is the
form, to the letter, so a caption's key is the same as ever.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import groupby
from typing import Literal

Form = Literal["NFC", "NFKC"]
_FEW = 256
"""Characters in a row that may all be marks, up to which CPython's way is quick enough."""
_MARK = r"[\W\uff9e\uff9f]"  # no letter or digit is a mark, but for two of half width, which NFKC makes marks
_LONG = re.compile(f"(?<!{_MARK}){_MARK}{{{_FEW + 1},}}")


def normal_form(form: Form, text: str) -> str:
    """``unicodedata.normalize(form, text)``.

    >>> normal_form("NFC", "cafe\\u0301")
    'café'
    """
    if text.isascii() or len(text) <= _FEW:
        return unicodedata.normalize(form, text)
    in_order = _LONG.sub(lambda run: unicodedata.normalize(form, "".join(_sorted(run[0], form))), text)
    return unicodedata.normalize(form, in_order)


def has_many_marks(text: str) -> bool:
    """Whether so many marks follow each other in ``text`` that CPython would bring it into form NFC slowly."""
    runs = (run[0] for run in _LONG.finditer(text))
    return any(marks and len(group) > _FEW for run in runs for marks, group in _groups(run, "NFC"))


def _sorted(run: str, form: Form) -> Iterator[str]:
    """The characters of ``run``, taken apart as ``form`` does it, with the marks between two letters by class."""
    for _, group in _groups(run, form):
        yield from sorted(group, key=unicodedata.combining)  # stable; letters are all of class 0


def _groups(run: str, form: Form) -> Iterator[tuple[bool, list[str]]]:
    """What ``run`` is made of when ``form`` takes it apart: marks (True) and letters in turns."""
    apart: Literal["NFD", "NFKD"] = "NFD" if form == "NFC" else "NFKD"
    characters = "".join(unicodedata.normalize(apart, character) for character in run)
    for marks, group in groupby(characters, key=lambda character: unicodedata.combining(character) > 0):
        yield marks, list(group)

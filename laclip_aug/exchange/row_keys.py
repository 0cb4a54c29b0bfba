"""Keys of rows, by which images and captions are found: texts and whole numbers, a number in any of its types alike."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

_WHOLE = re.compile(r"(-?[0-9]{1,15})\.0+")
"""What pandas writes for a whole number in a column where others are missing. More digits a float does not hold."""


def key_of(value: Any) -> str | None:
    """The text of a key; ``None`` if it is neither a text nor a whole number. ``7``, ``7.0`` and ``"7.0"`` are one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    text = str(value)
    if whole := _WHOLE.fullmatch(text):
        return whole[1]
    fraction = isinstance(value, float) or (isinstance(value, Decimal) and not text.lstrip("-").isdecimal())
    return None if fraction else text

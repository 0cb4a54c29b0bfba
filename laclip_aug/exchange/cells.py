"""Lists and objects of texts in a cell that is a text, as a CSV has nothing else: JSON, or as Python prints them."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

_ITEM = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|None)"""
_PRINTED = re.compile(rf"\[\s*{_ITEM}(?:(?:\s*,\s*|\s+){_ITEM})*\s*\]")
"""A list of texts, and NumPy's arrays, which have no commas: Python's parser would join texts that only spaces part."""


def unfolded(cell: Any) -> Any:
    """What a text holds that is in whole a list of texts or objects, or an object of texts; anything else as it is.

    A caption may begin with a bracket and end with one: in a list its texts are in quotation marks.
    """
    text = cell.strip() if isinstance(cell, str) else ""
    if text[:1] + text[-1:] not in ("[]", "{}"):
        return cell
    held = _held(text)
    return held if _is_of_texts(held) else cell


def _held(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        if _PRINTED.fullmatch(text):
            return [ast.literal_eval(item) for item in re.findall(_ITEM, text)]
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _is_of_texts(held: Any) -> bool:
    if isinstance(held, dict):
        return all(isinstance(name, str) and isinstance(text, str | list | None) for name, text in held.items())
    return isinstance(held, list) and all(isinstance(item, str | dict | None) for item in held)

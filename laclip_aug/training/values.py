"""How the values of the ``--text-aug-*`` options are written: lists, shares, weights, an augmenter's parameters."""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

from laclip_aug.errors import ConfigurationError


def listed(text: str) -> tuple[str, ...]:
    """``"a, b"`` as its parts, of which there is one at least: a shell's variable that is not set is no list."""
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not parts:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing; name at least one, or leave the option out")
    return parts


def share(text: str) -> float:
    """``"0.1%"`` or ``"0.001"`` as a number."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; write for example 0.1% or 0.001") from None


def weights(text: str) -> dict[str, float]:
    """``"original=1,chatgpt=0.5"`` as a mapping."""
    found: dict[str, float] = {}
    for part in listed(text):
        name, _, number = part.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not name.strip() or name.strip() in found or not 0 <= value < math.inf:
            raise argparse.ArgumentTypeError(
                f"{part!r} in {text!r} is no weight of a further source; write for example original=1,chatgpt=0.5,eda=0"
            )
        found[name.strip()] = value
    return found


def key_value(item: str) -> tuple[str, Any]:
    """``"alpha_sr=0.2"`` as a parameter's name and its value, JSON where it can be read as such.

    Raises:
        ConfigurationError: it has another form.
    """
    key, equals, text = item.partition("=")
    if not (equals and key.strip()):
        raise ConfigurationError(f"--text-aug-option {item!r} is no KEY=VALUE; write for example alpha_sr=0.2")
    try:
        return key.strip().replace("-", "_"), json.loads(text)
    except ValueError:
        return key.strip().replace("-", "_"), text


def counted(item: str) -> tuple[str, int]:
    """``"sentences:4"`` as an augmenter's name and its number of texts; 1 where there is none.

    Raises:
        ConfigurationError: the number is none, or below 1.
    """
    name, colon, number = item.partition(":")
    if colon and not (number.strip().isdecimal() and int(number) > 0):
        raise ConfigurationError(f"--text-aug-with {item}: write for example sentences:4, for four texts of a caption")
    return name.strip(), int(number) if colon else 1

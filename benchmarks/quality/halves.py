"""Two halves of any set of captions, by a hash of the caption: one to choose on, one to show on."""

from __future__ import annotations

import hashlib


def to_choose_on(caption: str) -> bool:
    """Whether ``caption`` is in the half on which weights and thresholds are chosen."""
    return not hashlib.blake2b(caption.strip().encode("utf-8", "replace"), digest_size=8).digest()[0] & 1

"""Unicode text or not: the files of a cache are UTF-8.

JSON's escapes and file names can make a lone surrogate, half of a character, which no UTF-8 file can hold.
"""

from __future__ import annotations

from laclip_aug.augmenter import Outcome


def is_encodable(record: Outcome) -> bool:
    """Whether a shard can hold ``record``: nothing in it has a lone surrogate."""
    texts = [record.caption, record.image]
    for rewrite in record.rewrites:
        texts += rewrite.source, rewrite.text
    for refused in record.rejections:
        texts += refused.source, refused.reason, refused.text
    return all(encodable(text) == text for text in texts)


def encodable(text: str) -> str:
    """``text`` with each lone surrogate written as ``\\udXXX``."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")

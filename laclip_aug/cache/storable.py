"""Which texts a cache can hold: its files are UTF-8, and a rewrite says something else than its caption.

JSON's escapes and file names can make a lone surrogate, half of a character, which no UTF-8 file can hold.
"""

from __future__ import annotations

from dataclasses import replace

from laclip_aug.augmenter import Outcome, Rejection, Rewrite
from laclip_aug.cache.keys import normalise


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


def storable(record: Outcome) -> Outcome:
    """``record`` with each text that no cache may hold turned into a named rejection.

    ``empty``: nothing but white space; ``unchanged``: says what the caption says; ``nul``: has a NUL character;
    ``not-unicode``: has a lone surrogate, which no UTF-8 file can hold. Sources and reasons have theirs escaped.
    """
    kept: list[Rewrite] = []
    refused = [
        replace(r, source=encodable(r.source), reason=encodable(r.reason), text=encodable(r.text))
        for r in record.rejections
    ]
    for rewrite in record.rewrites:
        source = encodable(rewrite.source)
        if reason := _unfit(rewrite.text, record.caption):
            refused.append(Rejection(source, reason, encodable(rewrite.text), told=rewrite.told))
        else:
            kept.append(rewrite if source == rewrite.source else replace(rewrite, source=source))
    refused.sort(key=lambda r: r.place is not None)  # what a gate refused stands last, in its order
    return replace(record, rewrites=tuple(kept), rejections=tuple(refused))


def _unfit(text: str, caption: str) -> str | None:
    plain = normalise(text)
    if not plain:
        return "empty"
    if plain == caption:
        return "unchanged"
    if "\0" in text:
        return "nul"
    return "not-unicode" if encodable(text) != text else None

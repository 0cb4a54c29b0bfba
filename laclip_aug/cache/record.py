"""One record of a cache as bytes: compact ASCII JSON.

The journal holds it so, and the checksum of a shard's row is of it: what is written here stays as it is.
"""

from __future__ import annotations

import json
from typing import Any

from laclip_aug.augmenter import Outcome, Rejection, Rewrite, Told
from laclip_aug.cache.storable import is_encodable

_json = json.JSONEncoder(separators=(",", ":")).encode  # made once: json.dumps would make one each time


def compact(value: Any) -> bytes:
    """``value``, of JSON types, in ASCII and without white space between its parts."""
    return _json(value).encode("ascii")


def encode(record: Outcome) -> bytes:
    """``record`` as compact JSON: [caption, [[source, text]...], [[source, reason, text]...], tokens].

    What a gate refused is [source, reason, text, value, place]. Behind a text of which its writer told something stand
    likelihood and verdict, null where not known; behind any other nothing, as in earlier versions. In a cache keyed by
    images the image's key follows.
    """
    rewrites = [[r.source, r.text, *(r.told or ())] for r in record.rewrites]
    rejections = [[r.source, r.reason, r.text, *_behind(r)] for r in record.rejections]
    image = [record.image] if record.image else []
    return compact([record.caption, rewrites, rejections, record.tokens, *image])


def decode(payload: bytes) -> Outcome:
    """The record that ``encode`` wrote."""
    caption, rewrites, rejections, tokens, *image = json.loads(payload)
    made = tuple(Rewrite(source, text, Told(*told) if told else None) for source, text, *told in rewrites)
    return Outcome(caption, made, tuple(_refused(*r) for r in rejections), tokens, image=image[0] if image else "")


def unstorable(payload: bytes) -> str | None:
    """The caption of a record that no shard can hold, for a message; None for any other payload.

    A lone surrogate is an escape here, which few payloads have, so few are decoded.
    """
    if b"\\ud" not in payload or not payload.startswith(b"[") or is_encodable(record := decode(payload)):
        return None
    return repr(record.caption[:60])


def _behind(refused: Rejection) -> tuple[float | None, ...]:
    if refused.place is None and refused.told is None:
        return ()
    return refused.value, refused.place, *(refused.told or ())


def _refused(
    source: str, reason: str, text: str, value: float | None = None, place: int | None = None, *told: float | None
) -> Rejection:
    return Rejection(source, reason, text, value, place, Told(*told) if told else None)

"""One entry of the look-up: rewrites as bytes. The table that holds them keeps the checksums."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from laclip_aug.augmenter import Rewrite

# Made once, and without what json.dumps and json.loads do around them: a lookup is read for each training sample.
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_parse = json.JSONDecoder().raw_decode


def pack(rewrites: Iterable[tuple[str, str]], numbers: Mapping[str, int]) -> bytes:
    """``[[source number, text]...]`` as JSON, of (source, text) pairs."""
    return _json([[numbers[source], text] for source, text in rewrites]).encode()


def unpack(value: bytes, sources: Sequence[str]) -> tuple[Rewrite, ...]:
    """The rewrites in an entry."""
    rows, _ = _parse(value.decode())
    return tuple([Rewrite(sources[number], text) for number, text in rows])


def crc32_of(path: Path) -> str:
    """The CRC-32 of a file, in hexadecimal; about twice as fast as SHA-256, and enough against damage."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return f"{value:08x}"

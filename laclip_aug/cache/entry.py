"""One entry of the lookup: rewrites as bytes with a checksum of their own, since LMDB has none."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from laclip_aug.augmenter import Rewrite
from laclip_aug.errors import CacheCorruptError

_CHECKSUM = struct.Struct("<I")
# Made once, and without what json.dumps and json.loads do around them: a lookup is read for each training sample.
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_parse = json.JSONDecoder().raw_decode


def pack(key: bytes, rewrites: Sequence[Rewrite], numbers: dict[str, int]) -> bytes:
    """CRC-32 of key and payload, then the payload ``[[source number, text]...]`` as JSON."""
    rows = [[numbers[r.source], r.text] for r in rewrites]
    payload = _json(rows).encode()
    return _CHECKSUM.pack(zlib.crc32(payload, zlib.crc32(key))) + payload


def unpack(key: bytes, value: bytes, sources: Sequence[str]) -> tuple[Rewrite, ...]:
    """The rewrites in an entry.

    Raises:
        CacheCorruptError: the value is not what was written under ``key``.
    """
    payload = value[_CHECKSUM.size :]
    if len(value) < _CHECKSUM.size or _CHECKSUM.unpack_from(value)[0] != zlib.crc32(payload, zlib.crc32(key)):
        raise CacheCorruptError("a lookup record is damaged; make the lookup again with: laclip-aug cache compile DIR")
    rows, _ = _parse(payload.decode())
    return tuple([Rewrite(sources[number], text) for number, text in rows])


def crc32_of(path: Path) -> str:
    """The CRC-32 of a file, in hexadecimal; about twice as fast as SHA-256, and enough against damage."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return f"{value:08x}"

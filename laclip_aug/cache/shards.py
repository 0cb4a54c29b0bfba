"""Records as Parquet shards: one row per distinct caption, sorted by key.

Nothing is derived from a shard whose SHA-256 is not the manifest's: the file is read once, compared, and parsed from
memory. Pages carry checksums for other readers, and each row one of its own, by which ``cache repair`` tells the sound
rows of a damaged shard.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from shlex import quote
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from laclip_aug.augmenter import Outcome, Rejection, Rewrite, Told
from laclip_aug.cache.format import Shard, counted
from laclip_aug.cache.keys import KEY_BYTES, record_key
from laclip_aug.cache.record import encode
from laclip_aug.errors import CacheCorruptError, CacheError
from laclip_aug.exchange.files import replace_file

_TEXT = pa.string()
# 64 bits, as the checksum of a row is of what was written to the last digit
_TOLD = [(name, pa.float64()) for name in Told._fields]
_REWRITE = pa.struct([("source", _TEXT), ("text", _TEXT), *_TOLD])
_REJECTION = pa.struct(
    [("source", _TEXT), ("reason", _TEXT), ("text", _TEXT), ("value", pa.float64()), ("place", pa.int32()), *_TOLD]
)
SCHEMA = pa.schema(
    [
        ("key", pa.binary(KEY_BYTES)),
        ("caption", _TEXT),
        ("rewrites", pa.list_(_REWRITE)),
        ("rejections", pa.list_(_REJECTION)),
        ("tokens", pa.int64()),
        ("crc32", pa.uint32()),
    ]
)
_IMAGE = pa.field("image", _TEXT)
"""A further column of the shards of a cache that is keyed by images."""
_BATCH = 4096
_ORIGINS = b"laclip-aug"


def shard_name(index: int) -> str:
    """``shard-000007.parquet`` for 7."""
    return f"shard-{index:06d}.parquet"


def write_shard(directory: Path, index: int, records: Sequence[Outcome], origins: Sequence[dict[str, Any]]) -> Shard:
    """Write ``records``, sorted by key, as shard ``index``; whole or not at all.

    Args:
        origins: where they come from, kept in the file so that a lost manifest can be made anew.
    """
    rows: list[dict[str, Any]] = []
    for key, record in sorted(((record_key(r.caption, r.image), r) for r in records), key=lambda pair: pair[0]):
        rows.append(
            {
                "key": key,
                "caption": record.caption,
                "rewrites": [{"source": r.source, "text": r.text, **_numbers(r)} for r in record.rewrites],
                "rejections": [
                    {"source": r.source, "reason": r.reason, "text": r.text, "value": r.value, "place": r.place}
                    | _numbers(r)
                    for r in record.rejections
                ],
                "tokens": record.tokens,
                "crc32": zlib.crc32(encode(record)),
                "image": record.image,
            }
        )
    text = json.dumps(list(origins)).encode("ascii")
    schema = SCHEMA.append(_IMAGE) if any(record.image for record in records) else SCHEMA
    table = pa.Table.from_pylist(rows, schema=schema.with_metadata({_ORIGINS: b"%08x" % zlib.crc32(text) + text}))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=_BATCH, write_page_checksum=True)
    data = sink.getvalue().to_pybytes()
    replace_file(directory / shard_name(index), data)
    return Shard(shard_name(index), len(rows), hashlib.sha256(data).hexdigest(), counted(records))


def read_shard(directory: Path, shard: Shard) -> Iterator[tuple[bytes, Outcome]]:
    """The (key, record) pairs of ``shard`` in the order of their keys.

    Raises:
        CacheCorruptError: the file is missing, or is not what the manifest says.
        CacheError: it cannot be read.
    """
    for batch in _opened(directory, shard).iter_batches(_BATCH, columns=[*SCHEMA.names, _IMAGE.name]):
        for row in batch.to_pylist():
            yield row["key"], _record(row)


def read_rewrites(directory: Path, shard: Shard) -> Iterator[tuple[bytes, list[tuple[str, str]]]]:
    """(key, (source, text) of each rewrite) of ``shard`` in the order of their keys. Raises as :func:`read_shard`."""
    for batch in _opened(directory, shard).iter_batches(_BATCH, columns=["key", "rewrites"]):
        lists = batch.column(1)
        texts = lists.flatten()
        pairs = list(zip(texts.field(0).to_pylist(), texts.field(1).to_pylist(), strict=True))
        counts = lists.value_lengths().to_pylist()
        at = 0
        for key, count in zip(batch.column(0).to_pylist(), counts, strict=True):
            yield key, pairs[at : at + count]
            at += count


def read_keys(directory: Path, shard: Shard) -> Iterator[bytes]:
    """The keys of ``shard`` alone, which is far cheaper than its records. Raises as :func:`read_shard`."""
    for batch in _opened(directory, shard).iter_batches(_BATCH, columns=["key"]):
        yield from batch.column(0).to_pylist()


def read_captions(directory: Path, shard: Shard) -> Iterator[str]:
    """The captions of ``shard`` alone, in the order of their keys. Raises as :func:`read_shard`."""
    for batch in _opened(directory, shard).iter_batches(_BATCH, columns=["caption"]):
        yield from batch.column(0).to_pylist()


def read_rows(directory: Path, shard: Shard, wanted: Sequence[int]) -> Iterator[Outcome]:
    """The records at the row numbers ``wanted``. Raises as :func:`read_shard`."""
    if not wanted:
        return
    file = _opened(directory, shard)
    for group, numbers in groupby(wanted, lambda number: number // _BATCH):
        rows = file.read_row_group(group)
        for number in numbers:
            yield _record(rows.slice(number % _BATCH, 1).to_pylist()[0])


def salvage(path: Path) -> tuple[list[Outcome], list[dict[str, Any]], int | None]:
    """What is sound in a damaged shard: its records, where they come from, and how many rows there were, if it tells.

    Raises:
        CacheError: the file cannot be read at all, which may be the disk's fault and not the file's.
    """
    data = read_whole(path)
    records: list[Outcome] = []
    origins: list[dict[str, Any]] = []
    total: int | None = None
    with suppress(Exception):  # whatever a parser raises on damaged bytes
        file = pq.ParquetFile(pa.BufferReader(data))
        total = file.metadata.num_rows
        text = (file.schema_arrow.metadata or {}).get(_ORIGINS, b"")
        if text[:8] == b"%08x" % zlib.crc32(text[8:]):
            origins = json.loads(text[8:])
        for group in range(file.metadata.num_row_groups):
            with suppress(Exception):
                records += _sound_rows(file.read_row_group(group))
    return records, origins, total


def read_whole(path: Path) -> bytes:
    """The bytes of a shard.

    Raises:
        CacheCorruptError: it is missing.
        CacheError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CacheCorruptError(f"{path} is missing; {advice(path.parent)}") from None
    except OSError as error:
        raise CacheError(f"{path} cannot be read ({error.strerror}); check the disk and its permissions") from None


def advice(directory: Path) -> str:
    """What to do about a damaged shard."""
    return f"restore it from a copy, or keep what is sound with: laclip-aug cache repair {quote(str(directory))}"


def _sound_rows(table: Any) -> Iterator[Outcome]:
    for number in range(table.num_rows):
        with suppress(Exception):
            row = table.slice(number, 1).to_pylist()[0]
            record = _record(row)
            if zlib.crc32(encode(record)) == row["crc32"] and record_key(record.caption, record.image) == row["key"]:
                yield record


def _record(row: dict[str, Any]) -> Outcome:
    return Outcome(
        row["caption"],
        tuple(Rewrite(r["source"], r["text"], _told(r)) for r in row["rewrites"]),
        tuple(
            Rejection(r["source"], r["reason"], r["text"], r["value"], r["place"], _told(r)) for r in row["rejections"]
        ),
        row["tokens"],
        image=row.get("image") or "",
    )


def _numbers(text: Rewrite | Rejection) -> dict[str, float | None]:
    return (text.told or Told())._asdict()


def _told(row: dict[str, Any]) -> Told | None:
    """What the writer told; shards of earlier versions have no columns for it."""
    return Told.of(row.get("likelihood"), row.get("verdict"))


def _opened(directory: Path, shard: Shard) -> Any:
    """The shard, parsed from the very bytes that were compared."""
    path = directory / shard.name
    data = read_whole(path)
    if hashlib.sha256(data).hexdigest() != shard.sha256:
        raise CacheCorruptError(f"{path} is damaged (its sha256 is another); {advice(directory)}")
    try:
        return pq.ParquetFile(pa.BufferReader(data))
    except pa.ArrowException as error:
        raise CacheCorruptError(f"{path} cannot be parsed ({error}); {advice(directory)}") from None

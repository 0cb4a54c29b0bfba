"""Records as Parquet shards: one row per distinct caption, sorted by key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from laclip_aug.augmenter import Outcome, Rejection, Rewrite
from laclip_aug.cache.format import Shard
from laclip_aug.cache.keys import KEY_BYTES, caption_key
from laclip_aug.errors import CacheCorruptError
from laclip_aug.exchange.files import replace_file

_TEXT = pa.string()
SCHEMA = pa.schema(
    [
        ("key", pa.binary(KEY_BYTES)),
        ("caption", _TEXT),
        ("rewrites", pa.list_(pa.struct([("source", _TEXT), ("text", _TEXT)]))),
        ("rejections", pa.list_(pa.struct([("source", _TEXT), ("reason", _TEXT), ("text", _TEXT)]))),
        ("tokens", pa.int64()),
    ]
)
_BATCH = 4096


def shard_name(index: int) -> str:
    """``shard-000007.parquet`` for 7."""
    return f"shard-{index:06d}.parquet"


def write_shard(directory: Path, index: int, records: Sequence[Outcome]) -> Shard:
    """Write ``records``, sorted by key, as shard ``index``; whole or not at all."""
    rows: list[dict[str, Any]] = []
    for key, record in sorted(((caption_key(r.caption), r) for r in records), key=lambda pair: pair[0]):
        rows.append(
            {
                "key": key,
                "caption": record.caption,
                "rewrites": [{"source": r.source, "text": r.text} for r in record.rewrites],
                "rejections": [{"source": r.source, "reason": r.reason, "text": r.text} for r in record.rejections],
                "tokens": record.tokens,
            }
        )
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), sink, compression="zstd", row_group_size=_BATCH)
    data = sink.getvalue().to_pybytes()
    replace_file(directory / shard_name(index), data)
    return Shard(shard_name(index), len(rows), hashlib.sha256(data).hexdigest())


def read_shard(directory: Path, shard: Shard) -> Iterator[tuple[bytes, Outcome]]:
    """The (key, record) pairs of ``shard`` in the order of their keys, a few thousand in memory at a time.

    Raises:
        CacheCorruptError: the file is missing, is no Parquet file, or has other columns.
    """
    for batch in _batches(directory, shard, [field.name for field in SCHEMA]):
        for row in batch.to_pylist():
            yield row["key"], _record(row)


def read_keys(directory: Path, shard: Shard) -> Iterator[bytes]:
    """The keys of ``shard`` alone, which is far cheaper than its records."""
    for batch in _batches(directory, shard, ["key"]):
        yield from batch.column(0).to_pylist()


def read_rows(directory: Path, shard: Shard, wanted: Sequence[int]) -> Iterator[Outcome]:
    """The records at the row numbers ``wanted``; reads only the row groups that hold them."""
    path = directory / shard.name
    with _damage(path), pq.ParquetFile(path) as file:
        for number in wanted:
            yield _record(file.read_row_group(number // _BATCH).slice(number % _BATCH, 1).to_pylist()[0])


def _record(row: dict[str, Any]) -> Outcome:
    return Outcome(
        row["caption"],
        tuple(Rewrite(r["source"], r["text"]) for r in row["rewrites"]),
        tuple(Rejection(r["source"], r["reason"], r["text"]) for r in row["rejections"]),
        row["tokens"],
    )


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise CacheCorruptError(f"{path} is missing; restore it from a copy, or build the cache anew") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError, IndexError) as error:
        raise CacheCorruptError(
            f"{path} is damaged ({error}); restore it from a copy, or build the cache anew"
        ) from None


def _batches(directory: Path, shard: Shard, columns: list[str]) -> Iterator[Any]:
    path = directory / shard.name
    with _damage(path), pq.ParquetFile(path) as file:
        if not file.schema_arrow.equals(SCHEMA):
            raise CacheCorruptError(f"{path} has other columns than a shard of this format; restore it from a copy")
        if file.metadata.num_rows != shard.rows:
            raise CacheCorruptError(
                f"{path} has {file.metadata.num_rows} rows, the manifest says {shard.rows}; restore it from a copy"
            )
        yield from file.iter_batches(_BATCH, columns=columns)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

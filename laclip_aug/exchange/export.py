"""Records out, in the format that the file's name says. ``laclip-aug cache import`` reads each of them back."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from shlex import quote
from typing import IO, Any

from laclip_aug.augmenter import Outcome, Rejection, Rewrite, Told
from laclip_aug.errors import ConfigurationError
from laclip_aug.exchange.delimited import csv_writer
from laclip_aug.exchange.files import write_output

COLUMNS = ("caption", "rewrites", "rejections", "tokens")
IMAGE_KEY = "image_key"
"""A further column, the first in a CSV, of records that are found by their images' keys."""
CSV_COLUMNS = ("caption", "source", "text", "rejected", *Told._fields)
_SLAB = 4096

Write = Callable[[IO[bytes], Iterable[Outcome]], int]


def export(records: Iterable[Outcome], output: str | Path) -> int:
    """Write every record, rejections included; returns their number.

    - ``.jsonl`` and ``.parquet``: one row a caption: ``caption``, ``rewrites`` of ``source`` and ``text``,
      ``rejections`` of ``source``, ``reason`` and ``text`` (and, where a gate refused it, ``value`` and ``place``, by
      which another gate brings it back), and ``tokens``;
    - ``.csv``: one row a text, ``caption,source,text,rejected,likelihood,verdict``, the fourth being the reason or
      empty; a caption without any text has one row;
    - ``-``: standard output, as JSONL.

    With each text goes what its writer told of it, where that is known: ``likelihood`` in nats a token, ``verdict``
    from 0 to 1.

    Raises:
        ConfigurationError: the name says no format, or is an address.
        CacheError: the file cannot be written. A kill leaves no half file under its name.
    """
    if str(output) == "-":
        return _jsonl(sys.stdout.buffer, records)
    if "://" in str(output):
        raise ConfigurationError(
            f"{output} is an address; write to standard output, and send that there, for example: "
            f"laclip-aug cache export CACHE - | aws s3 cp - {quote(str(output))}"
        )
    output = Path(output)
    write = {".jsonl": _jsonl, ".parquet": write_parquet, ".csv": _csv}.get(output.suffix.lower())
    if write is None:
        raise ConfigurationError(
            f"{output}: name it .jsonl, .parquet or .csv, give - for standard output, or a name without ending, for a "
            "folder that load_dataset of datasets loads"
        )
    with write_output(output) as file:
        return write(file, records)


def _row(record: Outcome) -> dict[str, Any]:
    return {
        "caption": record.caption,
        "rewrites": [{"source": r.source, "text": r.text, **_numbers(r)} for r in record.rewrites],
        "rejections": [
            {"source": r.source, "reason": r.reason, "text": r.text}
            | ({} if r.place is None else {"value": r.value, "place": r.place})
            | _numbers(r)
            for r in record.rejections
        ],
        "tokens": record.tokens,
    } | ({IMAGE_KEY: record.image} if record.image else {})


def _numbers(text: Rewrite | Rejection) -> dict[str, Any]:
    """What the writer told, as far as it is known."""
    return {name: value for name, value in (text.told or Told())._asdict().items() if value is not None}


def _jsonl(file: IO[bytes], records: Iterable[Outcome]) -> int:
    number = 0
    for record in records:
        file.write(json.dumps(_row(record), ensure_ascii=False).encode() + b"\n")
        number += 1
    return number


def _csv(file: IO[bytes], records: Iterable[Outcome]) -> int:
    number = 0
    with _text(file) as text:
        writer = csv_writer(text)
        for record in records:
            if not number:
                writer.writerow([IMAGE_KEY, *CSV_COLUMNS] if record.image else CSV_COLUMNS)
            number += 1
            rows = [(record.caption, r.source, r.text, "", *(r.told or Told())) for r in record.rewrites]
            rows += [(record.caption, r.source, r.text, r.reason, *(r.told or Told())) for r in record.rejections]
            rows = rows or [(record.caption, "", "", "", None, None)]
            writer.writerows([(record.image, *row) for row in rows] if record.image else rows)
        if not number:
            writer.writerow(CSV_COLUMNS)
    return number


def record_schema(by_image: bool = False) -> Any:
    """The Arrow schema of records in Parquet."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    told = [(name, number) for name in Told._fields]
    refused = [("source", text), ("reason", text), ("text", text), ("value", number), ("place", pa.int64()), *told]
    return pa.schema(
        [
            ("caption", text),
            ("rewrites", pa.list_(pa.struct([("source", text), ("text", text), *told]))),
            ("rejections", pa.list_(pa.struct(refused))),
            ("tokens", pa.int64()),
            *([(IMAGE_KEY, text)] if by_image else []),
        ]
    )


def write_parquet(file: IO[bytes], records: Iterable[Outcome]) -> int:
    """Write ``records`` as one row a caption; returns their number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number, source = 0, iter(records)
    first = list(islice(source, 1))
    schema, source = record_schema(any(record.image for record in first)), chain(first, source)
    with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
        while slab := [_row(record) for record in islice(source, _SLAB)]:
            writer.write_table(pa.Table.from_pylist(slab, schema=schema))
            number += len(slab)
    return number


@contextmanager
def _text(file: IO[bytes]) -> Iterator[IO[str]]:
    wrapper = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        yield wrapper
    finally:
        wrapper.detach()

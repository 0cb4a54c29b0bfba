"""A table of one's own with a column added for each source of texts; its rows and columns stay as they are.

A source of which captions have several texts has lists in JSON and Parquet, and further columns (``bard_2``) in a CSV.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from laclip_aug.errors import ConfigurationError, InputError
from laclip_aug.exchange.beside import Beside
from laclip_aug.exchange.delimited import csv_writer
from laclip_aug.exchange.files import write_output
from laclip_aug.exchange.lines import head_of
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.objects import json_bytes, keyed_objects
from laclip_aug.exchange.places import open_bytes
from laclip_aug.exchange.readers import CAPTION_KEYS, InputOptions, chooser
from laclip_aug.exchange.tables import CSV_CHUNK, csv_rows, refuse_twins, separator_of

_BATCH = 4096


def write_columns(beside: Beside, file: str, kind: str, output: Path, options: InputOptions) -> int:
    """Write the table ``file`` with its captions' texts to ``output``; returns the number of rows.

    Raises:
        ConfigurationError: ``output`` is named for another format than the table's, or the table has a column of the
            name of a source.
        InputError: the table cannot be read, or has no column of captions.
        CacheError: ``output`` cannot be written. A kill leaves no half file under its name.
    """
    if kind not in _ENDINGS:
        raise ConfigurationError(f"{file} ({kind}) has no columns; name a CSV, TSV, JSONL or Parquet table with --for")
    if output.suffix.lower() not in _ENDINGS[kind]:
        raise ConfigurationError(
            f"{file} ({kind}) keeps its format with columns added; name the output {' or '.join(_ENDINGS[kind])}, or "
            "NAME-{source}.txt for a text file of each source"
        )
    with write_output(output) as out:
        return _WRITERS[kind](beside, file, out, output, options)


def _csv(beside: Beside, file: str, out: IO[bytes], output: Path, options: InputOptions) -> int:
    separator = options.separator or separator_of(head_of(file, beside.log))
    captions = csv_rows(file, _chooser(file, options), beside.log, separator)
    cells = _cells_of_csv(file, separator, captions, beside.log)
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    number = 0
    try:
        names = next(cells)
        _check_new(beside.places, names, file)
        written = "," if len(names) == 1 and output.suffix.lower() == ".csv" else separator  # of one column: either
        writer = csv_writer(text, written)
        writer.writerow([*names, *beside.places])
        # the trainer's parser twice: once for the captions as it takes them, once for all cells as they stand
        for row, (where, (caption,)) in zip(cells, captions, strict=False):
            number += 1
            writer.writerow([*row, *(text or "" for text in beside.placed(caption, where).values())])
        if next(captions, None) is not None or number != beside.log.rows:
            raise InputError(f"{file} changed while it was read; run the same command again")
    finally:
        text.detach()
    return number


def _cells_of_csv(file: str, separator: str, captions: Iterator[Any], log: InputLog) -> Iterator[Sequence[str]]:
    """The header, then the rows."""
    import pandas as pd

    try:
        with open_bytes(file, log) as stream:
            header = pd.read_csv(stream, sep=separator, header=None, nrows=1, dtype=str, keep_default_na=False)
        names = header.iloc[0].tolist()
        yield names
        with open_bytes(file, log) as stream:
            for chunk in pd.read_csv(stream, sep=separator, chunksize=CSV_CHUNK, dtype=str, keep_default_na=False):
                if not isinstance(chunk.index, pd.RangeIndex) or len(chunk.columns) != len(names):
                    raise InputError(f"{file} has rows of more cells than its header; give the header a name for each")
                yield from zip(*(chunk[column].tolist() for column in chunk.columns), strict=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        for _ in captions:  # the reader of captions meets the same, and says what it is
            pass
        raise InputError(f"{file} cannot be read ({error}); check it, or fetch it again") from None


def _jsonl(beside: Beside, file: str, out: IO[bytes], output: Path, options: InputOptions) -> int:
    array = output.suffix.lower() == ".json"
    keys, rows = keyed_objects(file, _chooser(file, options), beside.log)
    number = 0
    for where, row in rows:
        there = [row[key] for key in keys if key in row]
        if not there:
            beside.log.reject("missing-key", where)
        _check_new(beside.sources, row, file)
        row.update(_cells(beside, there[0], where) if there else dict.fromkeys(beside.sources))
        out.write((b"[\n" if array and not number else b",\n" if array else b"") + json_bytes(row))
        out.write(b"" if array else b"\n")
        number += 1
    out.write((b"\n]\n" if number else b"[]\n") if array else b"")
    return number


def _parquet(beside: Beside, file: str, out: IO[bytes], output: Path, options: InputOptions) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    batches = _batches(file, beside.log)
    there = next(batches)
    (column,) = _chooser(file, options)(there.names)
    refuse_twins(file, [column], there.names)
    _check_new(beside.sources, there.names, file)
    types = [pa.list_(pa.string()) if beside.most[name] > 1 else pa.string() for name in beside.sources]
    schema = there
    for name, kind in zip(beside.sources, types, strict=True):
        schema = schema.append(pa.field(name, kind))
    number = 0
    with pq.ParquetWriter(out, schema, compression="zstd", write_page_checksum=True) as writer:
        for batch in batches:
            rows = []
            for value in _texts(batch.column(column)):
                number += 1
                beside.log.rows += 1
                rows.append(_cells(beside, value, f"{file}: row {number}"))
            added = [
                pa.array([row[name] for row in rows], type=kind)
                for name, kind in zip(beside.sources, types, strict=True)
            ]
            writer.write_batch(pa.RecordBatch.from_arrays([*batch.columns, *added], schema=schema))
    return number


def _batches(file: str, log: InputLog) -> Iterator[Any]:
    """The schema, then the rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_bytes(file, log, seek=True) as stream, pq.ParquetFile(stream) as table:
            yield table.schema_arrow
            yield from table.iter_batches(_BATCH)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} is no readable Parquet file ({error}); check it, or fetch it again") from None


def _texts(column: Any) -> list[Any]:
    """The values of a column; binary ones that are UTF-8 are texts."""
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:  # Arrow does not promise that a string column is UTF-8
        values = column.cast("binary").to_pylist()
    return [_decoded(value) if isinstance(value, bytes) else value for value in values]


def _decoded(value: bytes) -> str | bytes:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def _cells(beside: Beside, caption: Any, where: str) -> dict[str, Any]:
    """Source → its text, or its texts where captions have several."""
    texts = beside.of(caption, where)
    return {name: own if beside.most[name] > 1 else (own[0] if own else None) for name, own in texts.items()}


def _chooser(file: str, options: InputOptions) -> Callable[[Sequence[str]], Sequence[str]]:
    return chooser(file, [options.caption_key] if options.caption_key else CAPTION_KEYS)


def _check_new(names: Sequence[str], there: Sequence[str] | dict[str, Any], file: str) -> None:
    if taken := [name for name in names if name in there]:
        raise ConfigurationError(
            f"{file} has a column {', '.join(taken)} already, and the texts of that source need it; rename it there, "
            "or leave it out"
        )


_ENDINGS = {"csv": (".csv", ".tsv"), "jsonl": (".jsonl", ".json", ".ndjson"), "parquet": (".parquet", ".pq")}
_Write = Callable[[Beside, str, IO[bytes], Path, InputOptions], int]
_WRITERS: dict[str, _Write] = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}

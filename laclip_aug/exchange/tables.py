"""Rows of tables (CSV and TSV, JSONL, Parquet), streamed, with whatever is wrong counted by name.

CSV goes through ``pandas.read_csv`` with no options but the separator, as in open_clip's trainer, since a caption must
be read to the last byte as the trainer will read it: quoting, ``NA`` becoming the text ``nan``, numbers rewritten.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from laclip_aug.errors import InputError

CSV_CHUNK = 16384
_EXAMPLES = 3

Choose = Callable[[Sequence[str]], Sequence[str]]
"""Picks from the names of the columns those to read, or raises InputError."""


@dataclass
class InputLog:
    """What was read: rows, refusals by reason with the first few places of each, and how far along the reading is."""

    rows: int = 0
    rejections: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    bytes_total: int = 0
    bytes_before: int = 0
    position: Callable[[], int] = field(default=lambda: 0)

    def reject(self, reason: str, where: str) -> None:
        """Count one row or caption as refused for ``reason``."""
        self.rejections[reason] += 1
        places = self.examples.setdefault(reason, [])
        if len(places) < _EXAMPLES:
            places.append(where)

    @property
    def fraction(self) -> float | None:
        """The part of the input's bytes that was read; ``None`` if unknown."""
        return min(1.0, (self.bytes_before + self.position()) / self.bytes_total) if self.bytes_total else None


def open_bytes(path: Path, log: InputLog) -> IO[bytes]:
    """``path`` open for reading, through gzip if its name ends in ``.gz``."""
    raw = path.open("rb")
    log.position = lambda: 0 if raw.closed else raw.tell()
    return gzip.open(raw) if path.suffix == ".gz" else raw  # type: ignore[return-value]


def csv_rows(
    path: Path, choose: Choose, log: InputLog, separator: str | None = None
) -> Iterator[tuple[str, list[Any]]]:
    """(place, texts of the chosen columns) of each row; every value is a text, as ``str`` makes it in the trainer.

    Rows are streamed as text. Only if the first 16,384 hold no text at all (a column of numbers) is the whole
    file read at once, because the trainer's texts then depend on all of it.

    Raises:
        InputError: a column is missing, a row has too many fields, or the file is not UTF-8; the trainer would stop.
    """
    import pandas as pd

    separator = separator or _separator(path)
    try:
        with open_bytes(path, log) as file:
            head = pd.read_csv(file, sep=separator, nrows=CSV_CHUNK)
        columns = list(choose([str(column) for column in head.columns]))
        texts = [column for column in columns if any(isinstance(value, str) for value in head[column].tolist())]
        with open_bytes(path, log) as file:
            chunks: Iterable[pd.DataFrame]
            if texts:
                chunks = pd.read_csv(file, sep=separator, chunksize=CSV_CHUNK, dtype=dict.fromkeys(columns, str))
            else:
                chunks = [pd.read_csv(file, sep=separator)]
            row = 0
            for chunk in chunks:
                for values in zip(*(chunk[column].tolist() for column in columns), strict=True):
                    row += 1
                    log.rows += 1
                    yield f"{path}: row {row}", [str(value) for value in values]
    except UnicodeDecodeError:
        raise InputError(
            f"{path}: line {_undecodable_line(path, log)} is not UTF-8, so open_clip's trainer cannot read this file "
            "either; convert it, for example with: iconv -f latin1 -t utf-8"
        ) from None
    except pd.errors.EmptyDataError:
        raise InputError(f"{path} is empty; give a file with a header line") from None
    except (pd.errors.ParserError, OSError, EOFError) as error:
        raise InputError(
            f"{path} is malformed ({str(error).strip()}), so open_clip's trainer cannot read it either; fix the row, "
            "or name the right separator with --csv-separator"
        ) from None


def jsonl_rows(path: Path, choose: Choose, log: InputLog) -> Iterator[tuple[str, list[Any]]]:
    """(place, values of the chosen keys) of each line that is a JSON object and has them.

    Rejections: ``invalid-utf8``, ``malformed-row``, ``missing-key``.

    Raises:
        InputError: the first object lacks the keys, or no line is an object.
    """
    keys: Sequence[str] | None = None
    for place, line in text_lines(path, log):
        if not line.strip():
            log.rows -= 1  # an empty line holds no row
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            log.reject("malformed-row", place)
            continue
        if keys is None:
            keys = choose(list(row))
        if all(key in row for key in keys):
            yield place, [row[key] for key in keys]
        else:
            log.reject("missing-key", place)
    if keys is None:
        raise InputError(
            f"{path} has no line that is a JSON object; give JSONL, or name the format with --input-format"
        )


def parquet_rows(path: Path, choose: Choose, log: InputLog) -> Iterator[tuple[str, list[Any]]]:
    """(place, values of the chosen columns) of each row.

    Raises:
        InputError: a column is missing, or the file is no readable Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        with pq.ParquetFile(path) as file:
            columns = list(choose(file.schema_arrow.names))
            size, total = path.stat().st_size, max(1, file.metadata.num_rows)
            log.position = lambda: row * size // total
            for batch in file.iter_batches(4096, columns=columns):
                for values in zip(*(_values(batch.column(column)) for column in columns), strict=True):
                    row += 1
                    log.rows += 1
                    yield f"{path}: row {row}", list(values)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is no readable Parquet file ({error}); check it, or fetch it again") from None


def text_lines(path: Path, log: InputLog) -> Iterator[tuple[str, str]]:
    """(place, line without its end) of each line that is UTF-8; others are ``invalid-utf8`` rejections."""
    try:
        with open_bytes(path, log) as file:
            for number, raw in enumerate(file, 1):
                log.rows += 1
                place = f"{path}: line {number}"
                data = raw.removesuffix(b"\n").removesuffix(b"\r")
                try:
                    yield place, (data.removeprefix(b"\xef\xbb\xbf") if number == 1 else data).decode("utf-8")
                except UnicodeDecodeError:
                    log.reject("invalid-utf8", place)
    except (OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}); check it, or fetch it again") from None


def _values(column: Any) -> list[Any]:
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:  # Arrow does not promise that a string column is UTF-8
        return [_bytes_or_text(value) for value in column.cast("binary").to_pylist()]


def _bytes_or_text(value: bytes | None) -> bytes | str | None:
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def _separator(path: Path) -> str:
    """open_clip's default, a tab, unless the header has none but has commas."""
    with open_bytes(path, InputLog()) as file:
        header = file.readline(1 << 20)
    return "," if b"\t" not in header and b"," in header else "\t"


def _undecodable_line(path: Path, log: InputLog) -> int:
    with open_bytes(path, log) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 0

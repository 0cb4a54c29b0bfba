"""Rows of tables (CSV and TSV, Parquet), streamed, with whatever is wrong counted by name.

CSV goes through ``pandas.read_csv`` with no options but the separator, as in open_clip's trainer, since a caption must
be read to the last byte as the trainer will read it: quoting, numbers rewritten, and ``NA``, ``null`` or an empty cell
missing. A missing value is ``None`` in every table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from laclip_aug.errors import InputError
from laclip_aug.exchange.lines import head_of, undecodable
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.places import open_bytes, size_of

CSV_CHUNK = 16384

Choose = Callable[[Sequence[str]], Sequence[str]]
"""Picks from the names of the columns those to read, or raises InputError."""


def csv_rows(file: str, choose: Choose, log: InputLog, separator: str | None = None) -> Iterator[tuple[str, list[Any]]]:
    """(place, texts of the chosen columns) of each row; every value is a text, as ``str`` makes it in the trainer, or
    ``None`` where it is missing: the trainer's text is ``nan`` then.

    Rows are streamed as text. Only if the first 16,384 hold no text at all (a column of numbers) is the whole
    file read at once, because the trainer's texts then depend on all of it.

    Raises:
        InputError: a column is missing, a row has too many fields, or the file is not UTF-8; the trainer would stop.
    """
    import pandas as pd

    try:
        begin = head_of(file, log)
        separator = separator or separator_of(begin)
        with open_bytes(file, log) as stream:
            head = pd.read_csv(stream, sep=separator, nrows=CSV_CHUNK)
        columns = list(choose([str(column) for column in head.columns]))
        texts = [column for column in columns if any(isinstance(value, str) for value in head[column].tolist())]
        with open_bytes(file, log) as stream:
            chunks: Iterable[pd.DataFrame]
            if texts:
                chunks = pd.read_csv(stream, sep=separator, chunksize=CSV_CHUNK, dtype=dict.fromkeys(columns, str))
            else:
                chunks = [pd.read_csv(stream, sep=separator)]
            row = first = begun = read = size = 0
            position = log.position
            # the stream is a chunk ahead of the rows that are given
            log.position = lambda: begun + (read - begun) * (row - first) // max(1, size)
            for chunk in chunks:
                first, begun, read, size = row, read, position(), len(chunk)
                for values in zip(*(chunk[column].tolist() for column in columns), strict=True):
                    row += 1
                    log.rows += 1
                    yield f"{file}: row {row}", [None if pd.isna(value) else str(value) for value in values]
    except UnicodeDecodeError:
        line, advice = undecodable(file, log)
        raise InputError(
            f"{file}: line {line} is not UTF-8, so open_clip's trainer cannot read this file either; {advice}"
        ) from None
    except pd.errors.EmptyDataError:
        raise InputError(f"{file} is empty; give a file with a header line") from None
    except (pd.errors.ParserError, OSError) as error:
        reason = "is malformed" if isinstance(error, pd.errors.ParserError) else "cannot be read"
        raise InputError(
            f"{file} {reason} ({str(error).strip()}), so open_clip's trainer cannot read it either; fix or fetch it "
            "again, or name the right separator with --csv-separator"
        ) from None


def parquet_rows(file: str, choose: Choose, log: InputLog) -> Iterator[tuple[str, list[Any]]]:
    """(place, values of the chosen columns) of each row; binary values that are UTF-8 are texts.

    Raises:
        InputError: a column is missing or there twice, or the file is no readable Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        with open_bytes(file, log, seek=True) as stream, pq.ParquetFile(stream) as table:
            columns = list(choose(table.schema_arrow.names))
            refuse_twins(file, columns, table.schema_arrow.names)
            size, total = size_of(file), max(1, table.metadata.num_rows)
            log.position = lambda: row * size // total
            for batch in table.iter_batches(4096, columns=columns):
                for values in zip(*(_values(batch.column(column)) for column in columns), strict=True):
                    row += 1
                    log.rows += 1
                    yield f"{file}: row {row}", list(values)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} is no readable Parquet file ({error}); check it, or fetch it again") from None


def refuse_twins(file: str, columns: Sequence[str], there: Sequence[str]) -> None:
    """Raise :class:`InputError` if one of ``columns`` is the name of several that are ``there``, as Parquet allows."""
    for column in columns:
        if (number := there.count(column)) > 1:
            raise InputError(
                f"{file} has {number} columns of the name {column!r}, and nothing says which is meant; write it again "
                "with one of them renamed or left out (with pyarrow: Table.rename_columns, or Table.remove_column)"
            )


def _values(column: Any) -> list[Any]:
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:  # Arrow does not promise that a string column is UTF-8
        values = column.cast("binary").to_pylist()
    return [_decoded(value) for value in values]


def _decoded(value: Any) -> Any:
    """``value`` with bytes that are UTF-8 as text, in lists and structures too; a pair of a map as a structure."""
    if isinstance(value, tuple):
        value = dict([value])
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if isinstance(value, dict):
        return {key: _decoded(item) for key, item in value.items()}
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def separator_of(head: bytes) -> str:
    """What separates columns: open_clip's default, a tab, unless the header, in ``head``, has none but has commas."""
    header = head.split(b"\n", 1)[0]
    return "," if b"\t" not in header and b"," in header else "\t"

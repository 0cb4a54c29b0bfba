"""Read back what :mod:`laclip_aug.exchange.export` wrote: JSONL, Parquet or CSV, rejections included."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any

from laclip_aug.augmenter import Outcome, Rejection, Rewrite, Told
from laclip_aug.exchange.delimited import csv_cells
from laclip_aug.exchange.export import COLUMNS, CSV_COLUMNS, IMAGE_KEY
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.places import kind_of
from laclip_aug.exchange.readers import MISSING, InputOptions, table_rows

_EARLIER_COLUMNS = CSV_COLUMNS[:4]
"""Of a CSV from before exports told what a writer told."""


def is_export(file: str) -> bool:
    """Whether ``file`` has the columns of an export."""
    if kind_of(file) == "csv":
        return bool(_head(csv_cells(file, InputLog())))
    return next(_rows(file, InputLog()), None) is not None


def keyed_by_image(file: str) -> bool:
    """Whether the records of an export are found by their images' keys."""
    return any(len(values) > len(COLUMNS) for _, values in islice(_rows(file, InputLog()), 1))


def sources_of(files: Iterable[str]) -> list[str]:
    """What made the texts in exports, rejected ones last, in the order of their first mention."""
    made: dict[str, None] = {}
    refused: dict[str, None] = {}
    for file in files:
        for record in exported(file, InputLog()):
            made.update((rewrite.source, None) for rewrite in record.rewrites)
            refused.update((rejection.source, None) for rejection in record.rejections)
    return list(made or refused)


def exported(file: str, log: InputLog) -> Iterator[Outcome]:
    """The records of an export. A row that is not of its form is a ``malformed-row``."""
    for place, (caption, rewrites, rejections, tokens, *image) in _rows(file, log):
        try:
            record = Outcome(
                _text(caption),
                tuple(Rewrite(_text(r["source"]), _text(r["text"]), _told(r)) for r in rewrites),
                tuple(_rejection(r) for r in rejections),
                int(tokens),
                image=str(image[0] or "") if image else "",
            )
        except (TypeError, KeyError, ValueError):
            log.reject("malformed-row", place)
            continue
        if record.caption == MISSING and not record.image:
            log.reject("missing", place)
        yield record


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _rejection(row: Mapping[str, Any]) -> Rejection:
    value, place = row.get("value"), row.get("place")
    return Rejection(
        _text(row["source"]),
        _text(row["reason"]),
        _text(row["text"]),
        None if value is None else float(value),
        None if place is None else int(place),
        _told(row),
    )


def _told(row: Mapping[str, Any]) -> Told | None:
    """What the writer told; exports of earlier versions have no such fields, and an empty cell of a CSV is none."""
    given = (row.get(name) for name in Told._fields)
    numbers = [None if value is None or value == "" else float(value) for value in given]
    if not all(number is None or math.isfinite(number) for number in numbers):
        raise ValueError("a likelihood or verdict is no finite number")
    return Told.of(*numbers)


def _rows(file: str, log: InputLog) -> Iterator[tuple[str, list[Any]]]:
    """(place, values of ``COLUMNS`` and, if it is there, ``IMAGE_KEY``); none if the file has other columns."""
    kind = kind_of(file)
    if kind == "csv":
        yield from _csv_rows(file, log)
    elif kind in ("jsonl", "parquet"):

        def choose(there: Sequence[str]) -> Sequence[str]:
            wanted = [*COLUMNS, IMAGE_KEY] if IMAGE_KEY in there else COLUMNS
            return wanted if set(COLUMNS) <= set(there) else []

        for place, values in table_rows(file, kind, choose, log, InputOptions()):
            if len(values) < len(COLUMNS):
                return
            yield place, values


def _csv_rows(file: str, log: InputLog) -> Iterator[tuple[str, list[Any]]]:
    table = csv_cells(file, log)
    head = _head(table)
    if not head:
        return
    keyed = int(head[0] == IMAGE_KEY)

    def whole() -> Iterator[list[str]]:
        for line, row in table:
            if len(row) == len(head):
                yield row
            elif row:  # an editor's empty line is none
                log.rows += 1
                log.reject("malformed-row", f"{file}: line {line}")

    for (*image, caption), rows in groupby(whole(), key=lambda row: row[: 1 + keyed]):
        log.rows += 1
        texts = [dict(zip(head, row, strict=True)) for row in rows]
        rewrites = [row for row in texts if row["source"] and not row["rejected"]]
        refused = [{**row, "reason": row["rejected"]} for row in texts if row["rejected"]]
        yield f"{file}: record {log.rows}", [caption, rewrites, refused, 0, *image]


def _head(table: Iterator[tuple[int, list[str]]]) -> tuple[str, ...]:
    """The columns of an export that is a CSV; none if it is another."""
    _, first = next(table, (0, []))
    keyed = int(first[:1] == [IMAGE_KEY])
    return tuple(first) if tuple(first[keyed:]) in (CSV_COLUMNS, _EARLIER_COLUMNS) else ()

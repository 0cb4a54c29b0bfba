"""Rows of a CSV as they stand, without a trainer's reading of them: written so that every reader divides them alike."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from typing import IO, Any

from laclip_aug.errors import ConfigurationError, InputError
from laclip_aug.exchange.lines import head_of, undecodable
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.places import open_bytes


def csv_writer(text: IO[str], separator: str = ",") -> Any:
    """A writer of :mod:`csv` that ends rows in a line feed, and quotes cells that hold one or a carriage return."""
    return csv.writer(_LineFeeds(text), delimiter=separator, lineterminator="\r\n")


class _LineFeeds:
    """Before Python 3.13, :mod:`csv` quotes those line breaks alone that are in its own end of a row."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text

    def write(self, row: str) -> int:
        return self._text.write(row.removesuffix("\r\n") + "\n")


def pairs(file: str, log: InputLog, separator: str | None = None) -> Iterator[list[str]]:
    """The cells of each row of a table without a header, as LaCLIP's: an image's path, and its caption.

    Args:
        separator: ``None`` is a tab, if the first row has one where a path would end at a comma, and else a comma.

    Raises:
        ConfigurationError: ``separator`` is no single character.
        InputError: the file is not UTF-8, or cannot be read.
    """
    if separator is None:
        _, first = next(csv_cells(file, log), (0, [""]))
        separator = "\t" if "\t" in "".join(first[:1]) else ","
    if len(separator) != 1:
        raise ConfigurationError(
            f"--csv-separator {separator!r} is no single character; a table without header has one"
        )
    yield from (row for _, row in csv_cells(file, log, separator))


def csv_cells(file: str, log: InputLog, separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, cells) of each row; an empty line has no cells.

    Raises:
        InputError: the file is not UTF-8, or cannot be read.
    """
    head_of(file, log)
    try:
        with open_bytes(file, log) as raw:
            csv.field_size_limit(sys.maxsize)
            text = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
            table, line = csv.reader(text, delimiter=separator), 0
            for row in table:
                yield line + 1, row
                line = table.line_num
    except UnicodeDecodeError:
        number, advice = undecodable(file, log)
        raise InputError(f"{file}: line {number} is not UTF-8; {advice}") from None
    except (csv.Error, OSError) as error:
        raise InputError(f"{file} cannot be read ({error}); check it, or fetch it again") from None

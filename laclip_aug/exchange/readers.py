"""Captions in, as open_clip's trainer will see them: CSV and TSV, JSONL, Parquet, plain text, webdataset tars."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from laclip_aug.errors import InputError, UnknownNameError
from laclip_aug.exchange.addresses import shortened
from laclip_aug.exchange.lines import text_lines
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.objects import jsonl_rows
from laclip_aug.exchange.places import FORMATS, expand, kind_of, size_of
from laclip_aug.exchange.tables import csv_rows, parquet_rows
from laclip_aug.exchange.tars import TextKeys, tar_captions

CAPTION_KEYS = ("title", "caption", "text")
"""Where captions are looked for if no key is given: open_clip's default first."""
MISSING = "nan"
"""The caption that the trainer makes of a cell without one: ``str`` of what pandas reads there."""


@dataclass(frozen=True)
class InputOptions:
    """How to read captions. ``None``: by the file's name, by the header line, the first of ``CAPTION_KEYS``."""

    format: str | None = None
    separator: str | None = None
    caption_key: str | None = None
    text_keys: TextKeys = field(default_factory=TextKeys)


class CaptionInput:
    """An iterable of captions over one or more files; ``log`` counts rows and refusals while it is read.

    A missing value of a table (``null``, ``NA``, an empty cell) is counted as ``missing``, and given as ``MISSING``.

    Args:
        inputs: paths, glob patterns, brace patterns (``{00000..00041}.tar``), several joined by ``::`` as open_clip
            takes them, and addresses: what ``fsspec`` reads (``s3:``), and ``pipe:`` and ``http:`` as webdataset does.

    Raises:
        InputError: a file does not exist, or its kind cannot be told from its name. When it is read: it cannot be
            read, or nothing in all of the inputs is a caption.
    """

    def __init__(self, inputs: Sequence[str], options: InputOptions | None = None) -> None:
        self.options = options or InputOptions()
        if self.options.format not in (None, *FORMATS):
            raise UnknownNameError("input format", str(self.options.format), FORMATS)
        self.files = expand(inputs)
        self._kinds = [self.options.format or kind_of(file) for file in self.files]
        sizes = [size_of(file) for file in self.files]
        self._sizes = sizes if all(size > 0 for size in sizes) else [0] * len(sizes)
        self.log = InputLog(bytes_total=sum(self._sizes))

    def __iter__(self) -> Iterator[str]:
        log, found = self.log, False
        for file, kind, size in zip(self.files, self._kinds, self._sizes, strict=True):
            for place, value in self._values(file, kind):
                for caption in value if isinstance(value, list) else [value]:  # several captions of one image
                    if caption is None or caption == MISSING:
                        log.reject("missing", place)
                        yield MISSING
                    elif isinstance(caption, str):
                        found = found or bool(caption.strip())
                        yield caption
                    else:
                        log.reject("invalid-utf8" if isinstance(caption, bytes) else "not-text", place)
            log.bytes_before += size
            log.position = lambda: 0
        if not found:
            raise InputError(nothing_in(self.files, log))

    def _values(self, file: str, kind: str) -> Iterator[tuple[str, Any]]:
        if kind == "webdataset":
            yield from tar_captions(file, self.log, self.options.text_keys)
        elif kind == "text":
            yield from text_lines(file, self.log)
        else:
            choose = chooser(file, [self.options.caption_key] if self.options.caption_key else CAPTION_KEYS)
            yield from ((place, values[0]) for place, values in table_rows(file, kind, choose, self.log, self.options))


def table_rows(
    file: str, kind: str, choose: Callable[[Sequence[str]], Sequence[str]], log: InputLog, options: InputOptions
) -> Iterator[tuple[str, list[Any]]]:
    """(place, values of the chosen columns) of each row of a CSV, JSONL or Parquet file."""
    if kind == "csv":
        return csv_rows(file, choose, log, options.separator)
    if kind == "jsonl":
        return jsonl_rows(file, choose, log)
    if kind == "parquet":
        return parquet_rows(file, choose, log)
    raise InputError(f"{shortened(file)} ({kind}) has no columns; give CSV, TSV, JSONL or Parquet")


def chooser(
    file: str, candidates: Sequence[str], option: str = "--csv-caption-key"
) -> Callable[[Sequence[str]], Sequence[str]]:
    """Pick the first of ``candidates`` that is a column, else an InputError that lists them and says ``option``."""

    def choose(columns: Sequence[str]) -> Sequence[str]:
        for candidate in candidates:
            if candidate in columns:
                return [candidate]
        raise InputError(
            f"{file} has no column {' or '.join(map(repr, candidates))}; its columns are: "
            f"{', '.join(columns) or 'none'}. Name the right one with {option}, or the separator with --csv-separator"
        )

    return choose


def nothing_in(files: Sequence[str], log: InputLog) -> str:
    """What to say where no caption was read: what was there instead, and what to do."""
    names = shortened(files[0]) + (f" and {len(files) - 1} more" if len(files) > 1 else "")
    return "\n  ".join(
        [f"no caption was read from {names}: {log.rows} rows; name a file that holds some", *log.lines()]
    )

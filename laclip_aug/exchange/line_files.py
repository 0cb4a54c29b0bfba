"""Texts out in the form in which LaCLIP's were released: a CSV ``path,caption`` without a header, and for each source a
text file with one line for each of its rows.

LaCLIP's loader joins the two by line number, so each row has its line in every file: an empty one where there is no
text, for which that loader shows the original caption.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from laclip_aug.errors import ConfigurationError, InputError
from laclip_aug.exchange.beside import Beside
from laclip_aug.exchange.delimited import csv_writer, pairs
from laclip_aug.exchange.files import write_output
from laclip_aug.exchange.lines import text_lines
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.readers import CAPTION_KEYS, InputOptions, chooser, table_rows

SOURCE = "{source}"
"""In the name of a file: what the name of a source takes the place of."""
ORIGINAL = "original"
"""What takes its place in the name of the CSV."""
IMAGE_KEYS = ("filepath", "path", "image", "image_path", "file_name", "url", "uid", "key")
"""Where images are looked for in a table that has a header; open_clip's default first."""
_UNSAFE = re.compile(r"[^\w.-]+")


def write_lines(
    beside: Beside, file: str, kind: str, pattern: Path, options: InputOptions, image_key: str | None
) -> int:
    """Write ``pattern`` with each source's name for ``{source}``, and the CSV beside them; returns the number of rows.

    A line break within a text becomes a space, and is counted as ``line-break``.

    Args:
        file: a table of images and captions, a CSV of two columns without a header too; or a text file with a caption
            a line, as RedCaps' were released, of which a text file is written in the place of the CSV.
        image_key: its column of images; ``None`` tries ``IMAGE_KEYS``.

    Raises:
        InputError: it has no such columns, or cannot be read.
        CacheError: a file cannot be written. A kill leaves whole files only, the CSV last of all.
    """
    text_file = kind == "text"
    rows, number = _pairs(file, kind, options, image_key, beside.log), 0
    paths = {name: _named(pattern, name) for name in beside.places}
    original = _named(pattern, ORIGINAL) if text_file else _named(pattern, ORIGINAL).with_suffix(".csv")
    if len({original, *paths.values()}) <= len(paths):
        raise ConfigurationError(
            f"two of {', '.join([*beside.sources, ORIGINAL])} would be one file; name a .csv or .jsonl instead"
        )
    with ExitStack() as stack:
        table = stack.enter_context(write_output(original))
        files = {name: stack.enter_context(write_output(path)) for name, path in paths.items()}
        for where, image, caption in rows:
            number += 1
            for name, text in beside.placed(caption, where).items():
                line = " ".join((text or "").splitlines())
                if text is not None and line != text:
                    beside.log.reject("line-break", where, "A text file has one line a text: they became spaces")
                files[name].write(line.encode() + b"\n")
            said = "" if caption is None else caption
            table.write(said.encode() + b"\n" if text_file else _csv_line([image, said]))
    return number


def _named(pattern: Path, source: str) -> Path:
    return Path(str(pattern).replace(SOURCE, _UNSAFE.sub("-", source)))


def _csv_line(cells: Sequence[str]) -> bytes:
    line = io.StringIO()
    csv_writer(line).writerow(cells)
    return line.getvalue().encode("utf-8", "backslashreplace")  # a lone surrogate, of which no cache has a text


def _pairs(
    file: str, kind: str, options: InputOptions, image_key: str | None, log: InputLog
) -> Iterator[tuple[str, str, str | None]]:
    """(place, image, caption) of each row."""
    if kind == "text":
        yield from ((place, "", line) for place, line in text_lines(file, log))
        return
    captions = [options.caption_key] if options.caption_key else CAPTION_KEYS
    if kind == "csv" and not options.caption_key and _is_headerless(file, options.separator, log):
        yield from _headerless_rows(file, options.separator, log)
        return
    images = [image_key] if image_key else IMAGE_KEYS

    def choose(there: Sequence[str]) -> Sequence[str]:
        return [
            *chooser(file, [key for key in images if key not in captions], "--csv-img-key")(there),
            *chooser(file, captions)(there),
        ]

    for place, (image, caption) in table_rows(file, kind, choose, log, options):
        yield place, "" if image is None else str(image), caption


def _is_headerless(file: str, separator: str | None, log: InputLog) -> bool:
    """Whether the first line has two cells, a path and no name of a column."""
    try:
        first = next(pairs(file, log, separator), [])
    except (ConfigurationError, InputError):
        return False  # the reader of tables takes it, or says what is wrong
    return len(first) == 2 and not {*first} & {*CAPTION_KEYS} and bool({*first[0]} & {".", "/"})


def _headerless_rows(file: str, separator: str | None, log: InputLog) -> Iterator[tuple[str, str, str | None]]:
    for number, row in enumerate(pairs(file, log, separator), 1):
        log.rows += 1
        if len(row) == 2:
            yield f"{file}: row {number}", row[0], row[1]
        else:
            log.reject("malformed-row", f"{file}: row {number}")

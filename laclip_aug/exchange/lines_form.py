"""LaCLIP's own form: captions in one file, the texts of each strategy in another, joined line by line."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from laclip_aug.augmenter import Outcome, Rejection, Rewrite
from laclip_aug.errors import InputError
from laclip_aug.exchange.delimited import pairs
from laclip_aug.exchange.lines import raw_lines, undecodable
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.places import kind_of
from laclip_aug.exchange.readers import CAPTION_KEYS, MISSING, InputOptions
from laclip_aug.quality.checks import is_short


def lines(file: str, text_files: Mapping[str, str], log: InputLog, options: InputOptions) -> Iterator[Outcome]:
    """Line ``i`` of each text file with row ``i`` of ``file``: a CSV or TSV ``path,caption`` without a header (as those
    of CC3M and CC12M), or a text file with a caption a line (as RedCaps').

    A line with fewer than two words is a ``too-few-words`` rejection: LaCLIP's loader shows the original instead.

    Raises:
        InputError: the files have unequal numbers of lines, so that nothing tells which belong together; or ``file`` is
            of another kind.
    """
    if lengths := unequal(file, text_files, options):
        raise InputError(f"{lengths}; fetch both again")
    yield from joined_lines(file, text_files, log, options)


def unequal(file: str, text_files: Mapping[str, str], options: InputOptions) -> str:
    """Which text files have another number of lines than ``file`` has rows, in a sentence; empty if none has.

    An empty line at the end of a file that is longer by it is no row: editors and scripts leave one there.
    """
    if _kind(file, options) == "csv":
        rows = _numbers(any(row) for row in pairs(file, InputLog(), options.separator))
    else:
        rows = _numbers(bool(row and row.strip()) for row in _rows(file, options))
    found = {
        source: _numbers(bool(line.strip()) for line in raw_lines(text_file, InputLog()))
        for source, text_file in text_files.items()
    }
    if rows.intersection(*found.values()):
        return ""
    return ", ".join(
        f"{text_files[source]} ({source}) has {max(numbers)} lines, {file} has {max(rows)} rows{_header(file, options)}"
        for source, numbers in found.items()
        if max(numbers) != max(rows)
    )


def _numbers(filled: Iterable[bool]) -> set[int]:
    """How many lines a file may be taken to have, of which ``filled`` says whether they hold anything."""
    number, last = next(iter(deque(enumerate(filled, 1), maxlen=1)), (0, True))
    return {number} if last else {number, number - 1}


def joined_lines(file: str, text_files: Mapping[str, str], log: InputLog, options: InputOptions) -> Iterator[Outcome]:
    """The records, to the end of the shortest file."""
    texts = [raw_lines(text_file, InputLog()) for text_file in text_files.values()]
    for number, (row, *raw) in enumerate(zip(_rows(file, options), *texts, strict=False), 1):
        log.rows += 1
        log.place = f"{file}: row {number}"
        if row is None:
            log.reject("malformed-row", log.place)
            continue
        if row == MISSING:
            log.reject("missing", log.place)
        rewrites, rejections = [], []
        for source, line in zip(text_files, raw, strict=True):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                rejections.append(Rejection(source, "invalid-utf8", line.decode("utf-8", "backslashreplace")))
                continue
            if is_short(text):
                rejections.append(Rejection(source, "too-few-words", text))
            else:
                rewrites.append(Rewrite(source, text))
        yield Outcome(row, tuple(rewrites), tuple(rejections))


def _header(file: str, options: InputOptions) -> str:
    """What to say of the first row of a table if it names a column of captions."""
    first = next(pairs(file, InputLog(), options.separator), []) if _kind(file, options) == "csv" else []
    if not {*first} & {*CAPTION_KEYS}:
        return ""
    return f" (its first line, {','.join(first)}, is a header, which --lines takes for a row: leave it out)"


def _rows(file: str, options: InputOptions) -> Iterator[str | None]:
    """The caption of each row, ``None`` where a row is none."""
    if _kind(file, options) == "csv":
        yield from (row[1] if len(row) == 2 else None for row in pairs(file, InputLog(), options.separator))
        return
    try:
        yield from (line.decode("utf-8") for line in raw_lines(file, InputLog()))
    except UnicodeDecodeError:
        number, advice = undecodable(file, InputLog())
        raise InputError(f"{file}: line {number} is not UTF-8; {advice}") from None


def _kind(file: str, options: InputOptions) -> str:
    kind = options.format or kind_of(file)
    if kind not in ("csv", "text"):
        raise InputError(
            f"--lines takes a CSV or TSV of path and caption or a text file with a caption a line, and {file} is "
            f"neither ({kind}); write its captions into such a file, in their order"
        )
    return kind

"""Captions in, as open_clip's trainer will see them: CSV and TSV, JSONL, Parquet, plain text, webdataset tars."""

from __future__ import annotations

import glob
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laclip_aug.errors import InputError, UnknownNameError
from laclip_aug.exchange.tables import InputLog, csv_rows, jsonl_rows, parquet_rows, text_lines

FORMATS = ("csv", "jsonl", "parquet", "text", "webdataset")
CAPTION_KEYS = ("title", "caption", "text")
"""Where captions are looked for if no key is given: open_clip's default first."""

_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "text",
    ".tar": "webdataset",
    ".tgz": "webdataset",
}
_URL = re.compile(r"[a-z0-9+]{2,}:", re.IGNORECASE)
_MEMBER = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")  # webdataset's split into sample key and extensions


@dataclass(frozen=True)
class InputOptions:
    """How to read captions. ``None``: by the file's name, by the header line, the first of ``CAPTION_KEYS``."""

    format: str | None = None
    separator: str | None = None
    caption_key: str | None = None


class CaptionInput:
    """An iterable of captions over one or more files; ``log`` counts rows and refusals while it is read.

    Args:
        inputs: paths, glob patterns, brace patterns (``{00000..00041}.tar``), several joined by ``::`` as open_clip
            takes them, and for tars also what webdataset opens (``pipe:``, ``http:``).

    Raises:
        InputError: a file does not exist, or its kind cannot be told from its name.
    """

    def __init__(self, inputs: Sequence[str], options: InputOptions | None = None) -> None:
        self.options = options or InputOptions()
        if self.options.format not in (None, *FORMATS):
            raise UnknownNameError("input format", str(self.options.format), FORMATS)
        self.files = expand(inputs)
        self._kinds = [self.options.format or kind_of(file) for file in self.files]
        sizes = [0 if is_url(file) else Path(file).stat().st_size for file in self.files]
        self._sizes = sizes if all(size > 0 for size in sizes) else [0] * len(sizes)
        self.log = InputLog(bytes_total=sum(self._sizes))

    def __iter__(self) -> Iterator[str]:
        log = self.log
        for file, kind, size in zip(self.files, self._kinds, self._sizes, strict=True):
            for place, value in self._values(file, kind):
                for caption in value if isinstance(value, list) else [value]:  # several captions of one image
                    if isinstance(caption, str):
                        yield caption
                    else:
                        log.reject("invalid-utf8" if isinstance(caption, bytes) else "not-text", place)
            log.bytes_before += size
            log.position = lambda: 0

    def _values(self, file: str, kind: str) -> Iterator[tuple[str, Any]]:
        if kind == "webdataset":
            yield from tar_captions(file, self.log)
        elif kind == "text":
            yield from text_lines(Path(file), self.log)
        else:
            choose = chooser(file, [self.options.caption_key] if self.options.caption_key else CAPTION_KEYS)
            yield from ((place, values[0]) for place, values in table_rows(file, kind, choose, self.log, self.options))


def table_rows(
    file: str, kind: str, choose: Callable[[Sequence[str]], Sequence[str]], log: InputLog, options: InputOptions
) -> Iterator[tuple[str, list[Any]]]:
    """(place, values of the chosen columns) of each row of a CSV, JSONL or Parquet file."""
    if kind == "csv":
        return csv_rows(Path(file), choose, log, options.separator)
    if kind == "jsonl":
        return jsonl_rows(Path(file), choose, log)
    if kind == "parquet":
        return parquet_rows(Path(file), choose, log)
    raise InputError(f"{file} ({kind}) has no columns; give CSV, TSV, JSONL or Parquet")


def chooser(file: str, candidates: Sequence[str]) -> Callable[[Sequence[str]], Sequence[str]]:
    """Pick the first of ``candidates`` that is a column, else an InputError that lists the columns."""

    def choose(columns: Sequence[str]) -> Sequence[str]:
        for candidate in candidates:
            if candidate in columns:
                return [candidate]
        raise InputError(
            f"{file} has no column {' or '.join(map(repr, candidates))}; its columns are: "
            f"{', '.join(columns) or 'none'}. Name the right one with --csv-caption-key, "
            "or the separator with --csv-separator"
        )

    return choose


def tar_captions(file: str, log: InputLog) -> Iterator[tuple[str, str]]:
    """(place, caption) of each sample of a webdataset tar: its ``txt`` member decoded as UTF-8, as webdataset does.

    Rejections: ``invalid-utf8``; ``no-caption``, a sample without a ``txt`` member; ``damaged-tar``, where the
    reading of one tar stops, as the trainer's does, and goes on with the next.
    """
    sample, has_text = "", True
    try:
        with _open_tar(file, log) as stream, tarfile.open(fileobj=stream, mode="r|*") as tar:
            for member in tar:
                split = _MEMBER.match(member.name)
                if not member.isreg() or split is None or re.match(r"__[^/]*__($|/)", member.name):
                    continue
                is_text = split[2].lower() == "txt"
                if split[1] != sample or (is_text and has_text):
                    if not has_text:
                        log.reject("no-caption", f"{file}: {sample}")
                    sample, has_text = split[1], False
                    log.rows += 1
                if is_text:
                    has_text = True
                    content = tar.extractfile(member)
                    data = content.read() if content else b""
                    try:
                        yield f"{file}: {member.name}", data.decode("utf-8")
                    except UnicodeDecodeError:
                        log.reject("invalid-utf8", f"{file}: {member.name}")
                tar.members = []  # type: ignore[attr-defined]  # or tarfile would keep every header
        if not has_text:
            log.reject("no-caption", f"{file}: {sample}")
    except (tarfile.TarError, EOFError, OSError) as error:
        log.reject("damaged-tar", f"{file}: after {sample or 'nothing'}: {error}")


def _open_tar(file: str, log: InputLog) -> Any:
    if is_url(file):
        from webdataset.gopen import gopen

        return gopen(file)
    raw = Path(file).open("rb")  # noqa: SIM115 - the caller closes it
    log.position = lambda: 0 if raw.closed else raw.tell()
    return raw


def expand(inputs: Sequence[str]) -> list[str]:
    """The files that ``inputs`` name, in order.

    Raises:
        InputError: a path does not exist or is a directory, or a pattern matches nothing.
    """
    from braceexpand import UnbalancedBracesError, braceexpand  # type: ignore[import-untyped,attr-defined,unused-ignore]

    files: list[str] = []
    for item in inputs:
        for part in [item] if Path(item).exists() else item.split("::"):
            try:
                names = [part] if Path(part).exists() else list(braceexpand(part))
            except UnbalancedBracesError as error:
                raise InputError(
                    f"{part!r} has unbalanced braces ({error}); write for example {{00000..00041}}.tar"
                ) from None
            for name in names:
                if is_url(name) or Path(name).is_file():
                    files.append(name)
                elif Path(name).is_dir():
                    raise InputError(f"{name} is a directory; give its files, for example '{name}/*.tar'")
                elif matches := sorted(glob.glob(name)):  # noqa: PTH207 - absolute patterns too
                    files += matches
                else:
                    raise InputError(f"no such file: {name}; check the path or the pattern")
    if not files:
        raise InputError("no input was given; name a file of captions")
    return files


def is_url(file: str) -> bool:
    """Whether webdataset has to open ``file``."""
    return bool(_URL.match(file)) and not Path(file).exists()


def kind_of(file: str) -> str:
    """The format that the name of ``file`` tells, ``.gz`` aside.

    Raises:
        InputError: it tells none.
    """
    if file.startswith("pipe:"):
        return "webdataset"
    path = Path(file.split("?")[0] if is_url(file) else file)
    kind = _SUFFIXES.get((Path(path.stem) if path.suffix in (".gz", ".bz2", ".xz") else path).suffix.lower())
    if kind is None:
        raise InputError(
            f"the name of {file} does not tell its format; name it with --input-format {{{','.join(FORMATS)}}}"
        )
    if is_url(file) and kind != "webdataset":
        raise InputError(f"{file} is not a local file; only webdataset tars are read from elsewhere: fetch it first")
    return kind

"""Where inputs are: names and patterns become files and addresses, and these become streams of bytes.

A name is a path, a glob or brace pattern, or an address.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import IO

from laclip_aug.errors import InputError
from laclip_aug.exchange.addresses import exists, is_address, matching, open_address, scheme_of, shortened
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.unpacking import ENDINGS, unpacked

FORMATS = ("csv", "jsonl", "parquet", "text", "webdataset")

_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "text",
    ".tar": "webdataset",
    ".tgz": "webdataset",
}


def expand(inputs: Sequence[str]) -> list[str]:
    """The files and addresses that ``inputs`` name, in order.

    Raises:
        InputError: a path does not exist or is a directory, or a pattern matches nothing.
    """
    files = [name for item in inputs for part in _parts(item) for name in _names(part)]
    if not files:
        raise InputError("no input was given; name a file of captions")
    return files


def _parts(item: str) -> list[str]:
    return [item] if exists(item) else [part for part in item.split("::") if part]


def _names(part: str) -> list[str]:
    from braceexpand import UnbalancedBracesError, braceexpand  # type: ignore[import-untyped,attr-defined,unused-ignore]

    try:
        names = [part] if exists(part) else list(braceexpand(part))
    except UnbalancedBracesError as error:
        raise InputError(f"{part!r} has unbalanced braces ({error}); write for example {{00000..00041}}.tar") from None
    found: list[str] = []
    for name in names:
        if is_address(name):
            found += matching(name)
        elif os.path.isdir(name):  # noqa: PTH112 - pathlib's raises where a name is too long
            raise InputError(about_directory(name))
        elif exists(name):
            found.append(name)
        elif matches := sorted(glob.glob(name)):  # noqa: PTH207 - absolute patterns too
            found += matches
        else:
            raise InputError(f"no such file: {shortened(name)}; check the path or the pattern")
    return found


def about_directory(name: str, for_trainer: bool = False) -> str:
    """What to give instead of a directory: a pattern that was tried, where it holds files of captions.

    open_clip's trainer expands braces only.
    """
    folder = name.rstrip("/") or "/"
    for ending in [".tar"] if for_trainer else _SUFFIXES:
        files = [] if "{" in name else sorted(glob.glob(f"{glob.escape(folder)}/*{ending}"))  # noqa: PTH207
        if files:
            pattern = "::".join(files[:3]) if for_trainer else f"{glob.escape(folder)}/*{ending}"
            more = ", and so on, or a brace pattern such as '{00000..00041}.tar'" if for_trainer else ""
            return f"{shortened(name)} is a directory; give its files: {quote(pattern)}{more}"
    endings = "ends in .tar" if for_trainer else f"ends in {', '.join(_SUFFIXES)}"
    return f"{shortened(name)} is a directory, and none of its files {endings}; give the files of captions"


def kind_of(file: str) -> str:
    """The format that the name of ``file`` tells, ``.gz``, ``.bz2`` and ``.xz`` aside; a pipe's is webdataset.

    Raises:
        InputError: it tells none.
    """
    if file.startswith("pipe:"):
        return "webdataset"
    path = Path(file.split("?")[0] if is_address(file) else file)
    kind = _SUFFIXES.get((Path(path.stem) if path.suffix in ENDINGS else path).suffix.lower())
    if kind is None:
        raise InputError(
            f"the name of {shortened(file)} does not tell its format; name it with --input-format "
            f"{{{','.join(FORMATS)}}}"
        )
    return kind


def size_of(file: str) -> int:
    """Bytes of a local file, for the progress bar; 0 of anything else."""
    return 0 if is_address(file) else Path(file).stat().st_size


def open_bytes(file: str, log: InputLog, seek: bool = False) -> IO[bytes]:
    """``file`` opened for reading, unpacked if its name ends in ``.gz``, ``.bz2`` or ``.xz`` (tars unpack themselves).

    Raises:
        InputError: the driver of an address is not installed, or what has to be read in any order (``seek``) flows.
        OSError: the file cannot be opened, or later read; whatever a driver or an unpacker raises becomes this one.
    """
    raw: IO[bytes] = open_address(file, seek) if is_address(file) else Path(file).open("rb")  # noqa: SIM115
    if not is_address(file):
        log.position = lambda: 0 if raw.closed else raw.tell()
    ending = Path(file.split("?")[0]).suffix
    return raw if scheme_of(file) == "pipe" or ending not in ENDINGS else unpacked(raw, ending)

"""Text files that people give: UTF-8, with a byte order mark or without; any other is named, with a command to type.

open_clip's trainer reads tables by ``pandas.read_csv``, which takes UTF-8 only: what is refused here stops it too. So
files in other encodings are not read.
"""

from __future__ import annotations

import codecs
import re
from pathlib import PurePosixPath
from shlex import quote

from laclip_aug.errors import InputError

HEAD = 1 << 16
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_PACKED = {rb"\x1f\x8b": ".gz", rb"BZh[1-9](1AY&SY|\x17rE8P\x90)": ".bz2", rb"\xfd7zXZ\0": ".xz"}
UNPACK = {".gz": "gzip -dc", ".bz2": "bzip2 -dc", ".xz": "xz -dc"}
"""The command that unpacks a file of each ending."""
_FEW = 0.3
"""The share of letters beyond ASCII under which a text of single bytes is taken for Western European."""


def decoded(file: str, data: bytes) -> str:
    """The text of ``data``, all that is in ``file``; a byte order mark is no part of it.

    Raises:
        InputError: it is not UTF-8; names the line of the first bad byte, and the command that converts the file.
    """
    if wide := wide_encoding(data[:HEAD]):
        raise InputError(f"{file}, line 1: not UTF-8; {conversion(file, wide)}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file}, line {line}: not UTF-8; {conversion(file, narrow_encoding(data))}") from None


def wide_encoding(head: bytes) -> str | None:
    """``UTF-16`` or ``UTF-32`` by the byte order mark, ``UTF-16LE`` or ``UTF-16BE`` by the zeros of Latin text."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    even, odd = head[:4096:2], head[1:4096:2]
    for name, zeros, others in (("UTF-16LE", odd, even), ("UTF-16BE", even, odd)):
        if zeros.count(0) > 0.4 * len(zeros) and others.count(0) < 0.1 * len(others):
            return name
    return None


def packed_as(head: bytes) -> str | None:
    """The ending that a compressed file's first bytes ask for."""
    return next((ending for magic, ending in _PACKED.items() if re.match(magic, head)), None)


def unpack_command(file: str, ending: str, target: str) -> str:
    """What to type to unpack ``file``, compressed as ``ending`` says, to ``target``."""
    return f"{UNPACK[ending]} {quote(file)} > {quote(target)}"


def narrow_encoding(sample: bytes) -> str | None:
    """What a text of which ``sample`` is not UTF-8 seems to be: ``UTF-8`` with damage, or ``WINDOWS-1252``."""
    lossy = sample.decode("utf-8", "ignore")
    well_formed = sum(len(character.encode()) for character in lossy if not character.isascii())
    beyond = sum(byte > 127 for byte in sample)
    if well_formed > beyond / 2:
        return "UTF-8"
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return None
    letters = [character for character in text if character.isalpha()]
    few = sum(not character.isascii() for character in letters) <= _FEW * len(letters)
    return "WINDOWS-1252" if few and letters else None


def conversion(file: str, encoding: str | None) -> str:
    """What to do with ``file``, in words that end with a command for the shell."""
    path = PurePosixPath(file)
    packed = path.suffix if path.suffix in UNPACK else ""
    bare = PurePosixPath(path.stem) if packed else PurePosixPath(path.name)
    target = quote(str(path.with_name(f"{bare.stem}.utf8{bare.suffix}")))
    source, options = quote(file), f"-f {encoding or 'ENCODING'} -t UTF-8"
    command = f"{UNPACK[packed]} {source} | iconv {options} > {target}" if packed else (
        f"iconv {options} {source} > {target}"
    )  # fmt: skip
    if encoding is None:
        return f"its encoding is none that is recognised; once you know it, convert with: {command}"
    if encoding == "UTF-8":
        return (
            f"most of it is UTF-8 and some bytes are damaged; drop these with: {command.replace('iconv', 'iconv -c')}"
        )
    return f"it looks like {encoding}; convert it with: {command}"

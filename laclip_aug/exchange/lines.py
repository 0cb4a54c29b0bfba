"""Lines of text files, and what a text file that is not UTF-8 seems to be instead."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from laclip_aug import encoding
from laclip_aug.errors import InputError
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.places import open_bytes


def text_lines(file: str, log: InputLog) -> Iterator[tuple[str, str]]:
    """(place, line without its end) of each line that is UTF-8; others are ``invalid-utf8`` rejections."""
    for number, line in enumerate(raw_lines(file, log), 1):
        log.rows += 1
        place = f"{file}: line {number}"
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            advice = "" if "invalid-utf8" in log.advice else encoding.conversion(
                file, encoding.narrow_encoding(_sample(file))
            )  # fmt: skip
            log.reject("invalid-utf8", place, advice and f"Of this file {advice}")
        else:
            yield place, text


def raw_lines(file: str, log: InputLog) -> Iterator[bytes]:
    """Each line of a file of text as it stands, without its end, and the first without a byte order mark.

    Raises:
        InputError: the file cannot be read, or is compressed under another name, or UTF-16 or UTF-32.
    """
    head_of(file, log)
    try:
        with open_bytes(file, log) as stream:
            for number, raw in enumerate(stream):
                line = raw.removesuffix(b"\n").removesuffix(b"\r")
                yield line if number else line.removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error}); check it, or fetch it again") from None


def head_of(file: str, log: InputLog) -> bytes:
    """The first bytes of a file of text.

    Raises:
        InputError: it cannot be read, or is compressed under another name, or UTF-16 or UTF-32.
    """
    try:
        with open_bytes(file, log) as stream:
            head = stream.read(encoding.HEAD)
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error}); check it, or fetch it again") from None
    if ending := encoding.packed_as(head):
        raise InputError(f"{file} is compressed, which its name does not tell; add {ending} to its name")
    if found := encoding.wide_encoding(head):
        raise InputError(
            f"{file} is not UTF-8, so open_clip's trainer cannot read it either; {encoding.conversion(file, found)}"
        )
    return head


def undecodable(file: str, log: InputLog) -> tuple[int, str]:
    """The number of the first line that is not UTF-8, and what to do about it.

    Raises:
        InputError: the file is compressed, and that is damage of it.
    """
    try:
        with open_bytes(file, log) as stream:
            for number, line in enumerate(stream, 1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError:
                    return number, encoding.conversion(file, encoding.narrow_encoding(_sample(file)))
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error}); check it, or fetch it again") from None
    return 0, "check it, or fetch it again"


def _sample(file: str) -> bytes:
    """Lines of ``file`` with bytes beyond ASCII, up to a limit."""
    found = b""
    with open_bytes(file, InputLog()) as stream:
        for line in stream:
            if not line.isascii():
                found += line
                if len(found) > encoding.HEAD:
                    break
    return found

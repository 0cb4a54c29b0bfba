"""Rows of JSON objects, streamed: one a line (JSONL), or the elements of arrays."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from laclip_aug.errors import InputError
from laclip_aug.exchange.coco import refuse_coco, refuse_indented_coco
from laclip_aug.exchange.lines import head_of, text_lines
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.places import open_bytes
from laclip_aug.exchange.tables import Choose

_PIECE = 1 << 16
_HEAD = 1000
_ARRAY = re.compile(rb"\s*\[\s*[{\]]")


def jsonl_rows(file: str, choose: Choose, log: InputLog) -> Iterator[tuple[str, list[Any]]]:
    """(place, values of the chosen keys) of each JSON object that has them: one a line, or in arrays.

    A key that an object lacks is ``null``, which many writers leave out; one that has none of the keys is refused.
    Rejections: ``invalid-utf8``, ``malformed-row``, ``missing-key``.

    Raises:
        InputError: the first 1,000 objects lack a key, there is no object, or as :func:`json_objects`.
    """
    keys, rows = keyed_objects(file, choose, log)
    found = False
    for place, row in rows:
        found = True
        if keys and not any(key in row for key in keys):
            log.reject("missing-key", place)
        else:
            yield place, [row.get(key) for key in keys]
    if not found:
        raise InputError(
            f"{file} has no line that is a JSON object; give JSONL or a JSON array of objects, or name the format "
            "with --input-format"
        )


def keyed_objects(
    file: str, choose: Choose, log: InputLog
) -> tuple[Sequence[str], Iterator[tuple[str, dict[str, Any]]]]:
    """What ``choose`` picks, from the first object that has all it looks for, or else from all that the first 1,000
    have; and (place, object) of each JSON object. If there is none, nothing is picked.

    Raises:
        InputError: the first 1,000 lack a key.
    """
    rows, head = json_objects(file, log), list[tuple[str, dict[str, Any]]]()
    for place, row in rows:
        head.append((place, row))
        try:
            return choose(list(row)), chain(head, rows)
        except InputError:
            if len(head) == _HEAD:
                break
    return (choose(list(dict.fromkeys(key for _, row in head for key in row))) if head else []), chain(head, rows)


def json_objects(file: str, log: InputLog) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, object) of each JSON object. Rejections: ``invalid-utf8``, ``malformed-row``.

    Raises:
        InputError: an array is broken, or the file has COCO's captions.
    """
    head, found = head_of(file, log).removeprefix(codecs.BOM_UTF8), False
    for place, row in _array_rows(file, log) if _ARRAY.match(head) else _line_rows(file, log):
        if isinstance(row, dict):
            if not found:
                refuse_coco(file, row)
            found = True
            yield place, row
        else:
            log.reject("malformed-row", place)
    if not found:
        refuse_indented_coco(file, head)


def json_bytes(row: dict[str, Any]) -> bytes:
    """``row`` as one line of JSON, without its end."""
    try:
        return json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a lone surrogate, which only an escape can write
        return json.dumps(row).encode()


def _line_rows(file: str, log: InputLog) -> Iterator[tuple[str, Any]]:
    for place, line in text_lines(file, log):
        if not line.strip():
            log.rows -= 1  # an empty line holds no row
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        yield place, row


def _array_rows(file: str, log: InputLog) -> Iterator[tuple[str, Any]]:
    """(place, element) of JSON arrays, one or more in a row, of which no more than a piece is held at a time."""
    decode, scan = codecs.getincrementaldecoder("utf-8-sig")(), json.JSONDecoder().raw_decode
    text, place, row, inside, ended, size = "", 0, 0, False, False, _PIECE
    try:
        with open_bytes(file, log) as stream:
            while True:
                while place < len(text) and text[place] in (" \t\r\n," if inside else " \t\r\n"):
                    place += 1
                here = text[place : place + 1]
                if here == ("]" if inside else "["):
                    inside, place = not inside, place + 1
                    continue
                if here and not inside:
                    raise InputError(
                        f"{file}: after element {row} its array ends, and {text[place : place + 20]!r} follows; make "
                        "JSONL of it, or fetch it again"
                    )
                if ended and not inside:
                    return
                try:
                    value, place = scan(text, place)
                except (ValueError, RecursionError) as error:
                    if ended or isinstance(error, RecursionError):
                        raise InputError(
                            f"{file} is no whole JSON array: after element {row}: {error}; fetch it again, or make "
                            "JSONL of it"
                        ) from None
                    piece = stream.read(size)
                    text, place, ended = text[place:] + decode.decode(piece, final=not piece), 0, not piece
                    size *= 2  # an element may be large: reading it again from its start stays cheap
                    continue
                row, size = row + 1, _PIECE
                log.rows += 1
                yield f"{file}: element {row}", value
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: after element {row}: {error}; JSON has to be UTF-8: make JSONL of it") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error}); check it, or fetch it again") from None

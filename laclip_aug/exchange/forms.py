"""Rewrites that exist already, in tables of three forms: an :class:`Outcome` per caption; no model is run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from itertools import groupby
from typing import Any

from laclip_aug.augmenter import Outcome, Rejection, Rewrite
from laclip_aug.errors import ConfigurationError
from laclip_aug.exchange.cells import unfolded
from laclip_aug.exchange.joins import joined
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.places import kind_of
from laclip_aug.exchange.readers import CAPTION_KEYS, MISSING, InputOptions, chooser, table_rows
from laclip_aug.exchange.row_keys import key_of
from laclip_aug.exchange.tars import tar_rows
from laclip_aug.seeding import derive

_OBJECTS = 'Write {"text": TEXT}, {"source": SOURCE, "text": TEXT} or {SOURCE: TEXT} for such an object'


def columns(
    file: str,
    caption_keys: Sequence[str],
    rewrite_keys: Mapping[str, str],
    log: InputLog,
    options: InputOptions,
    image_key: str | None = None,
) -> Iterator[Outcome]:
    """Rows with a caption in one column and a rewrite (or a list of them) in others: ``{raw, synthetic, fused}``.

    Args:
        rewrite_keys: column -> source. A list may hold texts or ``{"source", "text"}`` objects, as ``export`` writes;
            ``{SOURCE: TEXT}`` names its sources itself, with a list of texts for each too. A CSV has these as text.
        image_key: column of the images' keys; texts are the image's then, whether its caption is missing or not.
    """
    keys = [caption_keys, *([key] for key in rewrite_keys), *([[image_key]] if image_key else [])]
    for place, (caption, *cells) in _table(file, keys, log, options):
        key = cells.pop() if image_key else ""
        image = "" if _is_missing(key) else key_of(key) or ""
        if image_key and not image:
            log.reject("no-image-key", place, f"Each row needs a text or a whole number under {image_key}")
            continue
        if image and (not isinstance(caption, str) or caption == MISSING):
            caption = ""
        if caption is None or caption == MISSING:
            log.reject("missing", place)
            yield Outcome(MISSING, ())
            continue
        if not isinstance(caption, str):
            log.reject("not-text", place)
            continue
        rewrites, rejections = _texts(cells, list(rewrite_keys.values()), place, log)
        yield Outcome(caption, tuple(rewrites), tuple(rejections), image=image)


def _is_missing(key: Any) -> bool:
    """Whether a key names nothing: it is null, the ``NaN`` of a column of numbers, blank, or ``MISSING``."""
    if isinstance(key, str):
        return not key.strip() or key == MISSING
    return key is None or (isinstance(key, float) and math.isnan(key))


def _number(value: Any) -> Decimal | None:
    """What orders rows: a number of any type, or a text of one; ``1`` and ``1.0`` are one."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def joined_columns(
    files: Sequence[str],
    caption_files: Sequence[str],
    keys: tuple[str, str],
    caption_keys: Sequence[str],
    rewrite_keys: Mapping[str, str],
    log: InputLog,
    options: InputOptions,
) -> Iterator[Outcome]:
    """As :func:`columns`, but with the captions in files of their own, joined by the key whose columns are ``keys``."""
    aside = InputLog(rejections=log.rejections, examples=log.examples, advice=log.advice)
    there = replace(options, format=None)
    captions = (row for file in caption_files for row in _table(file, [[keys[1]], caption_keys], aside, there))
    wanted = [[keys[0]], *([key] for key in rewrite_keys)]
    texts = (row for file in files for row in _table(file, wanted, log, options))
    sources = list(rewrite_keys.values())
    for caption, cells in joined(captions, texts, log):
        rewrites, rejections = _texts(cells, sources, log.place, log)
        yield Outcome(caption, tuple(rewrites), tuple(rejections))


def _texts(
    cells: Iterable[Any], sources: Iterable[str], place: str, log: InputLog
) -> tuple[list[Rewrite], list[Rejection]]:
    """The texts in the cells of a row: of each source one, a list, or what names its sources itself."""
    rewrites, rejections = [], []
    for cell, column in zip(cells, sources, strict=True):
        for source, text in _named(unfolded(cell), column):
            if isinstance(text, str):
                rewrites.append(Rewrite(source, text))
            else:
                rejections.append(Rejection(source, "missing" if text is None else "not-text"))
            if isinstance(text, dict):
                log.reject("not-text", place, _OBJECTS)
    return rewrites, rejections


def _named(cell: Any, source: str) -> Iterator[tuple[str, Any]]:
    """(source, text) of each text in a cell: its own of ``{"source", "text"}`` and of ``{SOURCE: TEXT}``.

    In a list, an object of several members without ``text`` says more of one text, but not which it is.
    """
    if isinstance(cell, list):
        for item in cell:
            there = {key: value for key, value in item.items() if value is not None} if isinstance(item, dict) else {}
            if len(there) > 1 and "text" not in there:
                yield source, None if "text" in item else item
            else:
                yield from _named(there or (None if isinstance(item, dict) else item), source)
    elif isinstance(cell, dict) and "text" in cell:
        named = cell.get("source")
        yield from _named(cell["text"], source if named is None else str(named))
    elif isinstance(cell, dict) and cell and "source" not in cell:
        for name, value in cell.items():
            yield from _named(value, str(name))
    else:
        yield source, None if isinstance(cell, dict) else cell


def lists(file: str, key: str, source: str, log: InputLog, options: InputOptions) -> Iterator[Outcome]:
    """Rows with all captions of an image in one list, as in COCO: each is a caption, and the others its rewrites."""
    for place, (cell,) in _table(file, [[key]], log, options):
        texts = unfolded(cell)
        if not (isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts)):
            log.reject("missing" if texts is None else "not-text", place)
            continue
        for record in _each_with_the_others(texts, source):
            if record.caption == MISSING:
                log.reject("missing", place)
            yield record


def groups(
    file: str,
    group_key: str,
    caption_keys: Sequence[str],
    index_key: str | None,
    source: str,
    log: InputLog,
    options: InputOptions,
) -> Iterator[Outcome]:
    """Rows with one caption each, several in a row per image, as in Flickr8k.

    Of the consecutive rows that share ``group_key``, ordered by the number under ``index_key`` if there is one, each
    is a caption, and the others are its rewrites. An image that comes up again further down is a ``split-group``; a row
    that names none is refused as ``no-group-key``. In a CSV that is what pandas takes for missing, ``NA`` too.
    """
    keys = [[group_key], caption_keys, *([[index_key]] if index_key else [])]

    def complete() -> Iterator[tuple[str, list[Any]]]:
        for place, values in _table(file, keys, log, options):
            if _is_missing(values[0]):
                log.reject("no-group-key", place, f"Each row needs its image's key under {group_key}")
            elif values[1] is None or values[1] == MISSING:
                log.reject("missing", place)
            elif not isinstance(values[1], str):
                log.reject("not-text", place)
            elif index_key and (number := _number(values[2])) is None:
                log.reject("not-a-number", place, f"Each row needs a number under {index_key}")
            else:
                yield place, [*values[:2], number] if index_key else values

    seen: set[int] = set()  # 64-bit hashes: an image's name may be long
    for image, members in groupby(complete(), key=lambda row: key_of(row[1][0]) or str(row[1][0])):
        rows = list(members)
        if (known := derive("image", image)) in seen:
            log.reject("split-group", rows[0][0], f"Sort the file by {group_key}: rows of an image have to be in a row")
        seen.add(known)
        log.place = rows[0][0]
        values = [row for _, row in rows]
        if index_key:
            values.sort(key=lambda row: row[2])
        yield from _each_with_the_others([row[1] for row in values], source)


def _each_with_the_others(texts: Sequence[str], source: str) -> Iterator[Outcome]:
    """A record for each of an image's different captions."""
    different = list(dict.fromkeys(texts))
    for caption in different:
        yield Outcome(caption, tuple(Rewrite(source, text) for text in different if text != caption))


def named_sources(files: Iterable[str]) -> list[str]:
    """The sources that the rows of JSONL and Parquet files name under ``rewrites``, in the order of first mention."""
    found: dict[str, None] = {}

    def choose(there: Sequence[str]) -> Sequence[str]:
        return ["rewrites"] if "rewrites" in there else []  # a file without them names none

    for file in files:
        for _, values in table_rows(file, kind_of(file), choose, InputLog(), InputOptions()):
            found.update((source, None) for cell in values for source, _ in _named(unfolded(cell), ""))
    return [source for source in found if source]


def _table(
    file: str, keys: Sequence[Sequence[str]], log: InputLog, options: InputOptions
) -> Iterator[tuple[str, list[Any]]]:
    """Rows with one value for each of ``keys``, a list of candidates each."""

    def choose(there: Sequence[str]) -> Sequence[str]:
        options = [
            "--csv-caption-key",
            *["its option (--rewrite-key, --group-key, --index-key, --list-key, --join)"] * len(keys),
        ]
        chosen = [chooser(file, names, option)(there)[0] for names, option in zip(keys, options, strict=False)]
        if len(set(chosen)) != len(chosen):
            raise ConfigurationError(f"a column is used twice ({', '.join(chosen)}); name different columns")
        return chosen

    kind = options.format or kind_of(file)
    rows = (
        _tar_table(file, keys, log, options) if kind == "webdataset" else table_rows(file, kind, choose, log, options)
    )
    for place, values in rows:
        log.place = place
        yield place, values


def _tar_table(
    file: str, keys: Sequence[Sequence[str]], log: InputLog, options: InputOptions
) -> Iterator[tuple[str, list[Any]]]:
    """Samples of a webdataset tar as rows: a caption as the trainer finds it, fields of ``.json`` and other members."""
    wanted = [key for candidates in keys for key in candidates if list(candidates) != list(CAPTION_KEYS)]
    found = False
    captions = options.text_keys if any(list(candidates) == list(CAPTION_KEYS) for candidates in keys) else None
    for place, row in tar_rows(file, log, captions, wanted):
        values = [row[""] if list(candidates) == list(CAPTION_KEYS) else row.get(candidates[0]) for candidates in keys]
        if not found and all(value is None for value in values[1:]):
            log.reject("missing-key", f"{place} has no {' or '.join(wanted)}")
            continue
        found = True
        yield place, values

"""Captions of images from files: tables, COCO's annotations, and SugarCrepe's pairs of a caption and hard negatives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from laclip_aug.errors import InputError
from laclip_aug.evaluation.images import ImageSet
from laclip_aug.evaluation.namesakes import places_of
from laclip_aug.exchange.images import IMAGE_KEYS
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.places import kind_of
from laclip_aug.exchange.readers import CAPTION_KEYS, MISSING, InputOptions, table_rows

_ABSENT = "captions whose image is absent"


@dataclass(frozen=True)
class Captioned:
    """Images that have captions, and what was left out: counts by reason."""

    images: ImageSet
    left_out: dict[str, int]


def captioned(images: ImageSet, file: Path | None, folders: Sequence[Path] = ()) -> Captioned:
    """The images of ``images`` that have captions: those of ``file``, or their own.

    Args:
        folders: what the images' paths are inside, by any name.

    Raises:
        InputError: the file cannot be read, no caption in it is of an image that is there, or it is not clear of which.
    """
    left_out: dict[str, int] = {}
    rows: list[tuple[str, str | None]] = []
    if file is None:
        left_out = {_ABSENT: images.absent} if images.absent else {}
        texts = [[text for text in own if text.strip()] for own in images.captions or [[]] * len(images.keys)]
    else:
        rows, texts = _rows(file), [[] for _ in images.keys]
        places = places_of((name for name, _ in rows), images.keys, folders, str(file))
        for name, caption in rows:
            if (place := places.get(name)) is None:
                left_out[_ABSENT] = left_out.get(_ABSENT, 0) + 1
            elif caption is None:
                left_out["rows without a caption"] = left_out.get("rows without a caption", 0) + 1
            else:
                texts[place].append(caption)
    chosen = [place for place, own in enumerate(texts) if own]
    if not chosen:
        counts = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        there = f", and in {file} like {rows[0][0]!r}" if rows else ""
        raise InputError(
            f"no image of {images.name} has a caption ({counts or 'none was given'}); name a table of images and "
            f"captions with --captions; an image is called like {images.keys[0]!r}{there}"
        )
    if len(chosen) < len(texts):
        left_out["images without a caption"] = len(texts) - len(chosen)
    return Captioned(replace(images.only(chosen), captions=[texts[place] for place in chosen]), left_out)


def _rows(file: Path) -> list[tuple[str, str | None]]:
    """(image, caption) of each row; the caption is None where the cell is empty."""
    if not file.is_file():
        raise InputError(f"there is no file {file}; check the path of --captions")
    if file.suffix == ".json" and isinstance(content := _json(file), dict):
        if not ("images" in content and "annotations" in content):
            raise InputError(f"{file} has no 'images' and 'annotations', as COCO's captions have; give a table instead")
        try:
            names = {image["id"]: str(image["file_name"]) for image in content["images"]}
            return [(names[row["image_id"]], _text(row["caption"])) for row in content["annotations"]]
        except (KeyError, TypeError) as error:
            raise InputError(f"{file} has not the form of COCO's captions ({error!r}); check the file") from None
    rows: list[tuple[str, str | None]] = []

    def choose(columns: Sequence[str]) -> Sequence[str]:
        found = [next((key for key in keys if key in columns), None) for keys in (IMAGE_KEYS, CAPTION_KEYS)]
        if found[0] is None or found[1] is None:
            raise InputError(
                f"{file} needs a column of images ({', '.join(IMAGE_KEYS)}) and one of captions "
                f"({', '.join(CAPTION_KEYS)}); its columns are: {', '.join(columns)}"
            )
        return [str(key) for key in found]

    for _, (image, caption) in table_rows(str(file), kind_of(str(file)), choose, InputLog(), InputOptions()):
        for one in caption if isinstance(caption, list) else [caption]:  # a list is several captions of an image
            rows.append((str(image), _text(one)))
    return rows


def _text(caption: Any) -> str | None:
    return caption if isinstance(caption, str) and caption.strip() and caption != MISSING else None


@dataclass(frozen=True)
class HardNegatives:
    """Rows of one file: ``[N]`` images (places in a set), right captions, and wrong ones of each."""

    name: str
    images: Sequence[int]
    right: Sequence[str]
    wrong: Sequence[Sequence[str]]
    left_out: dict[str, int]


def hard_negatives(images: ImageSet, file: Path, folders: Sequence[Path] = ()) -> HardNegatives:
    """The rows of a file of SugarCrepe's form.

    A JSON object or list of ``{"filename": ..., "caption": ..., "negative_caption": ...}``; the last may be a list.

    Args:
        folders: what the images' paths are inside, by any name.

    Raises:
        InputError: the file is not of that form, none of its images is there, or it is not clear which.
    """
    content = _json(file)
    rows = list(content.values()) if isinstance(content, dict) else content
    read: list[tuple[str, str, list[str]]] = []
    for number, row in enumerate(rows if isinstance(rows, list) else []):
        try:
            wrong = row["negative_caption"]
            wrong = [wrong] if isinstance(wrong, str) else list(wrong)
            name, right = row["filename"], row["caption"]
            if not (isinstance(name, str) and wrong and all(isinstance(text, str) for text in [right, *wrong])):
                raise TypeError("not texts")
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{file}: row {number} has not SugarCrepe's form, filename, caption and negative_caption ({error!r})"
            ) from None
        read.append((name, right, wrong))
    places = places_of((name for name, _, _ in read), images.keys, folders, str(file))
    found = [(places[name], right, wrong) for name, right, wrong in read if name in places]
    absent = len(read) - len(found)
    if not found:
        raise InputError(f"{file}: none of its {absent} rows is of an image in {images.name}; check both paths")
    left_out = {"rows whose image is absent": absent} if absent else {}
    return HardNegatives(file.stem, [f[0] for f in found], [f[1] for f in found], [f[2] for f in found], left_out)


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read as JSON ({error}); check the file") from None

"""Read the caption sets and split them: what may train, and what is held out.

The directory given as ``--captions`` holds (where a user gets each set is in the model card):

- ``coco_val2017_captions.jsonl``: ``{"image_id", "captions": [...]}`` a line, from MS-COCO's ``captions_val2017.json``;
- ``multi30k/task2_{train,val}.{1..5}.en.gz`` and ``multi30k/task2_images_{train,val}_images.txt``: Multi30k, task 2;
- ``cc3m_validation.tsv``: Conceptual Captions' validation split with a header ``caption<TAB>url``;
- ``capsfusion_sample.jsonl``: rows ``{"raw", "synthetic", "fused"}`` of CapsFusion.

Held out: whole images, never single captions. Flickr images that Flickr8k holds too do not train, so that a CLIP
model tested on Flickr8k may be trained on rewrites.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from laclip_aug.seeding import derive

_BEFORE = re.compile(r"\s+([,.;:!?%)\]])")
_CLITIC = re.compile(r"\s+('s|'re|'t|'m|'ll|'d|'ve|n't)\b", re.IGNORECASE)
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True)
class Image:
    """One image's human captions; ``dataset`` is ``"coco"`` or ``"multi30k"``."""

    key: str
    dataset: str
    captions: tuple[str, ...]


@dataclass
class Split:
    """Captions on one side of the split."""

    images: list[Image] = field(default_factory=list)
    alt_texts: list[str] = field(default_factory=list)
    fused: list[tuple[str, str]] = field(default_factory=list)


def tidy(text: str) -> str:
    """Join tokens that a tokenizer took apart, and start with a capital.

    ``"a dog 's ball , on grass"`` is ``"A dog's ball, on grass"``.
    """
    text = _CLITIC.sub(r"\1", _BEFORE.sub(r"\1", _SPACES.sub(" ", text.replace(" - ", "-")).strip()))
    return text[:1].upper() + text[1:]


def flickr_ids(tables: Iterable[Path]) -> set[str]:
    """Flickr ids (``"1000268201"``) of the images named in Flickr8k tables with a ``filepath`` column."""
    ids = set()
    for table in tables:
        with table.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines, delimiter="\t"):
                ids.add(Path(row["filepath"]).stem.split("_")[0])
    return ids


def read_coco(path: Path) -> list[Image]:
    """MS-COCO images with their captions."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Image(f"coco-{row['image_id']}", "coco", tuple(tidy(c) for c in row["captions"])) for row in rows]


def read_multi30k(folder: Path, part: str) -> list[Image]:
    """Multi30k task 2: five English captions per image, from the longest to the shortest; ``part`` train or val."""
    names = (folder / f"task2_images_{part}_images.txt").read_text(encoding="utf-8").split()
    columns = []
    for rank in range(1, 6):
        with gzip.open(folder / f"task2_{part}.{rank}.en.gz", "rt", encoding="utf-8") as lines:
            columns.append([tidy(line) for line in lines])
    if any(len(column) != len(names) for column in columns):
        raise ValueError(f"{folder}: the files of task2_{part} differ in length; fetch the data set again")
    return [
        Image(f"flickr-{Path(name).stem}", "multi30k", texts)
        for name, texts in zip(names, zip(*columns, strict=True), strict=True)
    ]


def load(captions: Path, flickr8k: Iterable[Path] = (), coco_held: int = 1000) -> tuple[Split, Split]:
    """The training split and the held-out split.

    COCO images are drawn by hash of their id (``coco_held`` of them held out), Multi30k's own val part is held out,
    a tenth of CapsFusion's rows and a tenth of CC3M's captions too.
    """
    train, held = Split(), Split()
    coco = sorted(read_coco(captions / "coco_val2017_captions.jsonl"), key=lambda image: derive(image.key))
    held.images += coco[:coco_held]
    train.images += coco[coco_held:]
    shared = flickr_ids(flickr8k)
    multi30k = [i for i in read_multi30k(captions / "multi30k", "train") if i.key.removeprefix("flickr-") not in shared]
    train.images += multi30k
    held.images += read_multi30k(captions / "multi30k", "val")
    with (captions / "cc3m_validation.tsv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            side = held if derive("cc3m", row["caption"]) % 10 == 0 else train
            side.alt_texts.append(row["caption"])
    for line in (captions / "capsfusion_sample.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        side = held if derive("capsfusion", row["raw"]) % 10 == 0 else train
        side.fused.append((row["raw"], row["fused"]))
    seen = {text.lower() for image in held.images for text in image.captions}
    train.images = [
        Image(i.key, i.dataset, kept)
        for i in train.images
        if (kept := tuple(c for c in i.captions if c.lower() not in seen))
    ]
    return train, held

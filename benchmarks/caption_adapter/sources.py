"""Captions to train on and to judge by; a hash of each one's key says which.

``--captions`` is a folder with any of these files (the README says where to get them):

- ``coco_val2017_captions.jsonl``: ``{"image_id", "captions": [...]}``, from MS-COCO (CC BY 4.0);
- ``cc3m_validation.tsv``: Conceptual Captions' validation split with a header ``caption<TAB>url``;
- ``laion_alt_text.jsonl``: ``{"caption": ...}`` raw alt-texts of LAION;
- ``multi30k/task2_val.{1..5}.en.gz``: judged by only, since its terms are for research.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from pathlib import Path


def held_out(key: str) -> bool:
    """Whether a caption (for COCO: ``str(image_id)``) is of the fifth that is never trained on."""
    digest = hashlib.blake2b(key.strip().encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") % 5 == 0


def coco(folder: Path, held: bool) -> list[list[str]]:
    """The captions of each image on one side of the split."""
    with (folder / "coco_val2017_captions.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [[" ".join(c.split()) for c in r["captions"]] for r in rows if held_out(str(r["image_id"])) == held]


def cc3m(folder: Path, held: bool) -> list[str]:
    """Web alt-texts, cleaned by their makers."""
    with (folder / "cc3m_validation.tsv").open(encoding="utf-8", newline="") as lines:
        found = [row["caption"] for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)]
    return [caption for caption in found if held_out(caption) == held]


def laion(folder: Path, held: bool) -> list[str]:
    """Raw alt-texts of the web."""
    with (folder / "laion_alt_text.jsonl").open(encoding="utf-8") as lines:
        found = [json.loads(line)["caption"] for line in lines]
    return [caption for caption in found if held_out(caption) == held]


def multi30k(folder: Path) -> list[list[str]]:
    """Five captions for each image of Multi30k's validation part; for evaluation only."""
    columns = []
    for rank in range(1, 6):
        with gzip.open(folder / f"multi30k/task2_val.{rank}.en.gz", "rt", encoding="utf-8") as lines:
            columns.append([" ".join(line.split()) for line in lines])
    return [list(texts) for texts in zip(*columns, strict=True)]

"""Captions and rewrites without end, for benchmarks of size: real English words, drawn as rarely as in real text.

The words are those of CLIP's vocabulary, which is sorted by how often they occurred, so a word's rank gives its
probability (Zipf and Mandelbrot: 1 over rank + 2.7). Four million are drawn once; a caption is two runs of them, a
rewrite every other word of its caption between two further runs. All is a function of the number or the caption, at a
few microseconds a text. Words without grammar have more to tell than real text has, so what is compressed here does not
come out too small: ``python -m benchmarks.drawn_text CAPTIONS.tsv`` compares it with captions of Flickr8k.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import zstandard

from laclip_aug.augmenter import CaptionAugmenter
from laclip_aug.openclip import merges_file

_DRAWN = 1 << 22
_MIX = 0x9E3779B97F4A7C15


def words() -> list[str]:
    """Some 30,000 English words, those that occur most first."""
    with gzip.open(merges_file(), "rt", encoding="utf-8") as file:
        merges = file.read().split("\n")[1 : 49152 - 256 - 2 + 1]
    ends = [line.replace(" ", "").removesuffix("</w>") for line in merges if line.endswith("</w>")]
    return [word for word in ends if word.isascii() and word.isalpha()]


class DrawnText:
    """The source of all texts; the same in each process."""

    def __init__(self) -> None:
        ranked = words()
        chances = 1 / (np.arange(len(ranked)) + 1 + 2.7)
        picked = np.random.default_rng(0).choice(len(ranked), _DRAWN + 16, p=chances / chances.sum())
        self._words = [ranked[number] for number in picked.tolist()]

    def caption(self, number: int) -> str:
        """Six to thirteen words; captions of different numbers are hardly ever equal."""
        mixed = (number + 1) * _MIX & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 31
        mixed = mixed * _MIX & 0xFFFFFFFFFFFFFFFF
        first, second, length = mixed & (_DRAWN - 1), mixed >> 22 & (_DRAWN - 1), mixed >> 44 & 7
        return " ".join(self._words[first : first + 3 + length // 2] + self._words[second : second + 3 + length])

    def rewrite(self, caption: str, number: int) -> str:
        """Half of the caption's words, and five to twelve others."""
        mixed = zlib.crc32(caption.encode(), number) * _MIX & 0xFFFFFFFFFFFFFFFF
        place, length = mixed >> 42, mixed >> 37 & 7
        there = caption.split(" ")[number % 2 :: 2]
        return " ".join([*self._words[place : place + 2], *there, *self._words[place + 2 : place + 5 + length]])


class DrawnRewrites(CaptionAugmenter):
    """Drawn texts as an augmenter of four sources."""

    name, sources = "drawn", ("a", "b", "c", "d")

    def __init__(self, text: DrawnText) -> None:
        self.text = text

    def augment(self, captions: Sequence[str], n: int, seed: int) -> list[list[str]]:
        return [[self.text.rewrite(caption, j) for j in range(n)] for caption in captions]

    def fingerprint(self) -> str:
        return "drawn-1"


def _squeezed(rows: list[list[str]]) -> tuple[float, float]:
    """Bytes of four texts before and after compression as the look-up does it, four rows in a frame."""
    values = [json.dumps(list(enumerate(row)), separators=(",", ":")).encode() for row in rows]
    half = len(values) // 2
    made = zstandard.train_dictionary(1 << 16, values[:half], k=256, d=8)
    shared = zstandard.ZstdCompressionDict(made.as_bytes(), dict_type=zstandard.DICT_TYPE_FULLDICT)
    compress = zstandard.ZstdCompressor(level=6, dict_data=shared, write_dict_id=False).compress
    rest = values[half:]
    size = sum(len(compress(b"".join(rest[at : at + 4]))) for at in range(0, len(rest), 4))
    return sum(map(len, rest)) / len(rest), size / len(rest)


def main() -> None:
    path = Path(sys.argv[1])  # a table with the columns filepath, caption_index and caption, five captions an image
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file, delimiter="\t"))
    groups = [[line["caption"] for line in group] for _, group in groupby(lines, key=lambda line: line["filepath"])]
    real = [group[1:] for group in groups if len(group) == 5]
    drawn, rewrites = DrawnText(), DrawnRewrites(DrawnText())
    made = rewrites.augment([drawn.caption(number) for number in range(len(real))], 4, 0)
    for name, rows in (("Flickr8k", real), ("drawn", made)):
        before, after = _squeezed(rows)
        print(f"{name}: {len(rows)} rows of four texts, {before:.0f} bytes each, {after:.0f} compressed")


if __name__ == "__main__":
    main()

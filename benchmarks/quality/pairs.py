"""Sets of true and false pairs (caption, text), from captions of people, of the web, and of an LLM.

Layout of ``--captions``: ``coco_val2017_captions.jsonl`` ({"captions": [...]}, five people on one photo),
``cc3m_validation.tsv`` (caption, address), ``laion_alt_text.jsonl`` ({"caption"}), ``capsfusion_sample.jsonl`` ({"raw",
"synthetic", "fused"}: an LLM's fusion of alt-text and a captioner's sentence). All are public: cocodataset.org,
ai.google.com/research/ConceptualCaptions, LAION's metadata, huggingface.co/datasets/BAAI/CapsFusion-120M.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from benchmarks.quality.halves import to_choose_on
from benchmarks.quality.judged import Judged
from laclip_aug.quality.attributes import COLOURS
from laclip_aug.quality.checks import Candidate, reason_against
from laclip_aug.quality.stems import shipped, stem, words_of

Pairs = list[tuple[str, str]]
MOST = 1000
SWAPPED = 120
_NUMBERS = "two three four five six seven eight".split()


def shown_pairs(captions: Path, most: int = MOST) -> dict[str, Pairs]:
    """Name → pairs, of captions of the half to show on: "own" pairs belong together, "shuffled" ones do not."""
    coco = [tuple(json.loads(line)["captions"][:2]) for line in _lines(captions / "coco_val2017_captions.jsonl")]
    fusion = [json.loads(line) for line in _lines(captions / "capsfusion_sample.jsonl")]
    cc3m = [line.split("\t")[0] for line in _lines(captions / "cc3m_validation.tsv")]
    laion = [json.loads(line)["caption"] for line in _lines(captions / "laion_alt_text.jsonl")]
    found: dict[str, Pairs] = {}
    for name, pairs in (
        ("COCO", [(a.strip(), b.strip()) for a, b in coco]),
        ("CapsFusion", [(row["raw"], row["fused"]) for row in fusion]),
        ("CC3M", [(caption, caption) for caption in cc3m]),
        ("LAION", [(caption, caption) for caption in laion]),
    ):
        half = sorted({pair for pair in pairs if not to_choose_on(pair[0]) and pair[0].strip()})
        half = random.Random(0).sample(half, min(most, len(half)))
        if name in ("COCO", "CapsFusion"):
            found[f"{name}, own"] = [pair for pair in half if reason_against(Candidate(*pair)) is None]
        texts = [text for _, text in half]
        found[f"{name}, shuffled"] = list(zip([a for a, _ in half], texts[1:] + texts[:1], strict=True))
    return found


def swapped(rows: list[Judged]) -> dict[str, Pairs]:
    """True rewrites with one word made wrong: a content word that the caption has, a colour or a number."""
    draw = random.Random(0)
    common = sorted(s for s, count in shipped().counts.items() if count >= 30 and s.isalpha() and len(s) > 3)
    found: dict[str, Pairs] = {"a word swapped": [], "a colour swapped": [], "a number swapped": []}
    for row in random.Random(1).sample(rows, min(SWAPPED, len(rows))):
        said = set(words_of(row.caption))
        for word in words_of(row.text):
            if word in COLOURS and word in said:
                other = draw.choice(sorted(COLOURS - said))
                found["a colour swapped"].append((row.caption, _replaced(row.text, word, other)))
            elif word in _NUMBERS and word in said:
                other = draw.choice([number for number in _NUMBERS if number not in said])
                found["a number swapped"].append((row.caption, _replaced(row.text, word, other)))
        nouns = [w for w in words_of(row.text) if w in said and shipped().rarity[stem(w)] > 3 and w not in COLOURS]
        if nouns:
            found["a word swapped"].append((row.caption, _replaced(row.text, draw.choice(nouns), draw.choice(common))))
    return found


def _replaced(text: str, word: str, other: str) -> str:
    return " ".join(other if part.casefold().strip(".,!") == word else part for part in text.split())


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()

"""Write the training material: the vocabulary, the captions with their near captions, and the held-out split."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from benchmarks.embedded_rewriter import vocabulary
from benchmarks.embedded_rewriter.metrics import tokens
from benchmarks.embedded_rewriter.pairs import SIBLING, STRANGER, Captions
from benchmarks.embedded_rewriter.sources import load, tidy

_APART = re.compile("['’]")


def prepare(
    captions: Path, out: Path, flickr8k: Iterable[Path] = (), size: int = 4000, neighbours: bool = True
) -> None:
    """Fill ``out`` with ``vocabulary.model``, ``captions.jsonl``, ``held_out.json`` and ``words.txt``.

    A line of ``captions.jsonl`` is ``{"set", "text", "near": [line, ...], "from": [raw text, ...]}``; ``near`` are
    captions of the same photo or of others that say nearly the same, ``from`` are alt-texts that ``text`` was made of.
    ``words.txt`` holds the words that occur in three captions or more; it ships with the weights.
    """
    out.mkdir(parents=True, exist_ok=True)
    train, held = load(captions, flickr8k)
    (out / "held_out.json").write_text(
        json.dumps(
            {
                "coco": [i.captions for i in held.images if i.dataset == "coco"],
                "multi30k": [i.captions for i in held.images if i.dataset == "multi30k"],
                "cc3m": held.alt_texts,
                "fused": held.fused,
            }
        )
    )
    rows: list[tuple[str, str]] = []
    siblings: list[range] = []
    for image in train.images:
        siblings += [range(len(rows), len(rows) + len(image.captions))] * len(image.captions)
        rows += [(image.dataset, text) for text in image.captions]
    human = len(rows)
    rows += [("cc3m", tidy(text)) for text in train.alt_texts]
    first_fused = len(rows)
    rows += [("fused", fused) for _, fused in train.fused]
    counts = Counter(word for _, text in rows for word in {part for w in tokens(text) for part in _APART.split(w)})
    known = sorted(word for word, count in counts.items() if count >= 3 and word.isascii() and word.isalpha())
    (out / "words.txt").write_text("\n".join(known) + "\n", encoding="ascii")
    if not (out / "vocabulary.model").exists():
        vocabulary.train([text for _, text in rows] + [raw for raw, _ in train.fused], out / "vocabulary", size)
    compared = Captions([text for _, text in rows])
    found = compared.neighbours(range(first_fused)) if neighbours else {}
    raws = Captions([raw for raw, _ in train.fused])
    pairs = 0
    with (out / "captions.jsonl").open("w", encoding="utf-8") as lines:
        for row, (dataset, text) in enumerate(tqdm(rows, desc="pairs", unit=" captions")):
            near: list[int] = []
            origin: list[str] = []
            if row < human:
                near = [t for t in siblings[row] if t != row and compared.near(row, t, SIBLING)]
            if row < first_fused:
                own = siblings[row] if row < human else ()
                near += [t for t in found.get(row, []) if t not in own and compared.near(row, t, STRANGER)][:8]
            else:
                raw = row - first_fused
                said, new = raws.concepts[raw], compared.concepts[row]
                if len(text.split()) <= 30 and compared.weight(said & new) >= 0.6 * compared.weight(new):
                    origin = [raws.texts[raw]]
            pairs += len(near)
            lines.write(json.dumps({"set": dataset, "text": text, "near": near, "from": origin}) + "\n")
    print(f"{len(rows)} captions, {pairs} near pairs")

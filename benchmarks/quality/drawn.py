"""Signals and the default gate on ``drawn.jsonl``, judged after everything was chosen.

python -m benchmarks.quality.drawn

``drawn.jsonl``: single draws of the shipped rewriter at its defaults (no gate, one attempt) that pass the attribute
rules, judged by eye after the rule of ``judged.py``. Each line is {"set", "caption", "text", "strategy", "verdict"},
false ones with "fault". Captions are of COCO, Conceptual Captions and LAION and in no other judged set. Nothing
was chosen on them. Prints two tables.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.quality.evidence import Reader
from benchmarks.quality.judged import Judged
from benchmarks.quality.study import FALSE_SHARE, STRICT, auc, bound_for, shares, values
from laclip_aug.quality.gate import RELATED, Gate
from laclip_aug.quality.signals import TextPair

FILE = Path(__file__).parent / "drawn.jsonl"
SIGNALS = ("words", "kept", "tfidf", "ngrams", "truth", "likelihood")


def main() -> None:
    """Measure and print."""
    reader, rows = Reader(), []
    for line in tqdm(FILE.read_text(encoding="utf-8").splitlines(), "reading", unit=" texts"):
        row = json.loads(line)
        likelihood = reader.likelihood(row)
        rows.append(Judged(row["set"], row["caption"], row["text"], "drawn", row["verdict"], likelihood))
    groups = {name: [row for row in rows if row.set == name] for name in sorted({row.set for row in rows})}
    print(f"{len(rows)} texts, {sum(row.true for row in rows)} true\n")
    print("| signal | AUC | true kept at 5% of the false | " + " | ".join(f"AUC, {name}" for name in groups) + " |")
    print("|" + "---|" * (3 + len(groups)))
    for name in SIGNALS:
        found = values(name, rows)
        kept = shares(found, rows, bound_for(found, rows, FALSE_SHARE))["true kept"]
        cells = [ordered(found, rows), kept, *(ordered(values(name, own), own) for own in groups.values())]
        print(f"| `{name}` | " + " | ".join(map(str, cells)) + " |")
    print("\n| gate | true kept | false accepted | true among the accepted |")
    print("|---|---|---|---|")
    for spec in (RELATED, STRICT):
        refusals = Gate(spec).judge([TextPair(row.caption, row.text, row.log_likelihood) for row in rows])
        passed = np.array([refusal is None for refusal in refusals])
        true = np.array([row.true for row in rows])
        figures = passed[true].mean(), passed[~true].mean(), true[passed].mean()
        print(f"| `{spec}` | " + " | ".join(f"{figure:.1%}" for figure in figures) + " |")


def ordered(found: np.ndarray, rows: list[Judged]) -> float | None:
    """AUC."""
    true = np.array([row.true for row in rows])
    return auc(found[true], found[~true])


if __name__ == "__main__":
    main()

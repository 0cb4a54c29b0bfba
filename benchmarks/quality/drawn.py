"""Signals and gates on ``drawn.jsonl``: the draws that the rewriter was tuned on afterwards.

python -m benchmarks.quality.drawn

``drawn.jsonl``: single draws of the rewriter before that, without gate, that pass the attribute rules, judged by eye
after the rule of ``judged.py``. Each line is {"set", "caption", "text", "strategy", "likelihood", "verdict"}, with
"fault" where it is false; the likelihood is that rewriter's own, read back. Captions are of COCO, Conceptual Captions
and LAION and in no other judged set. No signal or gate was chosen on them. Prints two tables.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks.quality.judged import Judged
from benchmarks.quality.study import FALSE_SHARE, STRICT, auc, bound_for, shares, values
from laclip_aug.quality.gate import RELATED, Gate
from laclip_aug.quality.signals import TextPair

FILE = Path(__file__).parent / "drawn.jsonl"
SIGNALS = ("words", "kept", "tfidf", "ngrams", "truth", "likelihood")


def main() -> None:
    """Measure and print."""
    rows = []
    for line in FILE.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        rows.append(Judged(row["set"], row["caption"], row["text"], "drawn", row["verdict"], row["likelihood"]))
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

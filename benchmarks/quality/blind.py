"""The shipped rewriter and the one before it was tuned on verdicts, judged blind, and the default gate on its draws.

python -m benchmarks.quality.blind

``blind.jsonl``: single draws of both for the same captions (``draws.py``; those that pass the attribute rules), mixed
and judged in one sitting by readers who did not know which wrote what, after the rule of ``judged.py``. Each line is
{"set", "caption", "text", "strategy", "writer", "likelihood", "own", "verdict"}, with "fault" where it is false. What
the writing model itself says of its text are the likelihood, read back, and ``own``, its verdict. The first writer had
learned none, and its engine told the gate the likelihood at the temperature of the draw, ``at_draw``. No caption was
trained on. Gates were compared on half of the captions (``halves.py``); their figures are of the other half. Prints
three tables.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.caption_adapter.metrics import novelty
from benchmarks.quality.evidence_study import auc, kept
from benchmarks.quality.halves import to_choose_on
from laclip_aug.quality.gate import Gate
from laclip_aug.quality.signals import TextPair, create_signal
from laclip_aug.rewrite.embedded import DEFAULTS, GATE_WITHOUT_VERDICT

FILE = Path(__file__).parent / "blind.jsonl"
SETS = ("coco", "cc3m", "laion")
SIGNALS = ("words", "tfidf", "ngrams", "truth", "likelihood", "verdict")
TRUER = "verdict>=0.6 likelihood>=-0.4 truth>=0.3"
Row = dict[str, Any]


def main() -> None:
    """Measure and print."""
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    before, tuned = ([row for row in rows if row["writer"] == name] for name in ("before", "tuned"))
    print("| writer | texts | true | " + " | ".join(f"true, {name}" for name in SETS) + " | novelty |")
    print("|" + "---|" * (4 + len(SETS)))
    for name, own in (("before", before), ("tuned", tuned)):
        shares = [share([row for row in own if row["set"] == one]) for one in SETS]
        new = np.mean([novelty(row["caption"], row["text"]) for row in own])
        print(
            f"| {name} | {len(own)} | {share(own):.1%} | " + " | ".join(f"{s:.1%}" for s in shares) + f" | {new:.3f} |"
        )
    first, second = ({row["caption"]: row["verdict"] for row in own} for own in (before, tuned))
    both = [(first[caption], second[caption]) for caption in first if caption in second]
    print(f"\nof {len(both)} captions {both.count((False, True))} became true, {both.count((True, False))} false\n")

    print("| signal, on the tuned writer's texts | AUC | true kept at 5% of the false |\n|---|---|---|")
    true = np.array([row["verdict"] for row in tuned])
    for name in SIGNALS:
        found = np.array(create_signal(name).measure(pairs(tuned)))
        print(f"| `{name}` | {auc(found, true):.3f} | {kept(found, true):.3f} |")

    print("\n| writer | gate | kept of all | true kept | false accepted | true among the accepted |")
    print("|---|---|---|---|---|---|")
    applied = [row | {"likelihood": row["at_draw"]} for row in before]
    for name, own, spec in (
        ("before, as the engine applied it", applied, GATE_WITHOUT_VERDICT),
        ("before", before, GATE_WITHOUT_VERDICT),
        ("tuned", tuned, GATE_WITHOUT_VERDICT),
        ("tuned", tuned, DEFAULTS["gate"]),
        ("tuned", tuned, TRUER),
    ):
        own = [row for row in own if not to_choose_on(row["caption"])]
        true = np.array([row["verdict"] for row in own])
        passed = np.array([refusal is None for refusal in Gate(spec).judge(pairs(own))])
        shares = [passed.mean(), passed[true].mean(), passed[~true].mean(), true[passed].mean()]
        print(f"| {name} | `{spec}` | " + " | ".join(f"{one:.1%}" for one in shares) + " |")


def share(rows: list[Row]) -> float:
    """Of the true."""
    return float(np.mean([row["verdict"] for row in rows]))


def pairs(rows: list[Row]) -> list[TextPair]:
    """As a gate sees them while they are made."""
    return [TextPair(row["caption"], row["text"], row["likelihood"], verdict=row.get("own")) for row in rows]


if __name__ == "__main__":
    main()

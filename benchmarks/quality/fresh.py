"""The shipped rewriter and those before it, read strictly and blind, and gates on its draws.

python -m benchmarks.quality.fresh

``fresh.jsonl``: single draws of each for the same captions (``draws.py``; those that pass the attribute rules), mixed
and read by readers who did not know which wrote what. Each line is {"set", "caption", "text", "strategy", "writer",
"likelihood", "own", "strict"}: the last is "ok" (sound English that says nothing false), "english" (true, in bad
English), "false" or "garbled". Writers: "first" and "second" are those of the first and second tuning; "corrupted" was
tuned on from there, on false texts made from sound ones; "own" from there, on its own draws too; "third", which ships,
is the mean of these two. "further" was tuned on from the third, on readings and own draws of web captions; "fourth" is
the mean of these two. "corrupted", "own" with "third", and "further" with "fourth" were read in sittings of their own,
mixed with texts of the second and, the last two, of the third, which have what was said of them then as "mixed" and
"anew"; "again" is what another reader said of the second's.
No writer was trained on these captions. The weights of ``sound`` and the gates were chosen on half of them
(``halves.py``); figures of signals and gates are of the other half. Prints three tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.caption_adapter.metrics import novelty
from benchmarks.quality.evidence_study import auc, kept
from benchmarks.quality.halves import to_choose_on
from benchmarks.quality.judged import sound, true
from laclip_aug.quality.gate import Gate
from laclip_aug.quality.signals import TextPair, create_signal
from laclip_aug.rewrite.embedded import DEFAULTS

FILE = Path(__file__).parent / "fresh.jsonl"
WRITERS = ("first", "second", "corrupted", "own", "third", "further", "fourth")
SETS = ("coco", "cc3m", "laion")
SIGNALS = ("words", "ngrams", "truth", "likelihood", "verdict", "sound")
TRUER = "sound>=0.75 truth>=0.2"
Row = dict[str, Any]
Bools = npt.NDArray[np.bool_]


def main() -> None:
    """Measure and print."""
    writers = {name: rows_of(name) for name in WRITERS}
    print("| writer | texts | sound | true | " + " | ".join(f"sound, {name}" for name in SETS) + " | novelty |")
    print("|" + "---|" * (5 + len(SETS)))
    for name, own in writers.items():
        of_sets = [holding([row for row in own if row["set"] == one], sound).mean() for one in SETS]
        shares = " | ".join(f"{one:.1%}" for one in (holding(own, sound).mean(), holding(own, true).mean(), *of_sets))
        new = np.mean([novelty(row["caption"], row["text"]) for row in own])
        print(f"| {name} | {len(own)} | {shares} | {new:.3f} |")
    read = {name: {row["caption"]: sound(row) for row in own} for name, own in writers.items()}
    for former, later in (*pairwise(WRITERS[:4]), ("second", "third"), ("third", "further"), ("third", "fourth")):
        both = [(read[former][caption], one) for caption, one in read[later].items() if caption in read[former]]
        became, ceased = (both.count(change) for change in ((False, True), (True, False)))
        print(f"\n{former} to {later}: of {len(both):,} captions {became} became sound, {ceased} unsound")

    shown = [row for row in writers["third"] if not to_choose_on(row["caption"])]
    goals = holding(shown, sound), holding(shown, true)
    print("\n| signal | AUC, sound | kept at 5% of the others | AUC, true | true kept at 5% of the false |")
    print("|---|---|---|---|---|")
    for name in SIGNALS:
        found = np.array(create_signal(name).measure(pairs(shown)))
        cells = " | ".join(f"{measure(found, goal):.3f}" for goal in goals for measure in (auc, kept))
        print(f"| `{name}` | {cells} |")

    print("\n| gate | kept of all | true kept | false accepted | true, accepted | sound, accepted |")
    print("|" + "---|" * 6)
    for spec in (DEFAULTS["gate"], TRUER):
        passed = np.array([refusal is None for refusal in Gate(spec).judge(pairs(shown))])
        good, holds = goals
        shares = passed.mean(), passed[holds].mean(), passed[~holds].mean(), holds[passed].mean(), good[passed].mean()
        print(f"| `{spec}` | " + " | ".join(f"{one:.1%}" for one in shares) + " |")


def rows_of(writer: str) -> list[Row]:
    """The lines of a writer."""
    rows = (json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines())
    return [row for row in rows if row["writer"] == writer]


def pairs(rows: list[Row]) -> list[TextPair]:
    """As a gate sees them while they are made."""
    return [TextPair(row["caption"], row["text"], row["likelihood"], verdict=row["own"]) for row in rows]


def holding(rows: list[Row], what: Callable[[Row], bool]) -> Bools:
    """Which rows are so."""
    return np.array([what(row) for row in rows])


if __name__ == "__main__":
    main()

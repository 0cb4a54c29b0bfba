"""The shipped rewriter and the one before its second tuning, read strictly and blind, and gates on its draws.

python -m benchmarks.quality.fresh

``fresh.jsonl``: single draws of both for the same captions (``draws.py``; those that pass the attribute rules), mixed
and read in one sitting by readers who did not know which wrote what. Each line is {"set", "caption", "text",
"strategy", "writer", "likelihood", "own", "strict"}: the last is "ok" (sound English that says nothing false),
"english" (true, in bad English), "false" or "garbled"; of the second's texts "again" is what another reader said later.
"corrupted" are draws of one that was tuned further, on false texts made from sound ones, and does not ship; they were
read in a sitting of their own, mixed with the second's texts that they differ from, which have its verdict as "mixed".
No writer was trained on these captions. The weights of ``sound`` and the gates were chosen on half of them
(``halves.py``); figures of signals and gates are of the other half, and of the second's draws at its default
temperature that were read after all was chosen ("later", ``judged.of_shipped``). Prints three tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.caption_adapter.metrics import novelty
from benchmarks.quality.evidence_study import auc, kept
from benchmarks.quality.halves import to_choose_on
from benchmarks.quality.judged import of_shipped, sound, true
from laclip_aug.quality.gate import Gate
from laclip_aug.quality.signals import TextPair, create_signal
from laclip_aug.rewrite.embedded import DEFAULTS

FILE = Path(__file__).parent / "fresh.jsonl"
SETS = ("coco", "cc3m", "laion")
SIGNALS = ("words", "ngrams", "truth", "likelihood", "verdict", "sound")
FORMER = "verdict>=0.4 likelihood>=-0.4 truth>=0.3"
TRUER = "sound>=0.75 truth>=0.2"
Row = dict[str, Any]
Bools = npt.NDArray[np.bool_]


def main() -> None:
    """Measure and print."""
    writers = {name: rows_of(name) for name in ("first", "second", "corrupted")}
    print("| writer | texts | sound | true | " + " | ".join(f"sound, {name}" for name in SETS) + " | novelty |")
    print("|" + "---|" * (5 + len(SETS)))
    for name, own in writers.items():
        of_sets = [holding([row for row in own if row["set"] == one], sound).mean() for one in SETS]
        shares = " | ".join(f"{one:.1%}" for one in (holding(own, sound).mean(), holding(own, true).mean(), *of_sets))
        new = np.mean([novelty(row["caption"], row["text"]) for row in own])
        print(f"| {name} | {len(own)} | {shares} | {new:.3f} |")
    before, after = ({row["caption"]: sound(row) for row in writers[name]} for name in ("first", "second"))
    both = [(before[caption], after[caption]) for caption in before if caption in after]
    print(
        f"\nOf {len(both):,} captions {both.count((False, True))} became sound, {both.count((True, False))} unsound\n"
    )

    mixed = {row["caption"]: sound({"strict": row["mixed"]}) for row in writers["second"] if "mixed" in row}
    same = {(row["caption"], row["text"]) for row in writers["second"]}
    other = {r["caption"]: sound(r) for r in writers["corrupted"] if (r["caption"], r["text"]) not in same}
    both = [(mixed[caption], other[caption]) for caption in mixed if caption in other]
    print(
        f"Mixed, where they differ: sound {np.mean([*mixed.values()]):.1%} of {len(mixed)} (second), "
        f"{np.mean([*other.values()]):.1%} of {len(other)} (corrupted); of {len(both)} captions "
        f"{both.count((False, True))} became sound, {both.count((True, False))} unsound\n"
    )

    twice = [(true(row), true({"strict": row["again"]}), row) for row in writers["second"]]
    agreed = [(one, row) for one, other, row in twice if one == other]
    kept_true, let_in = (holding_gate([row for one, row in agreed if one is what]) for what in (True, False))
    print(
        f"Two readers agree whether a text is true for {len(agreed)} of {len(twice)}; of these the default gate keeps"
    )
    print(f"{kept_true:.1%} of the true and accepts {let_in:.1%} of the false\n")

    shown = {name: [row for row in own if not to_choose_on(row["caption"])] for name, own in writers.items()}
    shown["second, later"] = [row for row in of_shipped() if row["temperature"] == DEFAULTS["temperature"]]
    print("| signal | texts | AUC, sound | kept at 5% of the others | AUC, true | true kept at 5% of the false |")
    print("|---|---|---|---|---|---|")
    for of, name in ((of, name) for of in ("second", "second, later") for name in SIGNALS):
        own = shown[of]
        found = np.array(create_signal(name).measure(pairs(own)))
        goals = (holding(own, sound), holding(own, true))
        cells = " | ".join(f"{measure(found, goal):.3f}" for goal in goals for measure in (auc, kept))
        print(f"| `{name}` | {of} | {cells} |")

    print("\n| writer | gate | kept of all | true kept | false accepted | true, accepted | sound, accepted |")
    print("|" + "---|" * 7)
    of_gates = [("first", FORMER), *(("second", spec) for spec in (FORMER, DEFAULTS["gate"], TRUER))]
    for of, spec in (*of_gates, *(("second, later", spec) for spec in (DEFAULTS["gate"], TRUER))):
        own = shown[of]
        passed = np.array([refusal is None for refusal in Gate(spec).judge(pairs(own))])
        holds = holding(own, true)
        shares = (passed.mean(), passed[holds].mean(), passed[~holds].mean(), holds[passed].mean())
        cells = " | ".join(f"{one:.1%}" for one in (*shares, holding(own, sound)[passed].mean()))
        print(f"| {of} | `{spec}` | {cells} |")


def holding_gate(rows: list[Row]) -> float:
    """The share of ``rows`` that the default gate lets pass."""
    return float(np.mean([refusal is None for refusal in Gate(DEFAULTS["gate"]).judge(pairs(rows))]))


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

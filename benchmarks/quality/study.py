"""Which signals tell true rewrites from false ones, and what do the default gates keep?

python -m benchmarks.quality.study --captions DIR [--no-encoders]

Thresholds and weights were chosen on captions whose hash falls in one half; every figure here is of the other half.
Signals of an encoder are measured on fewer pairs of the sets that are not judged. Writes ``quality.json``,
``quality.md`` and ``quality.png`` to ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.halves import to_choose_on
from benchmarks.quality.judged import Judged, judged
from benchmarks.quality.pairs import Pairs, shown_pairs, swapped
from benchmarks.quality.report import draw, written
from laclip_aug.quality.encoder import Encoding
from laclip_aug.quality.gate import RELATED, Gate
from laclip_aug.quality.signals import TextPair, create_signal
from laclip_aug.rewrite.embedded import GATE_WITHOUT_VERDICT

RESULTS = Path(__file__).parent.parent / "results"
SIGNALS = (
    "words", "kept", "tfidf", "novelty", "truth", "ngrams", "sentence", "support", "worst-support", "omission",
    "likelihood",
)  # fmt: skip
ENCODED = ("sentence", "support", "omission")
FEW = 40
STRICT = GATE_WITHOUT_VERDICT
"""The strictest gate that asks for no verdict, which the texts here were written without."""
TOGETHER = ("words", "tfidf", "truth", "sentence", "support", "worst-support", "omission")
FALSE_SHARE = 0.05


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, required=True, help="see benchmarks/quality/pairs.py")
    parser.add_argument("--no-encoders", action="store_true", help="leave out the signals of a sentence encoder")
    args = parser.parse_args()
    signals = [name for name in SIGNALS if not (args.no_encoders and any(part in name for part in ENCODED))]
    rows = [row for row in judged() if row.passes_rules]
    choose, show = ([row for row in rows if to_choose_on(row.caption) == half] for half in (True, False))
    many, few = shown_pairs(args.captions), shown_pairs(args.captions, FEW)

    def sets(spec: str) -> dict[str, Pairs]:
        return few if any(name in spec for name in ENCODED) else many

    wrong = swapped([row for row in rows if row.true])
    found: dict[str, Any] = {
        "command": "python -m benchmarks.quality.study --captions DIR" + " --no-encoders" * args.no_encoders,
        "judged": counts(judged()),
        "signals": {name: of_signal(name, choose, show, sets(name), wrong) for name in signals},
        "gates": {spec: of_gate(spec, show, sets(spec), wrong) for spec in gates(choose, signals)},
    }
    if not args.no_encoders:
        found["signals"]["together"] = together(choose, show)
    (RESULTS / "quality.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "quality.md").write_text(written(found, RELATED, STRICT), encoding="utf-8")
    draw({name: curve(values(name, show), show) for name in signals}, RESULTS / "quality.png")


def counts(rows: list[Judged]) -> dict[str, dict[str, int]]:
    """By origin: rewrites judged, true ones, and those of either kind that the attribute rules let pass."""
    origins = sorted({row.origin for row in rows})
    by_origin = {origin: [row for row in rows if row.origin == origin] for origin in origins}
    return {
        origin: {
            "judged": len(own),
            "true": sum(row.true for row in own),
            "true, pass the rules": sum(row.true and row.passes_rules for row in own),
            "false, pass the rules": sum(not row.true and row.passes_rules for row in own),
        }
        for origin, own in by_origin.items()
    }


def values(name: str, rows: list[Judged]) -> np.ndarray:
    """The signal on judged rewrites."""
    return np.array(create_signal(name).measure([TextPair(r.caption, r.text, r.log_likelihood) for r in rows]))


def on_pairs(name: str, pairs: Pairs) -> np.ndarray:
    """The signal on pairs."""
    return np.array(create_signal(name).measure([TextPair(*pair) for pair in pairs]))


def auc(true: np.ndarray, false: np.ndarray) -> float | None:
    """Share of (true, false) pairs that the values order rightly; ties count half."""
    true, false = true[~np.isnan(true)], false[~np.isnan(false)]
    if not len(true) or not len(false):
        return None
    below = np.searchsorted(np.sort(false), true, "left").sum()
    ties = np.searchsorted(np.sort(false), true, "right").sum() - below
    return round(float((below + ties / 2) / len(true) / len(false)), 3)


def bound_for(scores: np.ndarray, rows: list[Judged], share: float = FALSE_SHARE) -> float:
    """The least threshold, above a value, that accepts at most ``share`` of the false."""
    false = np.sort([s for s, row in zip(scores, rows, strict=True) if not row.true and not math.isnan(s)])[::-1]
    return float(np.nextafter(false[int(share * len(false))], np.inf)) if len(false) else math.nan


def shares(scores: np.ndarray, rows: list[Judged], bound: float) -> dict[str, float]:
    """Shares of the true and of the false at or above ``bound``."""
    true = np.array([row.true for row in rows])
    known = ~np.isnan(scores)
    return {
        "true kept": round(float((scores[true & known] >= bound).mean()), 3),
        "false accepted": round(float((scores[~true & known] >= bound).mean()), 3),
    }


def of_signal(
    name: str, choose: list[Judged], show: list[Judged], sets: dict[str, Pairs], wrong: dict[str, Pairs]
) -> dict[str, Any]:
    """All figures of a signal; cost is CPU time of this process, models loaded."""
    signal = create_signal(name)
    pairs = [TextPair(*pair) for pair in sets["COCO, own"]]
    signal.measure(pairs[:8])  # loads what is loaded once
    if isinstance(signal, Encoding):
        signal.forget()
    started = time.process_time()
    signal.measure(pairs)
    cost = len(pairs) / max(time.process_time() - started, 1e-9)
    scores, true = values(name, show), np.array([row.true for row in show])
    best = scores[true]
    found: dict[str, Any] = {
        "auc": auc(best, scores[~true]),
        "auc by origin": {
            origin: auc(*(scores[(true == t) & [row.origin == origin for row in show]] for t in (True, False)))
            for origin in sorted({row.origin for row in show})
        },
        "at 5% false": shares(scores, show, bound_for(scores, show)),
        "bound of the other half": shares(scores, show, bound_for(values(name, choose), choose)),
        "texts a CPU-second": round(cost),
    }
    if name != "likelihood":
        own = {kind: on_pairs(name, pairs) for kind, pairs in sets.items()}
        found["auc, shuffled"] = {k: auc(own[f"{k}, own"], own[f"{k}, shuffled"]) for k in ("COCO", "CapsFusion")}
        good = values(name, [row for row in choose + show if row.true])
        found["auc, swapped"] = {kind: auc(good, on_pairs(name, pairs)) for kind, pairs in wrong.items()}
    return found


def together(choose: list[Judged], show: list[Judged]) -> dict[str, Any]:
    """A logistic model of all signals that need no image, fitted to the one half and shown on the other."""
    from sklearn.linear_model import LogisticRegression

    tables = [np.stack([values(name, rows) for name in TOGETHER], axis=1) for rows in (choose, show)]
    mean, spread = tables[0].mean(axis=0), tables[0].std(axis=0)
    model = LogisticRegression(C=0.1).fit((tables[0] - mean) / spread, [row.true for row in choose])
    scores, chosen = (model.decision_function((t - mean) / spread) for t in (tables[1], tables[0]))
    true = np.array([row.true for row in show])
    return {
        "of": list(TOGETHER),
        "auc": auc(scores[true], scores[~true]),
        "at 5% false": shares(scores, show, bound_for(scores, show)),
        "bound of the other half": shares(scores, show, bound_for(chosen, choose)),
    }


def gates(choose: list[Judged], signals: list[str]) -> list[str]:
    """The default gates, and what else a user may think of, with bounds from the half to choose on."""
    found = [RELATED, STRICT]
    for name in (name for name in ("words", "truth", "support", "worst-support") if name in signals):
        for share in (FALSE_SHARE, 0.2):
            found.append(f"{name}>={bound_for(values(name, choose), choose, share):.2f}")
    return list(dict.fromkeys(found))


def of_gate(spec: str, show: list[Judged], sets: dict[str, Pairs], wrong: dict[str, Pairs]) -> dict[str, Any]:
    """Shares that a gate lets pass."""
    gate = Gate(spec)

    def passed(pairs: list[TextPair]) -> float:
        return round(sum(refusal is None for refusal in gate.judge(pairs)) / max(1, len(pairs)), 4)

    by_truth = {
        name: passed([TextPair(r.caption, r.text, r.log_likelihood) for r in show if r.true == true])
        for name, true in (("true kept", True), ("false accepted", False))
    }
    others = {kind: passed([TextPair(*pair) for pair in pairs]) for kind, pairs in {**sets, **wrong}.items()}
    return {**by_truth, **others}


def curve(scores: np.ndarray, rows: list[Judged]) -> tuple[list[float], list[float]]:
    """False accepted and true kept at each score, from the highest on: equal ones pass together."""
    known = ~np.isnan(scores)
    true = np.array([row.true for row in rows])[known]
    bounds = np.unique(scores[known])[::-1]

    def passing(own: np.ndarray) -> list[float]:
        return ((len(own) - np.searchsorted(np.sort(own), bounds)) / max(1, len(own))).tolist()

    return passing(scores[known][~true]), passing(scores[known][true])


if __name__ == "__main__":
    main()

"""Does the rewriting model's own evidence, token by token, tell true rewrites from false ones better than ``truth``?

python -m benchmarks.quality.evidence_study evidence.jsonl

``evidence.jsonl`` comes from ``evidence.py``. For each group of features a logistic model and boosted trees (100
shallow ones) are fitted, their scores scaled and summed. All choices are made by cross-validation inside the training
part of each of ten folds; the texts of a caption stay together. The last 300 texts, which the
shipped rewriter's gate had let pass, took part in no choice. Intervals are of 500 bootstrap draws of captions. Writes
``benchmarks/results/quality_evidence.json`` and prints a table. WordNet is used if nltk finds it (``NLTK_DATA``).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.quality.evidence import AT_DEFAULTS
from benchmarks.quality.evidence_features import of_contrast, of_encoder, of_own_pass, of_relations, of_words
from laclip_aug.quality import truth
from laclip_aug.quality.checks import Candidate, reason_against
from laclip_aug.quality.signals import TextPair

OUT = Path(__file__).parent.parent / "results" / "quality_evidence.json"
GROUPS = {
    "truth": ("truth",),
    "words": ("words",),
    "words, likelihood": ("words", "likelihood"),
    "words, own pass": ("words", "own pass"),
    "words, encoder, relations": ("words", "encoder", "relations"),
    "words, own pass, contrast": ("words", "own pass", "contrast"),
    "all": ("words", "own pass", "contrast", "encoder", "relations"),
}
FALSE_SHARE, DRAWS = 0.05, 500

Numbers = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]


def main() -> None:
    """Fit, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evidence", type=Path)
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.evidence.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if reason_against(Candidate(row["caption"], row["text"])) is None]
    kept_back = np.array([row["origin"] == AT_DEFAULTS for row in rows])
    true = np.array([row["true"] for row in rows])
    captions = np.array([row["caption"].strip() for row in rows])
    kept_back_fresh = kept_back & ~np.isin(captions, captions[~kept_back])
    tables = features(rows)
    shipped = np.array(truth.Truth().measure([TextPair(row["caption"], row["text"]) for row in rows]))
    found: dict[str, Any] = {
        "truth, as it ships": {
            "cross-validated": figures(shipped[~kept_back], true[~kept_back], captions[~kept_back]),
            "never chosen on": figures(shipped[kept_back_fresh], true[kept_back_fresh], captions[kept_back_fresh]),
        }
    }
    base = None
    for name, parts in GROUPS.items():
        table = np.concatenate([tables[part] for part in parts], axis=1)
        mine, own = table[~kept_back], true[~kept_back]
        scores = nested(mine, own, captions[~kept_back])
        base = scores if base is None else base
        other = fitted_scores(mine, own, captions[~kept_back], table[kept_back_fresh])
        found[name] = {
            "features": table.shape[1],
            "cross-validated": figures(scores, own, captions[~kept_back], base),
            "never chosen on": figures(other, true[kept_back_fresh], captions[kept_back_fresh]),
        }
        print(line(name, found[name]), flush=True)
    counts = {
        "cross-validated": {"texts": int((~kept_back).sum()), "true": int(true[~kept_back].sum())},
        "never chosen on": {"texts": int(kept_back_fresh.sum()), "true": int(true[kept_back_fresh].sum())},
    }
    own_pass = np.concatenate([tables["words"], tables["own pass"]], axis=1)[~kept_back]
    fewer = learning(own_pass, true[~kept_back], captions[~kept_back])
    OUT.write_text(json.dumps({"texts": counts, "groups": found, "fitted on a share": fewer}, indent=1) + "\n")
    print(fewer)


def features(rows: list[dict[str, Any]]) -> dict[str, Numbers]:
    """Group → ``[rows, features]``."""

    def table(found: list[dict[str, float]]) -> Numbers:
        return np.array([list(one.values()) for one in found])

    return {
        "truth": table([truth.features(row["caption"], row["text"]) for row in rows]),
        "words": table([of_words(row) for row in rows]),
        "likelihood": np.array([[np.mean(row["after"]["caption"]["lp"])] for row in rows]),
        "own pass": table([of_own_pass(row) for row in rows]),
        "contrast": table([of_contrast(row) for row in rows]),
        "encoder": table(of_encoder(rows)),
        "relations": table([of_relations(row) for row in rows]),
    }


def models() -> Iterator[tuple[str, float]]:
    """What there is to choose from."""
    yield from (("logistic", strength) for strength in (0.003, 0.03, 0.3))
    yield from (("trees", depth) for depth in (2, 3))


def fitted(model: tuple[str, float], table: Numbers, true: Truths) -> Any:
    """The model, fitted."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kind, value = model
    if kind == "logistic":
        return make_pipeline(StandardScaler(), LogisticRegression(C=value, max_iter=2000)).fit(table, true)
    trees = GradientBoostingClassifier(
        n_estimators=100, max_depth=int(value), learning_rate=0.06, subsample=0.6, max_features="sqrt",
        min_samples_leaf=10, random_state=0,
    )  # fmt: skip
    return trees.fit(table, true)


def folds(captions: npt.NDArray[Any], number: int, seed: int) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Places to fit on and to score, the texts of a caption together."""
    names, at = np.unique(captions, return_inverse=True)
    fold = np.random.default_rng(seed).integers(0, number, len(names))[at]
    yield from ((np.flatnonzero(fold != part), np.flatnonzero(fold == part)) for part in range(number))


def chosen(table: Numbers, true: Truths, captions: npt.NDArray[Any]) -> list[tuple[str, float]]:
    """The best logistic model and the best trees, by AUC and by the share kept, in three folds of this part."""

    def worth(model: tuple[str, float]) -> float:
        scores = np.zeros(len(true))
        for fit, show in folds(captions, 3, 1):
            scores[show] = fitted(model, table[fit], true[fit]).decision_function(table[show])
        return auc(scores, true) + kept(scores, true)

    worths = {model: worth(model) for model in models()}
    return [max((m for m in worths if m[0] == kind), key=worths.__getitem__) for kind in ("logistic", "trees")]


def fitted_scores(table: Numbers, true: Truths, captions: npt.NDArray[Any], other: Numbers) -> Numbers:
    """Scores of ``other``, by models chosen and fitted on ``table``."""
    found = np.zeros(len(other))
    for model in chosen(table, true, captions):
        ready = fitted(model, table, true)
        found += ready.decision_function(other) / ready.decision_function(table).std()
    return found


def nested(table: Numbers, true: Truths, captions: npt.NDArray[Any]) -> Numbers:
    """Scores of all rows, each by models that were chosen and fitted without its fold."""
    scores = np.zeros(len(true))
    for fit, show in folds(captions, 10, 0):
        scores[show] = fitted_scores(table[fit], true[fit], captions[fit], table[show])
    return scores


def learning(table: Numbers, true: Truths, captions: npt.NDArray[Any]) -> dict[str, list[float]]:
    """Share of the captions that a logistic model is fitted on → AUC and share kept: would more verdicts help?"""
    found = {}
    for share in (0.25, 0.5, 1.0):
        scores = np.zeros(len(true))
        for fit, show in folds(captions, 10, 0):
            names = np.unique(captions[fit])
            some = np.random.default_rng(0).permutation(names)[: round(share * len(names))]
            rows = fit[np.isin(captions[fit], some)]
            scores[show] = fitted(("logistic", 0.03), table[rows], true[rows]).decision_function(table[show])
        found[f"{share:.0%}"] = [round(auc(scores, true), 3), round(kept(scores, true), 3)]
    return found


def auc(scores: Numbers, true: Truths) -> float:
    """Share of (true, false) pairs in the right order."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(true, scores))


def kept(scores: Numbers, true: Truths, share: float = FALSE_SHARE) -> float:
    """Share of the true above the bound that accepts at most ``share`` of the false."""
    false = np.sort(scores[~true])[::-1]
    return float((scores[true] > false[int(share * len(false))]).mean())


def figures(scores: Numbers, true: Truths, captions: npt.NDArray[Any], base: Numbers | None = None) -> dict[str, Any]:
    """AUC, share kept at 5% false and false accepted at 80% and 90% kept, intervals; the gain in kept over ``base``."""
    names, at = np.unique(captions, return_inverse=True)
    own = [np.flatnonzero(at == number) for number in range(len(names))]
    draw, drawn = np.random.default_rng(0), []
    for _ in range(DRAWS):
        rows = np.concatenate([own[number] for number in draw.integers(0, len(own), len(own))])
        values = [auc(scores[rows], true[rows]), kept(scores[rows], true[rows])]
        drawn.append([*values, values[1] - (0 if base is None else kept(base[rows], true[rows]))])
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0).round(3).tolist()
    found = {
        "auc": [round(auc(scores, true), 3), low[0], high[0]],
        "kept at 5%": [round(kept(scores, true), 3), low[1], high[1]],
        "false at 80% kept": round(float((scores[~true] >= np.quantile(scores[true], 0.2)).mean()), 3),
        "false at 90% kept": round(float((scores[~true] >= np.quantile(scores[true], 0.1)).mean()), 3),
    }
    return found if base is None else {**found, "gain": [low[2], high[2]]}


def line(name: str, found: dict[str, Any]) -> str:
    """A row of the table."""
    cells = [name, str(found["features"])]
    for part in ("cross-validated", "never chosen on"):
        own = found[part]
        cells += [f"{v[0]:.{d}f} ({v[1]:.{d}f}–{v[2]:.{d}f})" for v, d in ((own["auc"], 3), (own["kept at 5%"], 2))]
        cells += [f"{own['false at 90% kept']:.0%}"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()

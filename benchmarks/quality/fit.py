"""Fit the weights of the signals ``truth`` and ``sound`` to judged rewrites: ``python -m benchmarks.quality.fit``.

Logistic models with a ridge penalty, on captions that are in the half to choose on: ``truth`` on the rows of
``judged.jsonl`` that the attribute rules let pass, ``sound`` on the shipped rewriter's draws of ``fresh.jsonl``. Writes
``truth.json`` and ``sound.json`` in ``laclip_aug/quality`` and prints AUCs, of ten folds by caption.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.quality import fresh, judged
from benchmarks.quality.halves import to_choose_on
from laclip_aug.quality import sound, truth

PENALTY = 0.1


def main() -> None:
    """Fit and write."""
    own = [row for row in fresh.rows_of("third") if to_choose_on(row["caption"])]
    if not own:
        raise SystemExit(f"{fresh.FILE} has no text of the shipped rewriter; draw some (draws.py) and have them read")
    rows = [row for row in judged.judged() if to_choose_on(row.caption) and row.passes_rules]
    looked_at = [truth.features(row.caption, row.text) for row in rows]
    write(truth.FILE, [row.caption for row in rows], looked_at, [row.true for row in rows], "true")
    looked_at = [sound.features(pair) for pair in fresh.pairs(own)]
    write(sound.FILE, [row["caption"] for row in own], looked_at, [judged.sound(row) for row in own], "sound")


def write(
    file: Path, captions: Sequence[str], looked_at: Sequence[Mapping[str, float]], goal: list[bool], what: str
) -> None:
    """Fit to ``goal``, and write the weights of the features as they are."""
    names = list(looked_at[0])
    table = np.array([[row[name] for name in names] for row in looked_at])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=1000))
    guessed = cross_val_predict(model, table, goal, groups=captions, cv=GroupKFold(10), method="predict_proba")[:, 1]
    scaler, logistic = (step for _, step in model.fit(table, goal).steps)
    weights = logistic.coef_[0] / scaler.scale_
    fitted = {
        "features": names,
        "weights": [round(float(weight), 4) for weight in weights],
        "bias": round(float(logistic.intercept_[0] - scaler.mean_ @ weights), 4),
        "fitted_to": f"{len(captions)} judged rewrites, {sum(goal)} of them {what}",
    }
    file.write_text(json.dumps(fitted, indent=1) + "\n", encoding="ascii")
    print(f"{file.name}: {fitted['fitted_to']}, AUC {roc_auc_score(goal, guessed):.3f}")


if __name__ == "__main__":
    main()

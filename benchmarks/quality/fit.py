"""Fit the weights of the signal ``truth`` to judged rewrites: ``python -m benchmarks.quality.fit``.

A logistic model with a ridge penalty on the rows of ``judged.jsonl`` whose captions are in the half to choose on, and
which the attribute rules let pass. Writes ``laclip_aug/quality/truth.json``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks.quality.halves import to_choose_on
from benchmarks.quality.judged import judged
from laclip_aug.quality import truth

PENALTY = 0.1


def main() -> None:
    """Fit and write."""
    from sklearn.linear_model import LogisticRegression

    rows = [row for row in judged() if to_choose_on(row.caption) and row.passes_rules]
    looked_at = [truth.features(row.caption, row.text) for row in rows]
    names = list(looked_at[0])
    table = np.array([[row[name] for name in names] for row in looked_at])
    mean, spread = table.mean(axis=0), table.std(axis=0)
    model = LogisticRegression(C=PENALTY).fit((table - mean) / spread, [row.true for row in rows])
    weights = model.coef_[0] / spread
    fitted = {
        "features": names,
        "weights": [round(float(weight), 4) for weight in weights],
        "bias": round(float(model.intercept_[0] - mean @ weights), 4),
        "fitted_to": f"{len(rows)} judged rewrites, {sum(row.true for row in rows)} of them true",
    }
    truth.FILE.write_text(json.dumps(fitted, indent=1) + "\n", encoding="ascii")
    print(Path(truth.FILE).read_text(encoding="ascii"))


if __name__ == "__main__":
    main()

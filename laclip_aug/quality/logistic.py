"""Logistic models whose weights, fitted by ``benchmarks/quality/fit.py``, lie beside the code as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

_MOST = 30.0  # beyond that a float is 0 or 1 as far as a gate can see


class Logistic:
    """The model in ``file``: a name and a weight for each feature, and a bias.

    ``content_hash`` is the first half of the SHA-256 of these, in hexadecimal.
    """

    def __init__(self, file: Path) -> None:
        fitted = json.loads(file.read_text(encoding="ascii"))
        numbers = [fitted["features"], fitted["weights"], fitted["bias"]]
        self.content_hash = hashlib.sha256(json.dumps(numbers).encode()).hexdigest()[:16]
        self._names: list[str] = fitted["features"]
        self._weights, self._bias = np.array(fitted["weights"]), float(fitted["bias"])

    def probabilities(self, rows: Sequence[Mapping[str, float]]) -> list[float]:
        """1 / (1 + exp(-(weights · features + bias))) of each row."""
        if not rows:
            return []
        logits = np.array([[row[name] for name in self._names] for row in rows]) @ self._weights + self._bias
        return [float(number) for number in 1 / (1 + np.exp(-np.clip(logits, -_MOST, _MOST)))]

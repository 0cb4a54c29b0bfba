"""What an evaluation found: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from laclip_aug import openclip
from laclip_aug.version import __version__


@dataclass(frozen=True)
class Result:
    """The figures of one protocol on one data set.

    Attributes:
        protocol: its name; ``protocol_version`` its version.
        data: the data set's name, its version and what identifies the images.
        metrics: in percent, but for what says otherwise.
        seed: of what was drawn at random; None if nothing was.
        counts: images, texts, classes.
        left_out: what of the data is not in the figures, by reason.
    """

    protocol: str
    protocol_version: int
    data: dict[str, Any]
    metrics: dict[str, float]
    counts: dict[str, int]
    left_out: dict[str, int]
    seed: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def as_json(model: dict[str, str], results: Sequence[Result]) -> str:
    """One document: versions, the model, the results."""
    document = {
        "laclip_aug": __version__,
        "open_clip": openclip.installed_version(),
        "model": model,
        "results": [asdict(result) for result in results],
    }
    return json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def table(results: Sequence[Result]) -> str:
    """A line for each figure."""
    rows = [("data", "protocol", "images", "figure", "value")]
    for result in results:
        name = f"{result.protocol} v{result.protocol_version}"
        for figure, value in result.metrics.items():
            number = f"{value:.3g}" if figure.startswith("C") else f"{value:.2f}"
            rows.append((result.data["name"], name, str(result.counts.get("images", "")), figure, number))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = []
    last: tuple[str, ...] = ()
    for row in rows:
        head = tuple("" for _ in range(3)) if row[:3] == last else row[:3]
        last = row[:3]
        cells = [*(cell.ljust(width) for cell, width in zip((*head, row[3]), widths[:4], strict=True))]
        lines.append("  ".join([*cells, row[4].rjust(widths[4])]).rstrip())
    return "\n".join(lines)

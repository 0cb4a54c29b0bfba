"""The table of an ablation, in Markdown, which reads well on a terminal too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from laclip_aug.evaluation.ablation.config import PLAIN
from laclip_aug.evaluation.ablation.grid import Arm, Cell
from laclip_aug.evaluation.ablation.statistics import Difference, Summary, paired, summary
from laclip_aug.evaluation.recipes import Published

_FEW = 5
_PAPER_NAMES = {"llm": "laclip", "eda": "eda", "back-translation": "back-translation"}


@dataclass(frozen=True)
class Row:
    """One group of runs in the table of one figure. ``difference`` is to the row without augmented texts."""

    model: str
    encoder: str
    arm: Arm
    values: dict[int, float]
    summary: Summary
    difference: Difference | None
    paper: float | None


def rows_of(found: Mapping[Cell, Mapping[str, float]], published: Published) -> dict[str, list[Row]]:
    """By figure, a row for each group that has it. Compared is what differs in its texts alone.

    Args:
        found: the figures of each finished cell.
        published: the paper's.
    """
    names = dict.fromkeys(name for figures in found.values() for name in figures)
    tables: dict[str, list[Row]] = {}
    for name in names:
        groups: dict[tuple[str, str, Arm], dict[int, float]] = {}
        for cell, figures in found.items():
            if name in figures:
                groups.setdefault(cell.group, {})[cell.seed] = figures[name]
        rows = []
        for (model, encoder, arm), values in groups.items():
            base = groups.get((model, encoder, Arm("none")), {})
            difference = None if arm.mode == "none" else paired(values, base)
            rows.append(
                Row(model, encoder, arm, values, summary(list(values.values())), difference, paper(arm, published))
            )
        tables[name] = rows
    return tables


def paper(arm: Arm, published: Published) -> float | None:
    """What the paper has for such texts; None where it has nothing, as for laclip-mt."""
    if arm.mode == "none":
        return published.none
    if arm.mode == "laclip-mt":
        return None
    return published.by_texts.get(_PAPER_NAMES.get(arm.kind, ""), {}).get(arm.texts)


def as_json(tables: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """The rows, as JSON takes them."""
    return {name: [asdict(row) for row in rows] for name, rows in tables.items()}


def markdown(tables: Mapping[str, Sequence[Row]], published: Published, seeds: Sequence[int]) -> str:
    """A table for each figure, and what the columns mean."""
    parts = []
    every = [row for rows in tables.values() for row in rows]
    models = len({row.model for row in every}) > 1
    encoders = any(row.encoder != PLAIN for row in every)
    for name, rows in tables.items():
        head = ["mode", "cache", "texts", name, "runs", "difference to none (95%)", "paper¹"]
        lines = [_cells(row) for row in rows]
        if encoders:
            head = ["text encoder", *head]
            lines = [[row.encoder, *line] for row, line in zip(rows, lines, strict=True)]
        if models:
            head = ["model", *head]
            lines = [[row.model, *line] for row, line in zip(rows, lines, strict=True)]
        parts.append(_aligned(head, lines))
    notes = ["Mean ± sample deviation over seeds; differences are paired by seed, with bootstrap intervals over seeds."]
    if len(seeds) < _FEW:
        notes.append(
            f"Of {len(seeds)} seed{'s' * (len(seeds) > 1)} an interval spans little more than the differences "
            "themselves; five or more tell more."
        )
    notes.append(f"¹ Published, for orientation: {published.title}. Another data set and scale than here.")
    return "\n\n".join([*parts, "\n".join(notes)])


def _cells(row: Row) -> list[str]:
    found = f"{row.summary.mean:.2f}"
    if row.summary.deviation is not None:
        found += f" ± {row.summary.deviation:.2f}"
    difference = ""
    if row.difference is not None:
        difference = f"{row.difference.mean:+.2f}"
        if row.difference.interval is not None:
            difference += " [{:+.2f}, {:+.2f}]".format(*row.difference.interval)
        if row.difference.count < row.summary.count:
            difference += f" of {row.difference.count}"
    texts = str(row.arm.texts)
    published = "" if row.paper is None else f"{row.paper:.1f}"
    return [row.arm.mode, row.arm.cache, texts, found, str(row.summary.count), difference, published]


def _aligned(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    clean = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in [head, *lines]]
    widths = [max(len(line[column]) for line in clean) for column in range(len(head))]
    rows = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |" for line in clean]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([rows[0], rule, *rows[1:]])

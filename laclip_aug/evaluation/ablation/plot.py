"""The plot of an ablation: each figure against the number of texts, a line for each way to make them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from laclip_aug.errors import MissingExtraError
from laclip_aug.evaluation.ablation.config import PLAIN
from laclip_aug.evaluation.ablation.table import Row

_COLUMNS = 3
_SIZE = (4.6, 3.4)
_MOST = 12


def png(tables: Mapping[str, Sequence[Row]]) -> bytes:
    """A panel for each figure, the first twelve; bars are sample deviations over seeds.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("plot", "matplotlib") from error
    names = list(tables)[:_MOST]
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(_SIZE[0] * columns, _SIZE[1] * rows + 0.5), layout="constrained")
    lines: dict[str, Any] = {}
    for place, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, place + 1)
        lines |= _draw(axes, tables[name])
        axes.set_title(name, fontsize=9, parse_math=False)
        axes.set_xlabel("augmented texts per caption", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
    legend = figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    sink = io.BytesIO()
    FigureCanvasAgg(figure).print_png(sink)
    return sink.getvalue()


def label(row: Row) -> str:
    """What a line of the plot is called."""
    words = [row.arm.mode, row.arm.cache, row.model, "" if row.encoder == PLAIN else row.encoder]
    return " · ".join(word for word in words if word)


def _draw(axes: Any, rows: Sequence[Row]) -> dict[str, Any]:
    """A line for each group with other numbers of texts; each starts at the runs without augmented texts."""
    plain = {(row.model, row.encoder): row for row in rows if row.arm.mode == "none"}
    curves: dict[str, list[Row]] = {}
    for row in rows:
        if row.arm.mode != "none":
            start = [plain[row.model, row.encoder]] if (row.model, row.encoder) in plain else []
            curves.setdefault(label(row), start).append(row)
    for row in plain.values():
        curves.setdefault(label(row), [row])
    lines = {}
    for number, (name, points) in enumerate(sorted(curves.items())):
        points = sorted(points, key=lambda row: row.arm.texts)
        marker = "s" if len(points) == 1 else "o"
        lines[name] = axes.errorbar(
            [row.arm.texts for row in points],
            [row.summary.mean for row in points],
            yerr=[row.summary.deviation or 0.0 for row in points],
            marker=marker,
            markersize=4,
            capsize=2,
            linewidth=1.2,
            color=f"C{number % 10}",
        )
    axes.set_xticks(sorted({row.arm.texts for row in rows}))
    return lines

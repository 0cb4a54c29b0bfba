"""The plots of a report, each an SVG image as a ``data:`` address; nothing in such an image can run.

Names and words come from captions and imports: they are shown as they are, never read as mathematics, and what no XML
may hold is replaced.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from laclip_aug.errors import MissingExtraError

INK, QUIET, WARN = "#22313f", "#8a97a3", "#b5482a"
COLOURS = ("#2f6f9f", "#c98b2b", "#4f8f5b", "#8a5a9e", "#5f6b77", "#a8553f", "#3f9a98", "#a3a13a")
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}
_NAME = 24


def plots_of(report: Mapping[str, Any]) -> dict[str, str]:
    """``lengths``, ``plane``, ``rejections``, ``words`` and, for each signal, ``signal:NAME``, where there is data.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    found = {"lengths": _image("lengths", (8.4, 3.2), partial(_lengths, lengths=report["lengths"]))}
    if report["sample"]["texts"]:
        found["plane"] = _image("plane", (6.0, 4.4), partial(_plane, plane=report["plane"]))
    for name, signal in report["signals"].items():
        if sum(signal["accepted"]) + sum(signal["refused"]):
            found[f"signal:{name}"] = _image(name, (4.6, 2.9), partial(_signal, name=name, signal=signal))
    if reasons := report["rejections"]:
        size = (8.4, 1.2 + 0.28 * len(reasons))
        found["rejections"] = _image("rejections", size, partial(_rejections, reasons=reasons))
    for side, colour in (("gained", COLOURS[0]), ("lost", COLOURS[1])):
        if words := report["words"][side]:
            size = (4.1, 0.8 + 0.2 * len(words))
            found[side] = _image(side, size, partial(_words, words=words, colour=colour))
    return found


def printable(name: str) -> str:
    """``name`` as a label: one line, short, without control characters."""
    plain = "".join(c if c.isprintable() else " " for c in name).strip() or "?"
    return plain if len(plain) <= _NAME else plain[: _NAME - 1] + "…"


def _image(name: str, size: tuple[float, float], draw: Callable[[Any], None]) -> str:
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("plot", "matplotlib") from error
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the browser's fonts draw the letters
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        sink = io.StringIO()
        FigureCanvasSVG(figure).print_svg(sink, metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(sink.getvalue().encode()).decode("ascii")


def _legend(axes: Any, labels: Sequence[str], handles: Sequence[Any], **options: Any) -> None:
    # matplotlib hides a label that starts with an underscore
    axes.legend(handles, [f" {label}" if label.startswith("_") else label for label in labels], fontsize=9, **options)


def _lengths(axes: Any, lengths: Mapping[str, Any]) -> None:
    edges = lengths["edges"]
    groups = {"captions": lengths["captions"], **{printable(n): g for n, g in lengths["texts"].items()}}
    handles = []
    for place, group in enumerate(groups.values()):
        share = 100 * np.array(group["counts"]) / max(1, sum(group["counts"]))
        colour = INK if place == 0 else COLOURS[(place - 1) % len(COLOURS)]
        handles.append(axes.stairs(share, edges, color=colour, linewidth=1.8, fill=False))
        if place == 0:
            axes.stairs(share, edges, color=colour, alpha=0.12, fill=True)
    axes.axvline(lengths["context"], color=WARN, linestyle="--", linewidth=1)
    axes.annotate(
        f"the model reads {lengths['context']} ", (lengths["context"], 0.97), xycoords=("data", "axes fraction"),
        ha="right", va="top", color=WARN, fontsize=9,
    )  # fmt: skip
    axes.set(xlabel="CLIP tokens, start and end included", ylabel="share of texts (%)", xlim=(0, edges[-1]))
    _legend(axes, list(groups), handles)


def _plane(axes: Any, plane: Mapping[str, Any]) -> None:
    counts = np.array(plane["counts"], dtype=float).T
    counts[counts == 0] = np.nan  # not drawn
    most = float(np.nanmax(counts))
    # from below zero, so that a cell with one text is seen
    mesh = axes.pcolormesh(plane["novelty"], plane["words"], counts, cmap="Blues", vmin=-0.15 * most, vmax=most)
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.02)
    bar.set_label("texts")
    bar.ax.set_ylim(0, most)
    axes.set(
        xlabel="novelty: 0 says it in the caption's words, 1 in others",
        ylabel="faithfulness (words): 1 keeps all, adds nothing",
        xlim=(0, 1),
        ylim=(-1, 1),
    )
    axes.grid(color=QUIET, alpha=0.25, linewidth=0.6)


def _signal(axes: Any, name: str, signal: Mapping[str, Any]) -> None:
    handles = [axes.stairs(signal["accepted"], signal["edges"], fill=True, color=COLOURS[0], alpha=0.75)]
    labels = ["accepted"]
    if any(signal["refused"]):
        handles.append(axes.stairs(signal["refused"], signal["edges"], color=WARN, linewidth=1.6))
        labels.append("refused by the gate")
    for bound in signal["bounds"]:
        sign = "≥" if bound["at_least"] else "≤"
        handles.append(axes.axvline(bound["bound"], color=INK, linestyle="--", linewidth=1.4))
        labels.append(f"gate: {sign} {bound['bound']:g}")
    axes.set(xlabel=printable(name), ylabel="texts")
    _legend(axes, labels, handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, columnspacing=1, handlelength=1.4)


def _rejections(axes: Any, reasons: Mapping[str, Mapping[str, int]]) -> None:
    sources = sorted({source for own in reasons.values() for source in own})
    left = np.zeros(len(reasons))
    handles = []
    for place, source in enumerate(sources):
        numbers = np.array([own.get(source, 0) for own in reasons.values()])
        colour = COLOURS[place % len(COLOURS)]
        handles.append(axes.barh(range(len(reasons)), numbers, left=left, height=0.7, color=colour))
        left += numbers
    axes.set_yticks(range(len(reasons)), [printable(reason) for reason in reasons])
    axes.set(xlabel="refused attempts in the sample")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylim(len(reasons) - 0.4, -0.6)
    _legend(axes, [printable(source) for source in sources], handles, loc="upper left", bbox_to_anchor=(1, 1))


def _words(axes: Any, words: Sequence[Sequence[Any]], colour: str) -> None:
    axes.barh(range(len(words)), [number for _, number in words], color=colour)
    axes.set_yticks(range(len(words)), [printable(word) for word, _ in words])
    axes.invert_yaxis()
    axes.margins(y=0.02)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="texts of the sample")

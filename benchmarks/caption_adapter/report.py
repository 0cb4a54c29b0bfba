"""Results as files: figures against the bars, the loss, and what a reader said of samples."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLUMNS = ("fidelity", "novelty", "identical", "changed", "lost", "names_kept", "distinct", "words")
NAME = "caption_adapter"


def bars(figures: dict[str, Any]) -> list[tuple[str, str, float, bool]]:
    """(what, bar, measured, whether it holds)."""
    rows = []
    for name, one in figures.items():
        own = one["rewriter"]
        for what, share in (("fidelity", 0.90), ("novelty", 0.65)) if "person" in one else ():
            bar = share * one["person"][what]
            rows.append((f"{name}: {what}", f"≥ {share:.2f} of a person's: {bar:.3f}", own[what], own[what] >= bar))
        changed, distinct, share = own["changed"], own["distinct"], own["accepted_of_completions"]
        rows.append((f"{name}: number or colour changed or added", "< 0.01", changed, changed < 0.01))
        rows.append((f"{name}: different of 4", "≥ 3.7", distinct, distinct >= 3.7))
        rows.append((f"{name}: completions accepted", "≥ 0.5", share, share >= 0.5))
    return rows


def curve(logs: Sequence[Path], out: Path) -> None:
    """The training loss of all rounds, one after another, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3.5))
    seen = 0.0
    for log in logs:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        x, y, mean = [], [], lines[0]["loss"]
        for line in lines:
            seen += line["scored"] / 1000
            mean += 0.08 * (line["loss"] - mean)
            x.append(seen)
            y.append(mean)
        axes.plot(x, y, label=log.parent.name)
    axes.set_xlabel("rewrite tokens scored, thousands")
    axes.set_ylabel("loss, nats a token (running mean)")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(out, dpi=90)
    pyplot.close(figure)


def table(figures: dict[str, Any]) -> list[str]:
    """Rewriter, a person and the caption itself, side by side."""
    lines = ["| set | text | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name, one in figures.items():
        for who in ("rewriter", "person", "caption"):
            if who in one:
                lines.append(f"| {name} | {who} | " + " | ".join(f"{one[who][c]:.3f}" for c in COLUMNS) + " |")
    return lines


def write(figures: dict[str, Any], logs: Sequence[Path], out: Path, preface: str = "") -> None:
    """Fill ``out`` with ``caption_adapter.{md,json,png}``, the last if there are ``logs``."""
    if logs:
        curve(logs, out / f"{NAME}.png")
    plain = {name: {who: one[who] for who in one if who != "texts"} for name, one in figures.items()}
    (out / f"{NAME}.json").write_text(json.dumps(plain, indent=1) + "\n")
    text = [
        "# Caption adapter",
        "",
        preface.strip(),
        "",
        "## Bars",
        "",
        "| what | bar | measured | |",
        "|---|---|---|---|",
    ]
    for what, bar, measured, holds in bars(figures):
        text.append(f"| {what} | {bar} | {measured:.3f} | {'holds' if holds else '**missed**'} |")
    text += ["", "## Side by side", "", *table(figures), "", "## Refused completions", ""]
    for name, one in figures.items():
        own = one["rewriter"]
        reasons = ", ".join(f"{reason} {count}" for reason, count in own["rejections"].items())
        size = own["tokens_per_completion"]
        text.append(f"- {name}: {own['filled']:.3f} of the places filled, {size:.1f} tokens a completion; {reasons}.")
    text += ["", *([f"![loss]({NAME}.png)", ""] if logs else [])]
    (out / f"{NAME}.md").write_text("\n".join(text), encoding="utf-8")


def verdicts(path: Path) -> str:
    """What a reader said of the lines of a file ``{"caption", "strategy", "text", "verdict"}``, in a line."""
    counts = Counter(json.loads(line)["verdict"] for line in path.read_text(encoding="utf-8").splitlines())
    faults = ", ".join(f"{name} {n}" for name, n in counts.most_common() if name != "ok")
    return f"{path.stem}: {counts['ok']} of {sum(counts.values())} are sound English and say nothing false; {faults}"

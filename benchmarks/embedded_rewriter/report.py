"""Write the results of a run: bars with their measured values, the table, the training curve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.embedded_rewriter.evaluate import table


def bars(report: dict[str, Any]) -> list[tuple[str, str, float, float, bool]]:
    """(what, bar in words, bar, measured, whether reached) for each bar of the project."""
    rows = []
    for name in ("coco", "multi30k"):
        own, human = report[name]["rewriter"], report[name]["human"]
        for what, share in (("fidelity", 0.8), ("novelty", 0.6)):
            bar = share * human[what]
            rows.append((f"{name}: {what}", f"at least {share} of human", bar, own[what], own[what] >= bar))
        rows.append((f"{name}: acceptance", "at least", 0.9, own["acceptance"], own["acceptance"] >= 0.9))
        rows.append((f"{name}: distinct accepted of 4", "at least", 3.3, own["distinct"], own["distinct"] >= 3.3))
        rows.append(
            (f"{name}: number or colour changed or added", "under", 0.03, own["changed"], own["changed"] < 0.03)
        )
    accepted = report["cc3m"]["acceptance"]
    rows.append(("cc3m: acceptance", "at least", 0.7, accepted, accepted >= 0.7))
    return rows


def curve(log: Path, out: Path) -> None:
    """The training loss over scored tokens, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    figure, axes = pyplot.subplots(figsize=(7, 3.5))
    axes.plot([line["scored"] / 1e6 for line in lines], [line["loss"] for line in lines], linewidth=1)
    axes.set_xlabel("target tokens scored, millions")
    axes.set_ylabel("loss per target token, nats")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(out, dpi=90)
    pyplot.close(figure)


def write(figures: Path, log: Path, results: Path, preface: str = "") -> None:
    """Fill ``results`` with ``embedded_rewriter.{md,json,png}`` and the log."""
    report = json.loads(figures.read_text(encoding="utf-8"))
    results.mkdir(parents=True, exist_ok=True)
    curve(log, results / "embedded_rewriter.png")
    (results / "embedded_rewriter_log.jsonl").write_text(log.read_text())
    (results / "embedded_rewriter.json").write_text(
        json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    text = [
        "# Embedded rewriter",
        "",
        preface.strip(),
        "",
        "## Bars",
        "",
        "| what | bar | value | measured | |",
        "|---|---|---|---|---|",
    ]
    for what, words, bar, measured, reached in bars(report):
        text.append(f"| {what} | {words} | {bar:.3f} | {measured:.3f} | {'reached' if reached else '**missed**'} |")
    text += ["", "## Side by side", "", table(report), "", "## Rejections and speed", ""]
    for name, row in (
        ("coco", report["coco"]["rewriter"]),
        ("multi30k", report["multi30k"]["rewriter"]),
        ("cc3m", report["cc3m"]),
    ):
        reasons = ", ".join(f"{reason} {count}" for reason, count in row["rejections"].items())
        text.append(
            f"- {name}: {row['captions_per_second']:.2f} captions/s by the clock, "
            f"{row['captions_per_cpu_second']:.2f} per CPU second, four rewrites each; refused completions: {reasons}."
        )
    text += ["", "![training loss](embedded_rewriter.png)", "", "## Forty alt-texts of CC3M and their rewrites", ""]
    for source, *texts in report["cc3m"]["sample"]:
        text.append(f"- {_plain(source)}")
        text += [f"  - {_plain(made)}" for made in texts]
    (results / "embedded_rewriter.md").write_text("\n".join(text) + "\n", encoding="utf-8")


def _plain(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*")

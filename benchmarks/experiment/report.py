"""Tables, plots and the README's table of the experiment's runs, as far as they are there.

    python -m benchmarks.experiment.report --out experiment-out

keeps what has been found there and makes the rest from all that is kept; ``--out`` may be left out. ``--readme`` writes
the README's table too.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.experiment.record import RESULTS, by_epochs, collect, kept
from benchmarks.experiment.run import EPOCHS
from laclip_aug.evaluation.ablation import plot, table
from laclip_aug.evaluation.ablation.grid import Cell
from laclip_aug.evaluation.ablation.statistics import paired, summary
from laclip_aug.evaluation.recipes import PUBLISHED, load_recipe

README = Path(__file__).parents[2] / "README.md"
MARKS = ("<!-- experiment: made by python -m benchmarks.experiment.report -->", "<!-- /experiment -->")
NAMES = {
    ("none", ""): "none",
    ("eda", "eda"): "EDA",
    ("back-translation", "back-translation"): "back-translation (embedded pair)",
    ("laclip", "verdicts"): "small LLM (SmolLM2, tuned on verdicts), default gate",
    ("laclip", "stricter"): "the same, `sound>=0.75`",
    ("laclip", "llm"): "small LLM before its verdicts, default gate of then",
    ("laclip", "ungated"): "the same without gate",
    ("laclip", "human"): "human captions",
    ("laclip-mt", "llm"): "small LLM before its verdicts, all texts at once (`laclip-mt`)",
    ("laclip-mt", "human"): "human captions, all at once (`laclip-mt`)",
}
Figures = dict[Cell, dict[str, float]]
SHORT = (
    "text → image R@5",
    "text → image R@10",
    "image → text R@10",
    "ImageNet groups zero-shot",
    "CIFAR-10 linear probe",
)


def by_arm(found: Figures, shown: str) -> dict[tuple[str, str, int], dict[int, float]]:
    """Of one figure, by mode, cache and number of texts the value of each seed."""
    arms: dict[tuple[str, str, int], dict[int, float]] = {}
    for cell, figures in found.items():
        if shown in figures:
            arms.setdefault((cell.arm.mode, cell.arm.cache, cell.arm.texts), {})[cell.seed] = figures[shown]
    return arms


def readme_table(found: Figures) -> str:
    """The main arms: mean ± deviation over seeds, and the difference to none by seed with its interval.

    The number of seeds stands behind a figure that fewer runs have than the first one.
    """
    shown = SHORT
    columns = {name: by_arm(found, name) for name in shown}
    lines = [["texts", "seeds", *shown, f"{shown[0]}: more than none (95%)"]]
    for (mode, cache), name in NAMES.items():
        row = [name, ""]
        for figure in shown:
            arms = {arm: values for arm, values in columns[figure].items() if arm[:2] == (mode, cache)}
            values = arms[max(arms, key=lambda arm: arm[2])] if arms else {}
            row[1] = row[1] or str(len(values) or "")
            fewer = f" ({len(values)})" if values and str(len(values)) != row[1] else ""
            row.append(spread(list(values.values())) + fewer)
        base = columns[shown[0]].get(("none", "", 0), {})
        mine = {arm: values for arm, values in columns[shown[0]].items() if arm[:2] == (mode, cache)}
        difference = paired(mine[max(mine, key=lambda arm: arm[2])], base) if mine and mode != "none" else None
        interval = difference.interval if difference else None
        row.append(f"{difference.mean:+.2f}" if difference else "")
        row[-1] += " [{:+.2f}, {:+.2f}]".format(*interval) if interval else ""
        if mine:
            lines.append(row)
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(values: Sequence[float]) -> str:
    """Mean ± sample deviation."""
    if not values:
        return ""
    found = summary(values)
    return f"{found.mean:.2f}" + (f" ± {found.deviation:.2f}" if found.deviation is not None else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where the experiment ran")
    parser.add_argument("--readme", action="store_true", help="write the README's table")
    args = parser.parse_args()
    if args.out:
        collect(args.out.resolve())
    published = load_recipe(PUBLISHED).published
    parts, main_table = [], ""
    for epochs, found in sorted(by_epochs(kept()).items(), reverse=True):
        tables = table.rows_of(found, published)
        seeds = sorted({cell.seed for cell in found})
        parts.append(f"## {epochs} epochs\n\n{table.markdown(tables, published, seeds)}\n")
        if epochs == EPOCHS:
            (RESULTS / "plot.png").write_bytes(plot.png(tables))
            main_table = readme_table(found)
    (RESULTS / "table.md").write_text("# Every arm of the experiment\n\n" + "\n".join(parts), encoding="utf-8")
    print(main_table)
    if args.readme:
        text = README.read_text(encoding="utf-8")
        between = re.compile(re.escape(MARKS[0]) + ".*?" + re.escape(MARKS[1]), re.DOTALL)
        new = f"{MARKS[0]}\n{main_table}\n{MARKS[1]}"
        README.write_text(between.sub(lambda _: new, text), encoding="utf-8")


if __name__ == "__main__":
    main()

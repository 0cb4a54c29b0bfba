"""Tables, plots and the README's table of the experiment's runs, as far as they are there.

    python -m benchmarks.experiment.report --out experiment-out

copies the JSON of each part to ``benchmarks/results/experiment/`` and makes the rest from what lies there; without
``--out`` it makes the rest again from what was kept. ``--readme`` writes the README's table too.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.experiment.run import EPOCHS, PARTS
from laclip_aug.evaluation.ablation import plot, table
from laclip_aug.evaluation.ablation.grid import Arm, Cell
from laclip_aug.evaluation.ablation.statistics import paired, summary
from laclip_aug.evaluation.recipes import PUBLISHED, load_recipe

RESULTS = Path(__file__).parents[1] / "results" / "experiment"
README = Path(__file__).parents[2] / "README.md"
MARKS = ("<!-- experiment: made by python -m benchmarks.experiment.report --readme -->", "<!-- /experiment -->")
SHOWN = {
    "text → image R@1": "text-to-image R@1",
    "text → image R@5": "text-to-image R@5",
    "text → image R@10": "text-to-image R@10",
    "image → text R@5": "image-to-text R@5",
    "image → text R@10": "image-to-text R@10",
    "CIFAR-10 zero-shot": "zero-shot",
    "CIFAR-10 linear probe": "linear-probe",
}
"""What is told of a run, by the ends of the figures' names."""
NAMES = {
    ("none", ""): "none",
    ("eda", "eda"): "EDA",
    ("back-translation", "back-translation"): "back-translation (embedded pair)",
    ("laclip", "llm"): "small LLM (SmolLM2, tuned), default gate",
    ("laclip", "ungated"): "the same without gate",
    ("laclip", "human"): "human captions",
}
Figures = dict[Cell, dict[str, float]]


def runs_of(folder: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The finished runs of every part with their number of epochs; a run that two parts share comes once."""
    seen = set()
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        epochs = document["config"]["train"]["epochs"]
        for run in document["runs"]:
            if (run["name"], epochs) not in seen:
                seen.add((run["name"], epochs))
                yield epochs, run


def figures_of(run: Mapping[str, Any]) -> dict[str, float]:
    """What is told of a run, in percent."""
    found = {}
    for evaluation in run["evaluations"]:
        for result in evaluation["found"]["results"]:
            for name, value in result["metrics"].items():
                kind = f"{result['protocol']} {name}"
                for shown, end in SHOWN.items():
                    if kind.endswith(end) or (name == "top-1" and kind.startswith(end)):
                        found[shown] = float(value)
    return found


def cell_of(run: Mapping[str, Any]) -> Cell:
    """The cell of a run, as the ablation wrote it."""
    cell = run["cell"]
    arm = cell["arm"]
    strategies = tuple(arm["strategies"]) if arm["strategies"] else None
    return Cell(cell["model"], cell["encoder"], Arm(**arm | {"strategies": strategies}), cell["seed"])


def by_epochs(folder: Path) -> dict[int, Figures]:
    """The figures of every run, by the number of its epochs."""
    found: dict[int, Figures] = {}
    for epochs, run in runs_of(folder):
        found.setdefault(epochs, {})[cell_of(run)] = figures_of(run)
    return found


def by_arm(found: Figures, shown: str) -> dict[tuple[str, str, int], dict[int, float]]:
    """Of one figure, by mode, cache and number of texts the value of each seed."""
    arms: dict[tuple[str, str, int], dict[int, float]] = {}
    for cell, figures in found.items():
        if shown in figures:
            arms.setdefault((cell.arm.mode, cell.arm.cache, cell.arm.texts), {})[cell.seed] = figures[shown]
    return arms


def readme_table(found: Figures) -> str:
    """The main arms: mean ± deviation over seeds, and the difference to none by seed with its interval."""
    shown = ["text → image R@5", "text → image R@10", "image → text R@10", "CIFAR-10 linear probe"]
    columns = {name: by_arm(found, name) for name in shown}
    lines = [["texts", "seeds", *shown, f"{shown[0]}: more than none (95%)"]]
    for (mode, cache), name in NAMES.items():
        row = [name, ""]
        for figure in shown:
            arms = {arm: values for arm, values in columns[figure].items() if arm[:2] == (mode, cache)}
            values = arms[max(arms, key=lambda arm: arm[2])] if arms else {}
            row[1] = row[1] or str(len(values) or "")
            row.append(spread(list(values.values())))
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
    RESULTS.mkdir(parents=True, exist_ok=True)
    if args.out:
        for part in PARTS:
            if (args.out / f"{part}.json").is_file():
                shutil.copyfile(args.out / f"{part}.json", RESULTS / f"{part}.json")
    published = load_recipe(PUBLISHED).published
    parts, main_table = [], ""
    for epochs, found in sorted(by_epochs(RESULTS).items(), reverse=True):
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

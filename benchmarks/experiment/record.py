"""The runs that are kept: one JSON line each, in ``benchmarks/results/experiment/runs.jsonl``.

A run takes minutes to hours, and the machine may be another tomorrow. What a run found is collected from where it ran
and kept in the repository; a later sitting trains only what is not there yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from laclip_aug.evaluation.ablation.grid import Arm, Cell

RESULTS = Path(__file__).parents[1] / "results" / "experiment"
RUNS = "runs.jsonl"
SHOWN = {
    "text → image R@1": "text-to-image R@1",
    "text → image R@5": "text-to-image R@5",
    "text → image R@10": "text-to-image R@10",
    "image → text R@1": "image-to-text R@1",
    "image → text R@5": "image-to-text R@5",
    "image → text R@10": "image-to-text R@10",
    "CIFAR-10 zero-shot": "zero-shot-80",
    "ImageNet groups zero-shot": "imagenet-groups",
    "CIFAR-10 linear probe": "linear-probe",
}
"""What is told of a run, by the figure, the protocol or the data that it is."""
Run = dict[str, Any]


def kept(folder: Path = RESULTS) -> list[Run]:
    """The runs that are kept."""
    path = folder / RUNS
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def collect(out: Path, folder: Path = RESULTS) -> int:
    """Keep the finished runs in ``out``; returns how many there are now. A run that is kept already stays as it is,
    unless it has fewer tests.
    """
    runs: dict[tuple[str, int], Run] = {}
    for run in [*kept(folder), *finished(out)]:
        before = runs.get((run["name"], run["epochs"]))
        if before is None or len(run["results"]) > len(before["results"]):
            runs[run["name"], run["epochs"]] = run
    lines = [json.dumps(runs[key], sort_keys=True) for key in sorted(runs)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUNS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(runs)


def finished(out: Path) -> Iterator[Run]:
    """The runs in ``out`` that are trained and tested: what was run, where, and what it found."""
    for directory in sorted(out.glob("study*/runs/*")):
        found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.glob("eval-*.json"))]
        if not found or not (directory / "trained.json").is_file():
            continue
        about = json.loads((directory / "cell.json").read_text(encoding="utf-8"))
        command = about["command"]
        yield {
            "name": directory.name,
            "epochs": int(command[command.index("--epochs") + 1]),
            "cell": about["cell"],
            "command": " ".join(command),
            "made_from": about["made_from"],
            "starts": about["starts"],
            "training": json.loads((directory / "trained.json").read_text(encoding="utf-8")),
            "results": [result for document in found for result in document["results"]],
        }


def cell_of(run: Run) -> Cell:
    """The cell of a run, as the ablation wrote it."""
    cell, arm = run["cell"], run["cell"]["arm"]
    strategies = tuple(arm["strategies"]) if arm["strategies"] else None
    return Cell(cell["model"], cell["encoder"], Arm(**arm | {"strategies": strategies}), cell["seed"])


def figures_of(run: Run) -> dict[str, float]:
    """What is told of a run, in percent."""
    found = {}
    for result in run["results"]:
        if result["data"]["name"] == SHOWN["ImageNet groups zero-shot"]:  # groups are of unequal size
            found["ImageNet groups zero-shot"] = float(result["metrics"]["mean-per-class"])
            continue
        for name, value in result["metrics"].items():
            for shown, what in SHOWN.items():
                if name == what or (name == "top-1" and result["protocol"] == what):
                    found[shown] = float(value)
    return found


def by_epochs(runs: Iterable[Run]) -> dict[int, dict[Cell, dict[str, float]]]:
    """The figures of every run, by the number of its epochs."""
    found: dict[int, dict[Cell, dict[str, float]]] = {}
    for run in runs:
        found.setdefault(run["epochs"], {})[cell_of(run)] = figures_of(run)
    return found

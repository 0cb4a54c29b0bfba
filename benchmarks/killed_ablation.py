"""A 2 x 2 x 2-seed ablation on real photos, killed with SIGKILL in the middle, again and again, and resumed.

Why it matters: a grid of trainings takes days on machines that are taken away. The whole process group is killed
``--kills`` times, each time when one more run is finished and another has a checkpoint; then the same command runs to
its end. Asked of it: no file of a finished run changes any more, a broken run goes on at its last whole epoch, and all
runs are in the table. The folder is Flickr8k as in ``ablation.py``, which prepares it. Prints the result file.

    python -m benchmarks.killed_ablation FLICKR8K --out killed-out
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.ablation import MODEL, prepare, run

RESULT = Path(__file__).parent / "results" / "killed_ablation.md"
_CODE = "import sys; from laclip_aug.cli import main; sys.exit(main())"


def finished(runs: Path) -> set[str]:
    """The runs that are trained and evaluated."""
    return {file.parent.name for file in runs.glob("*/eval-*.json")}


def broken(runs: Path) -> set[str]:
    """The runs that have a checkpoint and are not trained."""
    checkpoints = {file.parents[1] for file in runs.glob("*/checkpoints/epoch_latest.pt")}
    return {folder.name for folder in checkpoints if not (folder / "trained.json").exists()}


def files_of(runs: Path, names: set[str]) -> dict[str, int]:
    """When each file of ``names`` was written."""
    files = [file for name in names for file in (runs / name).rglob("*") if file.is_file()]
    return {str(file): file.stat().st_mtime_ns for file in files}


def life(out: Path, jobs: int, until: int | None) -> tuple[float, set[str]]:
    """One start of the command, killed once ``until`` runs are finished and another is broken; to its end if None.

    Returns its seconds and the runs that were broken.
    """
    runs, started = out / "study" / "runs", time.monotonic()
    words = ["ablate", str(out / "study.yaml"), "--out", str(out / "study"), "--jobs", str(jobs)]
    process = subprocess.Popen([sys.executable, "-c", _CODE, *words], stdout=sys.stderr, start_new_session=True)
    while process.poll() is None:
        if until is not None and len(finished(runs)) >= until and broken(runs):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return time.monotonic() - started, broken(runs)
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"laclip-aug ablate ended with status {process.returncode}; see {runs}/*/out.log")
    return time.monotonic() - started, set()


def resumed_at(runs: Path, name: str) -> list[int]:
    """The epochs at which a run went on."""
    return [
        int(epoch)
        for epoch in re.findall(r"resuming checkpoint.*\(epoch (\d+)\)", (runs / name / "out.log").read_text())
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("flickr8k", type=Path)
    parser.add_argument("--out", type=Path, default=Path("killed-out"))
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    out: Path = args.out
    out.mkdir(parents=True)
    prepare(args.flickr8k, out, args.photos)
    (out / "small.json").write_text(json.dumps(MODEL, indent=1))
    keys = ["--group-key", "filepath", "--index-key", "caption_index"]
    run(["laclip-aug", "cache", "import", str(out / "five.tsv"), "--cache", str(out / "human"), *keys])
    train = {"train-data": str(out / "one.tsv"), "batch-size": 50, "epochs": args.epochs, "lr": "1e-3", "warmup": 6}
    train |= {"workers": 0, "precision": "fp32", "device": "cpu"}
    evaluate = [f"retrieval --data {out / 'val'} --captions {args.flickr8k / 'captions_val.tsv'} --workers 0"]
    grid = {"model": str(out / "small.json"), "mode": ["laclip", "laclip-mt"], "cache": {"human": str(out / "human")}}
    study = {"train": train, "evaluate": evaluate, "grid": grid | {"texts": [0, 4], "seed": [0, 1]}}
    (out / "study.yaml").write_text(json.dumps(study, indent=1))

    runs = out / "study" / "runs"
    rows, kept, cut = [], dict[str, int](), set[str]()
    for number in range(args.kills + 1):
        until = len(finished(runs)) + 1 if number < args.kills else None
        seconds, now = life(out, args.jobs, until)
        changed = [
            file
            for file, written in kept.items()
            if files_of(runs, {Path(file).parent.name}).get(file, written) != written
        ]
        if changed:
            raise SystemExit(f"files of finished runs were written again: {changed}")
        kept, cut = files_of(runs, finished(runs)), cut | now
        rows.append((number + 1, seconds, len(finished(runs)), ", ".join(sorted(now)) or "to its end"))
    results = json.loads((out / "study" / "results.json").read_text())
    if len(results["runs"]) != 6 or results["unfinished"]:
        raise SystemExit(f"not all runs are in the results: {results['unfinished']}")
    by = results["runs"][-1]["starts"][-1]
    lines = [
        "# An ablation that is killed",
        "",
        f"By `python -m benchmarks.killed_ablation FLICKR8K --photos {args.photos} --epochs {args.epochs} --kills "
        f"{args.kills} --jobs {args.jobs}`, laclip-aug {by['laclip_aug']}, open_clip {by['open_clip']}; "
        f"{by['machine']['cpu']}, no GPU, other work beside it.",
        "",
        "Two modes, with no and four human captions of each photo, two seeds: eight cells and six runs, since without "
        "augmented texts both modes are the same run. The whole process group gets SIGKILL when one more run is "
        "finished and another has a checkpoint; the same command goes on.",
        "",
        "| start | s | runs finished after it | killed while training |",
        "|---|---|---|---|",
        *(f"| {number} | {seconds:.0f} | {done} | {names} |" for number, seconds, done, names in rows),
        "",
        "No file of a finished run was written again, and all six runs are in the table. "
        + " ".join(
            f"`{name}` went on at epoch {' and '.join(map(str, resumed_at(runs, name)))} of {args.epochs}."
            for name in sorted(cut)
        ),
        "",
        (out / "study" / "table.md").read_text().split("\n\n")[0],
        "",
        "So short a training tells nothing of the modes.",
    ]
    RESULT.write_text("\n".join(lines) + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()

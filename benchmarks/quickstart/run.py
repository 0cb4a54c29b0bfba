"""The main job on a small scale: captions → rewrites in a cache → CLIP trained on them, with and without.

Draws a captioned image set, builds a cache of rewrites of its training captions, trains the same small CLIP three
times through ``open_clip train`` (no text augmentation, ``laclip``, ``laclip-mt``) and compares the three on a test
split that is captioned in other styles and words. Every command is printed as it runs. Nothing is downloaded.

    python benchmarks/quickstart/run.py --out quickstart-out
    python benchmarks/quickstart/run.py --out quickstart-out --model path/to/model.gguf

Finished steps are kept: run it again and it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from evaluate import evaluate
from scenes import SIZE, make_scene, paint
from tqdm import tqdm
from wording import test_caption, training_caption

MODES = ("none", "laclip", "laclip-mt")
COLUMNS = {
    "zero_shot": "zero-shot",
    "image_to_text": "image→text R@1",
    "text_to_image": "text→image R@1",
    "same_style": "training style R@1",
}
CONFIG = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": SIZE, "layers": 4, "width": 128, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 2},
}


def run(command: list[str]) -> None:
    """Run one of this package's console commands from the environment of this interpreter; end if it fails."""
    print("\n$ " + shlex.join(command), flush=True)
    tool = Path(sysconfig.get_path("scripts")) / command[0]
    status = subprocess.run([str(tool), *command[1:]], check=False).returncode
    if status:
        sys.exit(f"{command[0]} ended with status {status}; its message is above")


def draw_scenes(out: Path, seed: int, train: int, test: int) -> None:
    """Write ``train.csv`` (filepath, title), ``test.jsonl`` and the pictures."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    trained, tested = [], []
    for index in tqdm(range(train + test), desc="drawing scenes", unit="scene"):
        scene = make_scene(seed, index)
        image = f"images/{index:05d}.png"
        paint(scene, seed, index).save(out / image)
        if index < train:
            trained.append((str(out / image), training_caption(scene)))
        else:
            row = {"image": image, "name": scene.name, "caption": test_caption(scene, seed, index)}
            tested.append(json.dumps(row | {"training_style": training_caption(scene)}))
    with (out / "train.csv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([("filepath", "title"), *trained])
    (out / "test.jsonl").write_text("\n".join(tested) + "\n")
    (out / "scene-clip.json").write_text(json.dumps(CONFIG, indent=2) + "\n")


def train(out: Path, mode: str, epochs: int, seed: int) -> tuple[Path, float]:
    """Train one model through ``open_clip train``; returns its last checkpoint and the seconds it took."""
    checkpoint = out / "logs" / mode / "checkpoints" / f"epoch_{epochs}.pt"
    took = out / "logs" / f"{mode}.seconds"
    if not (checkpoint.exists() and took.exists()):
        shutil.rmtree(out / "logs" / mode, ignore_errors=True)
        started = time.monotonic()
        command = ["open_clip", "train", "--train-data", str(out / "train.csv"), "--dataset-type", "csv"]
        command += ["--model-config", str(out / "scene-clip.json"), "--model", "scene-clip"]
        command += ["--batch-size", "100", "--epochs", str(epochs), "--lr", "1e-3", "--wd", "0.1", "--warmup", "40"]
        command += ["--workers", "1", "--precision", "fp32", "--seed", str(seed), "--aug-cfg", "scale=(0.8,1.0)"]
        command += ["--logs", str(out / "logs"), "--name", mode, "--save-frequency", str(epochs)]
        command += ["--text-aug", mode]
        if mode != "none":
            command += ["--text-aug-cache", str(out / "rewrites")]
        run(command)
        took.write_text(f"{time.monotonic() - started:.1f}\n")
    return checkpoint, float(took.read_text())


def report(out: Path, rows: dict[str, dict[str, float]]) -> None:
    """Print the table, and write ``results.json`` and ``results.png``."""
    (out / "results.json").write_text(json.dumps(rows, indent=2) + "\n")
    print("\nAccuracy in percent on test scenes captioned in other styles and words (one run each)\n")
    print(f"{'--text-aug':12}" + "".join(f"{title:>20}" for title in COLUMNS.values()) + f"{'training s':>14}")
    for mode, row in rows.items():
        print(f"{mode:12}" + "".join(f"{row[key]:20.1f}" for key in COLUMNS) + f"{row['seconds']:14.0f}")
    figure, axes = plt.subplots(figsize=(8, 4))
    for shift, (mode, row) in enumerate(rows.items()):
        bars = axes.bar(
            [x + 0.27 * (shift - 1) for x in range(len(COLUMNS))], [row[k] for k in COLUMNS], 0.25, label=mode
        )
        axes.bar_label(bars, fmt="%.0f")
    axes.set_xticks(range(len(COLUMNS)), list(COLUMNS.values()))
    axes.set_ylabel("accuracy, %")
    axes.set_title("Captions in other styles and words than the training captions")
    axes.legend(title="--text-aug", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(out / "results.png", dpi=120)
    print(f"\nPlot: {out / 'results.png'}   numbers: {out / 'results.json'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("quickstart-out"), help="folder for data, cache, logs, results"
    )
    parser.add_argument("--model", help="a GGUF file to rewrite with, instead of the default augmenter")
    parser.add_argument("--augmenter", default="llm", help="what makes the rewrites")
    parser.add_argument("--train", type=int, default=2400, help="training scenes")
    parser.add_argument("--test", type=int, default=800, help="test scenes")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    out: Path = args.out
    settings = json.dumps({key: str(value) for key, value in vars(args).items() if key != "out"})
    stamp = out / "settings.json"
    if stamp.exists() and stamp.read_text() != settings:
        sys.exit(f"{out} holds a run with other settings; delete it or name another --out")
    if not stamp.exists():
        draw_scenes(out, args.seed, args.train, args.test)
        stamp.write_text(settings)
    build = ["laclip-aug", "build", str(out / "train.csv"), "--cache", str(out / "rewrites")]
    build += ["--augmenter", args.augmenter, "--n", "4", "--seed", str(args.seed)]
    if args.model:
        build += ["--model", args.model]
    run(build)
    run(["laclip-aug", "cache", "show", str(out / "rewrites"), "--head", "3"])
    rows = {}
    for mode in MODES:
        checkpoint, seconds = train(out, mode, args.epochs, args.seed)
        rows[mode] = evaluate(out / "scene-clip.json", checkpoint, out / "test.jsonl") | {"seconds": seconds}
    report(out, rows)


if __name__ == "__main__":
    main()

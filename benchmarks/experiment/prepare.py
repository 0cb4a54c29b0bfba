"""The experiment's data and texts: photos, one caption each, and a cache for each source of texts.

Made once in the output directory, a cache when a run needs it; a build that was interrupted goes on.
"""

from __future__ import annotations

import csv
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.experiment.photos import group

HUMAN = ("human1", "human2", "human3", "human4")
ONE = ("build", "one.tsv", "--caption-key", "title", "--cache")
COMMANDS = {
    "verdicts": [(*ONE, "verdicts")],
    "stricter": [
        (*ONE, "verdicts"),
        ("cache", "filter", "verdicts", "--gate", "sound>=0.75 truth>=0.2", "--out", "stricter"),
    ],
    "eda": [(*ONE, "eda", "--augmenter", "eda", "--n", "4")],
    "back-translation": [(*ONE, "back-translation", "--augmenter", "back-translation", "--n", "4")],
}
"""By cache, what makes it. ``human`` is imported; ``llm`` and ``ungated`` are of the rewriter before its verdicts,
which no longer ships: their runs are kept, and commit 4ec839c can make them.
"""


def run(command: Sequence[str], folder: Path) -> None:
    """Run a ``laclip-aug`` command of this interpreter in ``folder``."""
    print("$ " + shlex.join(command), flush=True)
    code = "import sys; from laclip_aug.cli import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", code, *command[1:]], check=True, cwd=folder)


def prepare(flickr8k: Path, cifar10: Path, photos: Path, out: Path) -> None:
    """Unpack the photos, write the tables, import the human captions.

    Args:
        flickr8k: ``images_train.tar``, ``images_val.tar``, and ``captions_train.tsv`` and ``captions_val.tsv`` with
            the columns filepath, caption_index, caption: five captions a photo.
        cifar10: the test images as a tar with a folder for each class.
        photos: a checkout of imagenet-sample-images.
        out: where all of it goes.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name, source in (
        ("train", flickr8k / "images_train.tar"),
        ("val", flickr8k / "images_val.tar"),
        ("cifar10-test", cifar10),
    ):
        if not (out / name).exists():
            with tarfile.open(source) as tar:
                tar.extractall(out / f"{name}.part", filter="data")
            (out / f"{name}.part").rename(out / name)
    if not (out / "imagenet-groups").exists():
        group(photos, out / "imagenet-groups")
    (out / "captions_val.tsv").write_bytes((flickr8k / "captions_val.tsv").read_bytes())
    write_tables(flickr8k / "captions_train.tsv", out)
    keys = [word for key in HUMAN for word in ("--rewrite-key", key)]
    run(["laclip-aug", "cache", "import", "five.tsv", "--cache", "human", "--caption-key", "title", *keys], out)


def build(cache: str, out: Path) -> None:
    """Make the texts of a cache that a run needs; one that is there stays, and one that was begun goes on."""
    for command in COMMANDS.get(cache, []):
        run(["laclip-aug", *command], out)


def write_tables(captions: Path, out: Path) -> None:
    """``one.tsv``, which is trained on: each photo with its caption 0; ``five.tsv``: that caption, and the others."""
    with captions.open(encoding="utf-8", newline="") as file:
        by_photo: dict[str, dict[int, str]] = {}
        for row in csv.DictReader(file, delimiter="\t"):
            by_photo.setdefault(row["filepath"], {})[int(row["caption_index"])] = row["caption"]
    for name, head in (("one", ["filepath", "title"]), ("five", ["title", *HUMAN])):
        with (out / f"{name}.tsv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, delimiter="\t", lineterminator="\n")
            table.writerow(head)
            for photo, texts in by_photo.items():
                every = [texts[number] for number in range(5)]
                table.writerow([f"train/{photo}", every[0]] if name == "one" else every)

"""Every command of the README's quick start runs as printed, on a small data set and a tiny model made here."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.exchange import test_sets as sets

from .conftest import Dataset
from .upstream import KNOWS_DIRECTORIES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Appended to the printed command, so that ViT-B-32 on millions of pairs becomes a tiny CLIP on a few.
SMALL = {
    "open_clip": "--batch-size 8 --epochs 1 --workers 0 --device cpu --warmup 1 --logs logs --name {name}",
    "laclip-aug build": "--max-new-tokens 8 --max-attempts 1 --strategies human,mscoco",
}
TINY = ["--model", "model.gguf", "--variants", "1"]  # the default model is what `laclip-aug rewrite` shows


def blocks(language: str) -> list[str]:
    """The README's code blocks in ``language``."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def quick_start() -> list[str]:
    return [line for line in blocks("sh")[0].splitlines() if line.startswith(("laclip-aug", "open_clip"))]


def table() -> list[str]:
    """The laclip-aug commands of the table of what one may want, in an order in which they can be run.

    Those that need a trained model or train some are run in tests/evaluation.
    """
    elsewhere = ("laclip-aug rewrite", "laclip-aug eval", "laclip-aug ablate")
    rows = "".join(line for line in README.splitlines(keepends=True) if line.startswith("| "))
    return [line for line in re.findall(r"`(laclip-aug [^`]*)`", rows) if not line.startswith(elsewhere)]


def run(command: list[str], folder: Path) -> str:
    tool = Path(sysconfig.get_path("scripts")) / command[0]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(tool), *command[1:]], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def folder(dataset: Dataset, tiny_gguf: Path, tmp_path: Path) -> Path:
    """Where the README's reader stands: ``captions.tsv`` and ``model.gguf``."""
    (tmp_path / "captions.tsv").write_bytes(dataset.csv.read_bytes())
    (tmp_path / "model.gguf").symlink_to(tiny_gguf)
    return tmp_path


def test_the_quick_start_runs_as_printed(folder: Path, dataset: Dataset) -> None:
    commands = quick_start()
    assert len(commands) == 4
    for number, line in enumerate(commands):
        command = shlex.split(line)
        for start, options in SMALL.items():
            if line.startswith(start):
                command += options.format(name=f"run-{number}").split()
        if line.startswith("laclip-aug build"):
            command += TINY
        if command[0] == "open_clip":
            command += ["--model", dataset.model_name]
            if not KNOWS_DIRECTORIES:
                command += ["--model-config", str(dataset.model / f"{dataset.model_name}.json")]
        printed = run(command, folder)
        if command[1] == "rewrite":
            assert printed.startswith("two brown dogs playing in the snow\n")
    for number in (2, 3):
        assert (folder / "logs" / f"run-{number}" / "checkpoints" / "epoch_1.pt").stat().st_size > 0


def published(folder: Path) -> None:
    """A row or two of each published set, in its own form."""
    for name in ("recap", "pixelprose", "capsfusion", "datacompdr", "datacomp"):
        (folder / "data" / name).mkdir(parents=True)
    (folder / "cc3m_original.csv").write_text("1.jpg,a red dog\n2.jpg,a cat\n")
    for strategy in ("chatgpt", "bard"):
        (folder / f"cc3m_{strategy}.txt").write_text("a dog that is red\nthe grey cat\n")
    sets.parquet(folder / "data" / "recap" / "0.parquet", sets.RECAP)
    sets.parquet(folder / "data" / "pixelprose" / "0.parquet", sets.PIXELPROSE)
    sets.parquet(folder / "data" / "capsfusion" / "0.parquet", sets.CAPSFUSION)
    (folder / "dreamlip.csv").write_text(sets.DREAMLIP)
    sets.tar(folder / "data" / "datacompdr" / "0.tar", [sets.datacompdr(0, "d6", ["a white computer"])])
    sets.parquet(folder / "data" / "datacomp" / "0.parquet", {"uid": ["d6"], "text": ["Apple iMac 24"]})


def test_the_commands_of_the_table_run_as_printed(folder: Path) -> None:
    (folder / "pairs.jsonl").write_text('{"raw": "a red dog", "fused": "a red dog on grass"}\n')
    published(folder)
    commands = table()
    assert {tuple(line.split()[1:3]) for line in commands} >= {
        ("cache", "import"),
        ("cache", "info"),
        ("cache", "verify"),
        ("report", "rewrites"),
    }
    for line in commands:
        llm = shlex.join(TINY) + " " + SMALL["laclip-aug build"]
        small = {"eda": "--synonyms builtin", "rewrites": llm, "folded": llm}
        extra = next(
            (small[name] for name in small if line.startswith("laclip-aug build") and f"--cache {name}" in line), ""
        )
        run(shlex.split(f"{line} {extra}"), folder)


def test_every_option_in_the_text_is_known() -> None:
    printed = set(re.findall(r"`(laclip-aug \w+(?: \w+)?|open_clip train|torchrun[^`]*)", README))
    assert {line.split()[1] for line in printed if line.startswith("laclip-aug")} >= {"rewrite", "build", "cache"}
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - {
        "--nproc-per-node",
        "--no-python",
        "--no-deps",
        "--array",
        "--requeue",
    }
    helps = [
        ["laclip-aug", "rewrite"],
        ["laclip-aug", "build"],
        ["laclip-aug", "cache", "import"],
        ["laclip-aug", "cache", "export"],
        ["laclip-aug", "cache", "merge"],
        ["laclip-aug", "eval"],
        ["open_clip", "train"],
    ]
    known = "".join(run([*command, "--help"], Path.cwd()) for command in helps)
    recipe = [sys.executable, "-m", "benchmarks.caption_adapter.run", "--help"]
    known += subprocess.run(recipe, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {option for option in options if option not in known} == set()


def test_the_python_examples_run(folder: Path, tmp_path: Path) -> None:
    examples = blocks("python")
    assert examples
    for example in examples * 2:  # a reader runs a file more than once
        done = subprocess.run([sys.executable, "-c", example], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]


def test_the_tree_names_what_there_is() -> None:
    package = ROOT / "laclip_aug"
    tree = next(block for block in README.split("```") if "errors.py " in block)
    named = {word.rstrip("/") for word in re.findall(r"^  (\S+)", tree, flags=re.MULTILINE)}
    there = {entry.name for entry in package.iterdir() if not entry.name.startswith(("_", "py.typed"))}
    assert named == there

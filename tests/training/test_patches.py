"""The files of ``patches/``: the one that fits the installed open_clip trains as the hook does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import open_clip
import open_clip_train
import pytest

from laclip_aug.cli import open_clip as command

from .conftest import Dataset, checkpoint, same_bits

ROOT = Path(command.__file__).parents[2]
PATCHES = sorted((ROOT / "patches").glob("*.patch"))
OURS = "import sys; from laclip_aug.cli.open_clip import main; raise SystemExit(main(['train', *sys.argv[1:]]))"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def apply(tree: Path, patch: Path, *options: str) -> bool:
    """Whether ``git apply`` takes the patch for the tree."""
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}  # the tree is no part of any repository
    made = subprocess.run(["git", "apply", *options, str(patch)], cwd=tree, env=environment, capture_output=True)
    return made.returncode == 0


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source tree with the files of the installed open_clip."""
    tree = tmp_path_factory.mktemp("checkout")
    for package in (open_clip, open_clip_train):
        source = Path(str(package.__file__)).parent
        shutil.copytree(source, tree / "src" / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    return tree


@pytest.fixture(scope="session")
def patched(checkout: Path) -> Path:
    """The same tree, changed by the patch that fits it."""
    (fitting,) = [patch for patch in PATCHES if apply(checkout, patch, "--check")]
    assert apply(checkout, fitting)
    return checkout


@pytest.fixture
def run(patched: Path, tmp_path: Path) -> Run:
    """Run a command with the patched tree in front of the installed open_clip."""
    path = os.pathsep.join([str(patched / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True)

    return run


def test_a_patched_trainer_trains_like_the_hook(
    run: Run, train: Callable[..., Path], dataset: Dataset, cache: Path, tmp_path: Path
) -> None:
    chosen = ("--text-aug", "laclip-mt", "--text-aug-cache", str(cache), "--text-aug-num-texts", "3")
    hooked = checkpoint(train(*chosen, name="hooked"))

    done = run(*dataset.trainer(), *dataset.arguments(tmp_path, "patched"), *chosen)
    assert done.returncode == 0, done.stderr[-3000:]
    assert same_bits(checkpoint(tmp_path / "patched"), hooked)
    log = (tmp_path / "patched" / "out.log").read_text()
    assert "text augmentation, epoch 1: 144 texts drawn" in log
    assert "text trimming on" in log
    assert "text_aug_num_texts: 3\n" in (tmp_path / "patched" / "params.txt").read_text()

    # The command's hook on the patched files: the texts are drawn once, not twice.
    config = ("--model-config", str(dataset.model / "tiny-clip.json"), "--model", "tiny-clip")
    done = run(sys.executable, "-c", OURS, *dataset.arguments(tmp_path, "both"), *config, *chosen)
    assert done.returncode == 0, done.stderr[-3000:]
    assert same_bits(checkpoint(tmp_path / "both"), hooked)


def test_a_patched_trainer_without_augmentation_is_open_clips_own(
    run: Run, upstream: Path, dataset: Dataset, tmp_path: Path
) -> None:
    done = run(*dataset.trainer(), *dataset.arguments(tmp_path, "plain"))

    assert done.returncode == 0, done.stderr[-3000:]
    assert same_bits(checkpoint(tmp_path / "plain"), checkpoint(upstream))
    assert "text_aug: none\n" in (tmp_path / "plain" / "params.txt").read_text()


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_a_patch_is_small_and_calls_public_names(patch: Path) -> None:
    lines = patch.read_text().splitlines()
    added = [line[1:] for line in lines if re.match(r"\+(?!\+\+ )", line)]
    removed = [line for line in lines if re.match(r"-(?!-- )", line)]

    assert len(added) <= 12
    assert len(removed) <= 4
    assert not any(re.search(r"text_aug\w*\._", line) for line in added)


def test_the_table_lists_every_patch() -> None:
    table = (ROOT / "patches" / "README.md").read_text()
    assert set(re.findall(r"\[(\d{4}-[\w.-]+\.patch)\]", table)) == {patch.name for patch in PATCHES}

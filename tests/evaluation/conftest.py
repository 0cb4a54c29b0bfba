"""A small open_clip model with random weights, and drawn photos in every layout."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}
COLOURS = {"blue_sky": (20, 20, 220), "green_grass": (20, 220, 20), "red_rose": (220, 20, 20)}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The configuration ``tiny-eval.json`` and a checkpoint as open_clip's trainer writes them."""
    import open_clip
    import torch

    folder = tmp_path_factory.mktemp("model")
    config, weights = folder / "tiny-eval.json", folder / "epoch_1.pt"
    config.write_text(json.dumps(CONFIG))
    open_clip.add_model_config(config)
    torch.manual_seed(0)
    state = open_clip.create_model("tiny-eval").state_dict()
    torch.save({"epoch": 1, "name": "x", "state_dict": {f"module.{k}": v for k, v in state.items()}}, weights)
    return config, weights


@pytest.fixture
def model(model_files: tuple[Path, Path]) -> Any:
    from laclip_aug.evaluation.model import Model

    return Model("tiny-eval", str(model_files[1]), model_files[0])


@pytest.fixture
def laclip_eval(model_files: tuple[Path, Path], tmp_path: Path) -> Run:
    """Runs ``laclip-aug eval`` in a process of its own, with the small model and a folder of features."""

    def run(kind: str, *arguments: str, model: Sequence[str] | None = None) -> subprocess.CompletedProcess[str]:
        named = ["--model", "tiny-eval", "--model-config", str(model_files[0]), "--pretrained", str(model_files[1])]
        start = "import sys; from laclip_aug.cli import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", start, "eval", kind, *(model or named)]
        return subprocess.run(
            [*command, "--features", str(tmp_path / "features"), "--workers", "0", *arguments],
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


def encoded(colour: tuple[int, int, int], seed: int, kind: str = "PNG", size: int = 20) -> bytes:
    """A photo of nearly one colour."""
    noise = np.random.default_rng(seed).integers(-20, 20, (size, size, 3))
    file = io.BytesIO()
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(file, kind)
    return file.getvalue()


def class_folders(folder: Path, each: int = 4, first: int = 0) -> Path:
    """``each`` photos in a folder for each of ``COLOURS``."""
    for number, (name, colour) in enumerate(COLOURS.items()):
        (folder / name).mkdir(parents=True)
        for index in range(first, first + each):
            (folder / name / f"{index}.png").write_bytes(encoded(colour, 100 * number + index))
    return folder


def tar_of(file: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file


def run_folder(folder: Path, state: dict[str, Any], *options: str) -> Path:
    """A checkpoint in the folder of its run, beside a ``params.txt`` in the form of open_clip's trainer."""
    import torch

    (folder / "checkpoints").mkdir(parents=True)
    torch.save({"epoch": 1, "name": folder.name, "state_dict": state}, folder / "checkpoints/epoch_1.pt")
    unset = [
        f"{name}: None" for name in ("accum_freq", "image_mean", "image_std") if not any(name in o for o in options)
    ]
    lines = sorted([*unset, "aug_cfg: {'scale': (0.5, 1.0)}", "force_quick_gelu_: True", "seed: 0", *options])
    (folder / "params.txt").write_text("\n".join(lines) + "\n")
    return folder / "checkpoints/epoch_1.pt"

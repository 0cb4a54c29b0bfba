"""A small captioned image set, a tiny CLIP, and caches, all made here; and the trainer run on them."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip as upstream_open_clip
import pytest
import torch
from PIL import Image

from laclip_aug.augmenter import Outcome, Rejection, Rewrite
from laclip_aug.cache.config import Config
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.cli import open_clip
from laclip_aug.training.pairing import image_key

COLOURS = ("red", "green", "blue", "yellow", "black", "white", "pink", "grey")
THINGS = ("dog", "cat", "boat", "tree", "car", "ball")
CAPTIONS = tuple(f"a {colour} {thing}" for colour in COLOURS for thing in THINGS)
STRATEGIES = ("chatgpt", "bard", "human")

if upstream_open_clip.__version__ < "3":
    # It leaves NumPy numbers in its checkpoints, which torch 2.6 and newer read only if told so.
    number = np.float64(0)
    torch.serialization.add_safe_globals([number.__reduce__()[0], np.dtype, type(number.dtype)])


def rewrite(caption: str, strategy: str) -> str:
    """What the caches here hold for ``caption``."""
    return {"chatgpt": "a photo of {} outdoors", "bard": "{} on a sunny day", "human": "here we see {}"}[
        strategy
    ].format(caption)


def make_cache(directory: Path, captions: Iterable[str], missing: Mapping[str, str] | None = None) -> Path:
    """A cache with one rewrite of each strategy; ``missing`` maps a caption to the strategy that failed for it."""
    with CacheWriter(directory, Config("llm", "test", seed=0, n=len(STRATEGIES), sources=STRATEGIES)) as writer:
        for caption in captions:
            failed = (missing or {}).get(caption)
            made = tuple(Rewrite(name, rewrite(caption, name)) for name in STRATEGIES if name != failed)
            rejected = () if failed is None else (Rejection(failed, "echo"),)
            writer.new([caption])
            writer.add(Outcome(caption, made, rejected))
        writer.finish()
    return directory


@dataclass(frozen=True)
class Dataset:
    """48 generated images: ``csv`` (tab-separated) and ``shards`` (four tars) hold the same samples."""

    csv: Path
    shards: str
    model: Path

    @property
    def model_name(self) -> str:
        """What ``--model`` calls the tiny CLIP; open_clip 2 knows no directories, only names of configurations."""
        return "tiny-clip" if upstream_open_clip.__version__ < "3" else f"local-dir:{self.model}"

    @property
    def keys(self) -> dict[str, bytes]:
        """The key of each caption's image."""
        rows = [line.split("\t") for line in self.csv.read_text().splitlines()[1:]]
        return {caption: image_key(Image.open(path)) for path, caption in rows}

    def trainer(self) -> list[str]:
        """The command of open_clip's own trainer, without its arguments."""
        if self.model_name != "tiny-clip":
            return [sys.executable, "-m", "open_clip_train.main"]
        start = "import open_clip; open_clip.add_model_config(sys.argv.pop(1)); import open_clip_train.main as trainer"
        code = f"import sys; {start}; trainer.main(sys.argv[1:])"
        return [sys.executable, "-c", code, str(self.model / "tiny-clip.json")]

    def arguments(self, logs: Path, name: str, data: Path | str | None = None, epochs: int = 2) -> list[str]:
        """open_clip's own arguments for a short run of the tiny model on the CPU."""
        chosen = str(self.csv if data is None else data)
        common = "--batch-size 8 --workers 0 --precision fp32 --device cpu --warmup 1 --lr 1e-3 --log-every-n-steps 1"
        return [
            *("--train-data", chosen, "--model", self.model_name, "--logs", str(logs), "--name", name),
            *("--epochs", str(epochs), "--train-num-samples", str(len(CAPTIONS)), *common.split()),
        ]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("data")
    generator = torch.Generator().manual_seed(0)
    rows = ["filepath\ttitle"]
    for index, caption in enumerate(CAPTIONS):
        pixels = torch.randint(0, 256, (32, 32, 3), generator=generator, dtype=torch.uint8)
        path = root / f"{index:03d}.png"
        Image.fromarray(pixels.numpy()).save(path)
        path.with_suffix(".txt").write_text(caption)
        rows.append(f"{path}\t{caption}")
    for shard in range(4):
        with tarfile.open(root / f"shard-{shard}.tar", "w") as tar:
            for index in range(shard, len(CAPTIONS), 4):
                for suffix in (".png", ".txt"):
                    tar.add(root / f"{index:03d}{suffix}", f"{index:03d}{suffix}")
    csv = root / "train.tsv"
    csv.write_text("\n".join(rows) + "\n")
    model = root / "tiny"
    model.mkdir()
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    text = {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    config = {"model_cfg": {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}}
    (model / "open_clip_config.json").write_text(json.dumps(config))
    (model / "tiny-clip.json").write_text(json.dumps(config["model_cfg"]))
    upstream_open_clip.add_model_config(model / "tiny-clip.json")
    return Dataset(csv, str(root / "shard-{0..3}.tar"), model)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of three rewrites for every caption of the data set."""
    return make_cache(tmp_path_factory.mktemp("cache"), CAPTIONS)


@pytest.fixture(scope="session")
def empty_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished cache of no captions."""
    return make_cache(tmp_path_factory.mktemp("empty"), ())


@pytest.fixture(scope="session")
def upstream(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of ``python -m open_clip_train.main`` itself, with this package out of the way."""
    logs = tmp_path_factory.mktemp("upstream")
    command = [*dataset.trainer(), *dataset.arguments(logs, "run")]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return logs / "run"


@pytest.fixture
def train(dataset: Dataset, tmp_path: Path) -> Callable[..., Path]:
    """Run ``open_clip train`` on the data set with further arguments; returns the run's directory."""

    def run(*extra: str, name: str = "run", data: Path | str | None = None, epochs: int = 2) -> Path:
        root, threads = logging.getLogger(), torch.get_num_threads()
        handlers, level = list(root.handlers), root.level
        torch.set_num_threads(1)
        try:
            status = open_clip.main(["train", *dataset.arguments(tmp_path, name, data, epochs), *extra])
        finally:
            torch.set_num_threads(threads)
            for handler in root.handlers[:]:
                if handler not in handlers:  # the trainer's own, which it leaves behind
                    root.removeHandler(handler)
                    handler.close()
            root.setLevel(level)
        assert status == 0
        return tmp_path / name

    return run


def checkpoint(run: Path, epoch: int = 2) -> dict[str, object]:
    """The weights and the optimiser's state after ``epoch``."""
    loaded = torch.load(run / "checkpoints" / f"epoch_{epoch}.pt", weights_only=True)
    return {"weights": loaded["state_dict"], "optimiser": loaded["optimizer"]["state"]}


def same_bits(left: object, right: object) -> bool:
    """Whether two nested structures of tensors are equal bit for bit."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_bits(left[key], right[key]) for key in left)
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    return bool(left == right)

"""Gradients of the trainer's first step, from real runs of ``open_clip train`` in one process and in two.

The data set is one global batch, so that every way to cut it up (processes, accumulation) makes a step of the same
samples. Runs of one test module share two worker processes, since starting a process costs more than a run.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import open_clip_train.main as trainer
import torch
from PIL import Image
from torch import Tensor, distributed, multiprocessing
from torch.optim.optimizer import register_optimizer_step_pre_hook

from laclip_aug.augmenter import Outcome, Rewrite
from laclip_aug.cache.config import Config
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.cli import open_clip
from laclip_aug.training.pairing import image_key
from laclip_aug.training.sampling import TextSampler

STRATEGIES = ("bard", "human")
CAPTIONS = (
    "a red dog",
    "a green boat",
    "a blue tree with many leaves and apples behind an old stone wall on a hill near the sea",
    "a white cat",
    "a red dog",
    "two black cars",
    "a grey ball",
    "a pink house",
)
"""One global batch. One caption is longer than the shortest bucket of the trimmed tower, and one occurs twice."""
SEED = 3
NO_IMAGE_CHANGE = ("--aug-cfg", "scale=(1.0,1.0)", "ratio=(1.0,1.0)")


@dataclass(frozen=True)
class Run:
    """One run of ``open_clip train``: its arguments, and how many processes it takes (1 or 2)."""

    arguments: tuple[str, ...]
    processes: int = 1


@dataclass(frozen=True)
class Batch:
    """The samples as tables: ``slices[j]`` holds each sample's text j, ``drawn`` the text that ``laclip`` draws.

    ``drawn_alike`` is what it draws in a loader that does not tell which image a caption has.
    """

    slices: tuple[Path, ...]
    drawn: Path
    drawn_alike: Path
    cache: Path
    model: Path

    def run(self, data: Path, accumulation: int = 1, processes: int = 1, extra: Sequence[str] = ()) -> Run:
        """A run of one step on the whole batch."""
        size = len(CAPTIONS) // accumulation // processes
        fixed = "--epochs 1 --workers 0 --device cpu --warmup 1 --lr 1e-3 --logs none".split()
        sizes = ("--batch-size", str(size), "--accum-freq", str(accumulation))
        model = ("--model-config", str(self.model), "--model", self.model.stem, "--train-data", str(data))
        return Run((*model, *fixed, *sizes, "--precision", "fp32", *NO_IMAGE_CHANGE, *extra), processes)

    def augmented(self, mode: str, *extra: str) -> tuple[str, ...]:
        """The options that let a run on ``slices[0]`` train in ``mode``."""
        return ("--text-aug", mode, "--text-aug-cache", str(self.cache), "--text-aug-seed", str(SEED), *extra)


def rewrites(caption: str) -> dict[str, str]:
    """What the cache holds for ``caption``."""
    return {"bard": f"{caption} on a sunny day", "human": f"here we see {caption}"}


def make_batch(root: Path) -> Batch:
    """Images, tables, cache and tiny model in ``root``."""
    with CacheWriter(root / "cache", Config("llm", "test", seed=0, n=2, sources=STRATEGIES)) as writer:
        for caption in dict.fromkeys(CAPTIONS):
            writer.new([caption])
            writer.add(Outcome(caption, tuple(Rewrite(*item) for item in rewrites(caption).items())))
        writer.finish()
    generator = torch.Generator().manual_seed(0)
    for index in range(len(CAPTIONS)):
        pixels = torch.randint(0, 256, (32, 32, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(root / f"{index}.png")

    def table(name: str, texts: Sequence[str]) -> Path:
        lines = ["filepath\ttitle", *(f"{root / str(i)}.png\t{text}" for i, text in enumerate(texts))]
        (root / name).write_text("\n".join(lines) + "\n")
        return root / name

    slices = [list(CAPTIONS), *([rewrites(caption)[name] for caption in CAPTIONS] for name in STRATEGIES)]
    sampler = TextSampler(CaptionCache(root / "cache"), seed=SEED)
    keys = [image_key(Image.open(root / f"{index}.png")) for index in range(len(CAPTIONS))]
    drawn = [sampler.texts(caption, 0, key)[0] for caption, key in zip(CAPTIONS, keys, strict=True)]
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    text = {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    model = root / "one-step-clip.json"  # version 2 knows no directories
    model.write_text(json.dumps({"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}))
    tables = tuple(table(f"slice-{j}.tsv", texts) for j, texts in enumerate(slices))
    alike = table("alike.tsv", [sampler.texts(caption, 0)[0] for caption in CAPTIONS])
    return Batch(tables, table("drawn.tsv", drawn), alike, root / "cache", model)


Gradients = dict[str, Tensor]
"""``towers``: of all weights as one vector. ``scalars``: of the logit scale, and of the bias where there is one."""


def first_gradients(runs: Mapping[Any, Run], root: Path) -> dict[Any, Gradients]:
    """The gradients that each run's optimiser sees at its first step, averaged over processes as the trainer does.

    Runs of two processes come first, in the given order.
    """
    numbered = list(runs.values())
    multiprocessing.spawn(_worker, (numbered, str(root)), nprocs=2)
    found: dict[int, Gradients] = {}
    for rank in (1, 0):  # rank 0 has all runs of two processes too; they hold the same gradients
        found |= torch.load(root / f"gradients-{rank}.pt", weights_only=True)
    return {key: found[number] for number, key in enumerate(runs)}


def _worker(rank: int, runs: list[Run], root: str) -> None:
    torch.set_num_threads(1)
    os.chdir(root)
    logging.disable(logging.INFO)
    trainer.get_tokenizer = lru_cache(trainer.get_tokenizer)  # reading the vocabulary takes as long as the step
    seen: list[Gradients] = []
    register_optimizer_step_pre_hook(lambda optimiser, args, kwargs: seen.append(_gradients(optimiser)))
    found: dict[int, Gradients] = {}
    for number in sorted(range(len(runs)), key=lambda number: -runs[number].processes):
        run = runs[number]
        if run.processes == 1 and number % 2 != rank:
            continue
        seen.clear()
        _train(run, rank, Path(root), str(number))
        if not seen:
            raise RuntimeError(f"no step was made: {' '.join(run.arguments)}")
        found[number] = seen[0]
    torch.save(found, f"gradients-{rank}.pt")


def _train(run: Run, rank: int, root: Path, name: str) -> None:
    """``open_clip train`` as process ``rank`` of the run; the processes meet at a file."""
    arguments = ["train", "--name", name, *run.arguments]
    if run.processes == 1:
        status = open_clip.main(arguments)
    else:
        os.environ.update(WORLD_SIZE=str(run.processes), RANK=str(rank), LOCAL_RANK=str(rank))
        address = f"file://{root}/store-{name}?rank={rank}&world_size={run.processes}"
        try:
            status = open_clip.main([*arguments, "--dist-url", address])
        finally:
            if distributed.is_initialized():
                distributed.destroy_process_group()
            for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
                del os.environ[name]
    if status != 0:
        raise RuntimeError(f"the run failed: {' '.join(arguments)}")


def _gradients(optimiser: torch.optim.Optimizer) -> Gradients:
    """Copies of the gradients in float64; zeros for weights that got none."""
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    grads = [(torch.zeros_like(w) if w.grad is None else w.grad.detach()).double() for w in weights]
    return {
        "towers": torch.cat([grad.flatten() for grad in grads if grad.ndim]),
        "scalars": torch.stack([grad for grad in grads if not grad.ndim]),
    }


def mean(gradients: Sequence[Gradients]) -> Gradients:
    """The mean over several runs."""
    return {name: torch.stack([g[name] for g in gradients]).mean(dim=0) for name in gradients[0]}


def error(found: Tensor, expected: Tensor) -> float:
    """The norm of the difference relative to the expected norm."""
    return float((found - expected).norm() / expected.norm())

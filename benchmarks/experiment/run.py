"""The experiment, from the photos to the runs; interrupted, the same command goes on where it was.

    git clone https://github.com/EliSchwartz/imagenet-sample-images
    python -m benchmarks.experiment.run FLICKR8K --cifar10 cifar10/test.tar --photos imagenet-sample-images --jobs 2
    python -m benchmarks.experiment.report --out experiment-out --readme

``FLICKR8K`` holds ``images_train.tar``, ``images_val.tar``, ``captions_train.tsv``, ``captions_val.tsv`` (columns
filepath, caption_index, caption); the photos are on request from the data set's authors, and in several places on the
web. ``--cifar10`` is CIFAR-10's test set as a tar with a folder for each class.

The arms are in parts, made by ``laclip-aug ablate``. What a run found is kept in ``benchmarks/results/experiment``, and
what is kept is not trained again, on whichever machine. With ``--device cuda`` a GPU trains each.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.experiment.prepare import build, prepare, run
from benchmarks.experiment.record import Run, collect, kept

MODEL = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": 4, "width": 128, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 2},
}
TRAIN = {
    "train-data": "one.tsv",
    "batch-size": 128,
    "lr": "1e-3",
    "wd": 0.2,
    "warmup": 60,
    "aug-cfg": "scale=(0.6,1.0)",
    "workers": 0,
    "precision": "fp32",
}
EPOCHS = 12
RETRIEVAL = "retrieval --data val --captions captions_val.tsv --workers 0"
ZERO_SHOT = "zero-shot --data cifar10-test/cifar10 --workers 0"
PHOTOS = "zero-shot --data imagenet-groups --workers 0"
PROBE = "linear-probe --data cifar10.yaml --workers 0"
CIFAR10 = {
    "name": "cifar10",
    "data": "cifar10-test",
    "splits": {"train": "cifar10[:50%]", "val": "cifar10[50%:60%]", "test": "cifar10[60%:]"},
    "metric": "top-1",
}
NONE, EDA, BACK = ("none", ""), ("eda", "eda"), ("back-translation", "back-translation")
HUMAN, LLM, UNGATED = ("laclip", "human"), ("laclip", "llm"), ("laclip", "ungated")
VERDICTS = [("laclip", "verdicts"), ("laclip", "stricter")]
ALL_TEXTS = [("laclip-mt", "human"), ("laclip-mt", "llm")]
THREE = [0, 1, 2]


@dataclass(frozen=True)
class Part:
    """Arms (mode, cache) that are trained with the same seeds; ``texts`` is how many of a cache (default: all)."""

    arms: list[tuple[str, str]]
    seeds: list[int]
    texts: int | None = None
    epochs: int = EPOCHS
    tests: tuple[str, ...] = (RETRIEVAL,)


PARTS = {
    "arms": Part([NONE, EDA, BACK, HUMAN, LLM], THREE, tests=(RETRIEVAL, ZERO_SHOT, PROBE)),
    "gate": Part([UNGATED], THREE, tests=(RETRIEVAL, ZERO_SHOT, PROBE)),
    "multi-text": Part(ALL_TEXTS, THREE),
    # equal compute: a step with five texts costs about twice that with one
    "multi-text-half": Part(ALL_TEXTS, THREE, epochs=EPOCHS // 2),
    # the photos came with the fourth seed, and are to be seen with three
    "seeds": Part([NONE, EDA, BACK, HUMAN, LLM], [3, 4, 5], tests=(RETRIEVAL, ZERO_SHOT, PHOTOS, PROBE)),
    "one-text": Part([HUMAN, LLM], THREE, texts=1),
    "two-texts": Part([HUMAN, LLM], THREE, texts=2),
    "three-texts": Part([HUMAN, LLM], THREE, texts=3),
    # the rewriter as it ships since it was tuned on verdicts
    "verdicts": Part(VERDICTS, THREE, tests=(RETRIEVAL, PHOTOS)),
}
"""In the order of what is learnt from them; a run that two parts share is made once."""


def missing(part: Part, runs: list[Run]) -> dict[tuple[int, ...], list[tuple[str, str]]]:
    """The arms that are not kept yet, or with fewer tests than the part has, by the seeds that they lack."""
    most = 4 if part.texts is None else part.texts
    there = {
        (run["epochs"], arm["mode"], arm["cache"], arm["texts"], run["cell"]["seed"])
        for run in runs
        for arm in [run["cell"]["arm"]]
        if len(run["results"]) >= len(part.tests)
    }
    found: dict[tuple[int, ...], list[tuple[str, str]]] = {}
    for mode, cache in part.arms:
        number = most if cache else 0
        seeds = tuple(s for s in part.seeds if (part.epochs, mode, cache, number, s) not in there)
        if seeds:
            found.setdefault(seeds, []).append((mode, cache))
    return found


def study(part: Part, arms: list[tuple[str, str]], seeds: tuple[int, ...], device: str) -> dict[str, Any]:
    """The ablation of some arms of a part, as ``laclip-aug ablate`` reads it."""
    caches = {cache: cache for _, cache in arms if cache}
    grid: dict[str, Any] = {"model": "small.json", "mode": list(dict.fromkeys(mode for mode, _ in arms))}
    grid |= {"cache": caches} if caches else {}
    grid |= {"texts": [part.texts]} if part.texts is not None else {}
    return {
        "train": TRAIN | {"epochs": part.epochs, "device": device},
        "evaluate": list(part.tests),
        "grid": grid | {"seed": list(seeds)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("flickr8k", type=Path)
    parser.add_argument("--cifar10", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("experiment-out"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, help="runs at a time (default: one, or one for each GPU)")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    prepare(args.flickr8k.resolve(), args.cifar10.resolve(), args.photos.resolve(), out)
    for name, content in (("small.json", MODEL), ("cifar10.yaml", CIFAR10)):
        (out / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")  # JSON is YAML
    jobs = ["--jobs", str(args.jobs)] if args.jobs else []
    for name in args.parts:
        part = PARTS[name]
        for seeds, arms in missing(part, kept()).items():
            file = f"{name}-{'-'.join(map(str, seeds))}.yaml"
            (out / file).write_text(
                json.dumps(study(part, arms, seeds, args.device), indent=1) + "\n", encoding="utf-8"
            )
            for cache in {cache: None for _, cache in arms}:
                build(cache, out)
            made = "study" if part.epochs == EPOCHS else f"study-{part.epochs}"
            run(["laclip-aug", "ablate", file, "--out", made, *jobs], out)
            print(f"{collect(out)} runs are kept", flush=True)


if __name__ == "__main__":
    main()

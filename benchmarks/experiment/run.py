"""The experiment, from the photos to the runs; interrupted, the same command goes on where it was.

    python -m benchmarks.experiment.run FLICKR8K --cifar10 cifar10/test.tar --out experiment-out --jobs 2
    python -m benchmarks.experiment.report --out experiment-out

``FLICKR8K`` holds ``images_train.tar``, ``images_val.tar``, ``captions_train.tsv``, ``captions_val.tsv`` (columns
filepath, caption_index, caption); the photos are on request from the data set's authors, and in several places on the
web. ``--cifar10`` is CIFAR-10's test set as a tar with a folder for each class.

The arms are in parts, each an ablation of ``laclip-aug ablate``; all share their runs in one directory. With
``--device cuda`` a GPU trains each.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks.experiment.prepare import prepare, run

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
PROBE = "linear-probe --data cifar10.yaml --workers 0"
CIFAR10 = {
    "name": "cifar10",
    "data": "cifar10-test",
    "splits": {"train": "cifar10[:50%]", "val": "cifar10[50%:60%]", "test": "cifar10[60%:]"},
    "metric": "top-1",
}
CACHES = ["human", "llm", "eda", "back-translation"]
ARMS = {"mode": ["none", "eda", "back-translation", "laclip"], "cache": CACHES}
THREE, FIVE = [0, 1, 2], [0, 1, 2, 3, 4]
PARTS: dict[str, dict[str, Any]] = {
    "arms": ARMS | {"seed": THREE},
    "gate": {"mode": ["laclip"], "cache": ["ungated"], "seed": THREE},
    "multi-text": {"mode": ["laclip-mt"], "cache": ["human", "llm"], "seed": THREE},
    "multi-text-half": {"mode": ["laclip-mt"], "cache": ["human", "llm"], "seed": THREE},
    "texts": {"mode": ["laclip"], "cache": ["human", "llm"], "texts": [1, 2, 3], "seed": THREE},
    "seeds": ARMS | {"seed": FIVE},
}
"""By part, the grid, in the order of what is learnt from it; a run that two parts share is made once."""
HALF = {"multi-text-half": EPOCHS // 2}
"""laclip-mt at equal compute: a step with five texts costs about twice that with one."""
PROBED = ("arms", "gate")


def study(part: str, device: str) -> dict[str, Any]:
    """The ablation of a part, as ``laclip-aug ablate`` reads it."""
    grid = PARTS[part] | {"model": "small.json", "cache": {name: name for name in PARTS[part]["cache"]}}
    evaluate = [RETRIEVAL, ZERO_SHOT, PROBE] if part in PROBED else [RETRIEVAL]
    return {"train": TRAIN | {"epochs": HALF.get(part, EPOCHS), "device": device}, "evaluate": evaluate, "grid": grid}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("flickr8k", type=Path)
    parser.add_argument("--cifar10", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("experiment-out"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, help="runs at a time (default: one, or one for each GPU)")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    prepare(args.flickr8k.resolve(), args.cifar10.resolve(), out)
    for name, content in (("small.json", MODEL), ("cifar10.yaml", CIFAR10)):
        (out / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")  # JSON is YAML
    for part in args.parts:
        (out / f"{part}.yaml").write_text(json.dumps(study(part, args.device), indent=1) + "\n", encoding="utf-8")
        jobs = ["--jobs", str(args.jobs)] if args.jobs else []
        made = "study-half" if part in HALF else "study"
        run(["laclip-aug", "ablate", f"{part}.yaml", "--out", made, *jobs], out)
        shutil.copyfile(out / made / "results.json", out / f"{part}.json")


if __name__ == "__main__":
    main()

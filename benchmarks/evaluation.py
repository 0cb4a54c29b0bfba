"""``laclip-aug eval all`` on real photos: time and memory, first and again; its parts against the plain way.

Why it matters: an evaluation that is slow, or starts anew, is not run often. Compared in one process, in CPU seconds of
one thread, the better of two rounds in turns:

- features against a bare loop over the same images: decode, preprocess, ``encode_image``, and nothing else;
- the linear probe's fit, in scikit-learn's objective, against scikit-learn, at five values of C: times and the
  objectives reached;
- few-shot episodes against a loop that takes them one by one in torch, as the code that the paper follows does.

``--images`` is CIFAR-10's test set as a tar with a folder for each class (https://www.cs.toronto.edu/~kriz/cifar.html),
``--photos`` and ``--captions`` Flickr8k's photos as a tar and a table of filepath and caption. The last line is JSON.

    python benchmarks/evaluation.py --images cifar10/test.tar --photos flickr8k/images_val.tar \\
        --captions flickr8k/captions_val.tsv --model small --model-config small.json --pretrained epoch_4.pt
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from laclip_aug.evaluation.datasets import DataSet, DataSpec
from laclip_aug.evaluation.features import FeatureStore
from laclip_aug.evaluation.fewshot import episodes, few_shot
from laclip_aug.evaluation.logistic import fit
from laclip_aug.evaluation.model import Model

COSTS = (1e-4, 1e-2, 1.0, 1e2, 1e4)
WITHOUT_PROBE = ("zero-shot-7", "zero-shot-80", "few-shot", "retrieval")
SPLITS = {"train": "photos[:50%]", "val": "photos[50%:60%]", "test": "photos[60%:]", "zero-shot": "photos"}


def run_eval(arguments: list[str]) -> dict[str, float]:
    """Seconds, CPU seconds and peak memory in MB of one ``laclip-aug eval all`` in a process of its own."""
    code = "import sys; from laclip_aug.cli import main; sys.exit(main(sys.argv[1:]))"
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code, "eval", "all", *arguments], stdout=sys.stderr)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"laclip-aug eval failed: {status}")
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}


def cpu(*calls: Callable[[], Any], rounds: int = 2) -> list[float]:
    """The least CPU seconds of each of ``calls`` over ``rounds``, in turns."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for number, call in enumerate(calls):
            started = time.process_time()
            call()
            best[number] = min(best[number], time.process_time() - started)
    return best


def features_against_a_loop(model: Model, data: DataSet, count: int) -> dict[str, float]:
    images = data.images("zero-shot")[0].only(range(count))

    def bare() -> None:
        preprocess, encode = model.loaded.preprocess, model.loaded.model.encode_image
        with torch.inference_mode():
            for at in range(0, count, 64):
                encode(torch.stack([preprocess(images.read(i)) for i in range(at, min(at + 64, count))]))

    def kept() -> None:
        with tempfile.TemporaryDirectory() as folder:
            FeatureStore(Path(folder), workers=0).images(model, images)

    ours, theirs = cpu(kept, bare)
    return {"images": count, "ours": ours, "bare_loop": theirs, "speed_ratio": theirs / ours}


def probe_against_scikit_learn(features: Any, labels: Any) -> dict[str, Any]:
    rows, classes = torch.as_tensor(features), torch.as_tensor(labels)
    reached: list[tuple[float, float]] = []

    def objective(weight: Any, bias: Any, cost: float) -> float:
        logits = features.astype(np.float64) @ weight.T.astype(np.float64) + bias
        logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        return float(-logs[np.arange(len(labels)), labels].mean() + 0.5 * (weight**2).sum() / (cost * len(labels)))

    def ours() -> list[Any]:
        return [fit(rows, classes, int(labels.max()) + 1, cost, "scikit-learn") for cost in COSTS]

    def theirs() -> list[Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [LogisticRegression(C=cost, max_iter=1000, tol=1e-7).fit(features, labels) for cost in COSTS]

    for one, other, cost in zip(ours(), theirs(), COSTS, strict=True):
        reached.append(
            (objective(one.weight.numpy(), one.bias.numpy(), cost), objective(other.coef_, other.intercept_, cost))
        )
    times = cpu(ours, theirs)
    return {"rows": len(labels), "ours": times[0], "scikit_learn": times[1], "ratio": times[0] / times[1],
            "objectives_ours_and_scikit_learn": reached}  # fmt: skip


def few_shot_against_a_loop(train: Any, test: Any) -> dict[str, float]:
    settings = (5000, 5, 5, 6, 8)
    rows, asked = torch.as_tensor(train[0]), torch.as_tensor(test[0])
    normal, found = torch.nn.functional.normalize, list[float]()

    def loop() -> None:
        found.clear()
        for support, queries, places in episodes(train[1], test[1], *settings):
            some, others = rows[support.ravel()], asked[queries]
            mean = some.mean(dim=0, keepdim=True)
            some, others = normal(some - mean, dim=-1), normal(others - mean, dim=-1)
            centres = some.view(5, 5, -1).mean(dim=1)
            nearest = (others[:, None] - centres[None]).norm(dim=-1).argmin(dim=1)
            found.append(float((nearest.numpy() == places).mean()))

    ours, theirs = cpu(lambda: few_shot(*train, *test, *settings), loop)
    accuracy = few_shot(*train, *test, *settings)["accuracy"]
    return {"ours": ours, "loop": theirs, "ratio": ours / theirs, "accuracy": accuracy,
            "accuracy_of_the_loop": 100 * float(np.mean(found))}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("images", "photos", "captions", "model-config", "pretrained"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--compared", type=int, default=2000, metavar="N", help="images for the ratio of features")
    parser.add_argument("--json", type=Path, help="write the JSON document here too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    document: dict[str, Any] = {"threads": 1, "open_clip_model": json.loads(args.model_config.read_text())}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        data = {"photos": str(args.images.resolve())}
        lines = ["name: cifar10-test", "version: 1", f"data: {json.dumps(data)}", f"splits: {json.dumps(SPLITS)}"]
        (home / "cifar10.yaml").write_text("\n".join(lines))
        pair = ["--data", str(args.photos), "--captions", str(args.captions)]
        model_options = ["--model", args.model, "--model-config", str(args.model_config)]
        model_options += ["--pretrained", str(args.pretrained), "--features", str(home / "features"), "--workers", "0"]
        whole = [*model_options, "--data", str(home / "cifar10.yaml")]
        document["classes_first"] = run_eval([*whole, "--json", str(home / "classes.json")])
        document["captions_first"] = run_eval([*model_options, *pair, "--json", str(home / "captions.json")])
        short = [word for name in WITHOUT_PROBE for word in ("--protocol", name)]
        document["classes_again_without_probe"] = run_eval([*whole, *short])
        document["classes_again_with_probe"] = run_eval(whole)
        document["captions_again"] = run_eval([*model_options, *pair])
        document["results"] = [
            {key: result[key] for key in ("protocol", "protocol_version", "metrics", "counts")}
            for name in ("classes", "captions")
            for result in json.loads((home / f"{name}.json").read_text())["results"]
        ]
        model = Model(args.model, str(args.pretrained), args.model_config, device="cpu")
        cifar = DataSet(DataSpec(name="cifar10-test", version=1, data=data, splits=SPLITS))
        kept = FeatureStore(home / "features", workers=0)
        parts = {role: cifar.labelled(role) for role in ("train", "test")}
        vectors = {role: kept.images(model, part.images).vectors[part.chosen] for role, part in parts.items()}
        document["features"] = features_against_a_loop(model, cifar, args.compared)
        train, test = ((vectors[role], parts[role].labels) for role in ("train", "test"))
        document["few_shot"] = few_shot_against_a_loop(train, test)
        document["probe"] = probe_against_scikit_learn(*train)
    text = json.dumps(document, indent=1)
    if args.json:
        args.json.write_text(text + "\n")
    print(json.dumps(document))


if __name__ == "__main__":
    main()

"""Throughput of open_clip's data loading with linked augmentation, as a ratio to the same work on the images alone.

Why it matters: each sample's photo is hashed and its texts are looked through by rule; a GPU must not wait for it.

Whole epochs of open_clip's ``CsvDataset`` and loader with its train transform and real photos, the ways in turns, each
round with another order:

- images alone: half of the photos mirrored, a fifth turned grey, at random; texts by open_clip's own tokenizer;
- plain: nothing done to photos or texts;
- linked: ``--text-aug-linked flip,gray``;
- laclip, linked: the same with a text drawn from a cache;
- two caches, linked: with a text drawn from two caches.

Samples per second by the clock, and CPU time per sample of all processes, in the steady state after ``--skip`` batches.
A ratio is that of one round, to images alone; shown are the median, the least and the largest. Data are those of
``benchmarks/loader.py``. The last line is one JSON document.

    python benchmarks/linked_loader.py --images flickr8k --captions captions.tsv --side 112
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

import open_clip
import pandas
import torch
from loader import MODEL, Counting, epoch, make_data, spread
from open_clip_train.data import get_csv_dataset
from PIL import Image, ImageOps
from tqdm import tqdm

from laclip_aug.training.counts import DrawCounts
from laclip_aug.training.linked import CHANGES, Linked, to_grey
from laclip_aug.training.loader import TrainingLoader
from laclip_aug.training.options import TextAugOptions
from laclip_aug.training.pairing import Handover, PromisingTransform
from laclip_aug.training.samplers import sampler_for
from laclip_aug.training.tokenizer import AugmentingTokenizer, SharedEpoch

WAYS = ("images alone", "plain", "linked", "laclip, linked", "two caches, linked")
LINKED = ("flip", "gray")


class ImagesAlone:
    """The train transform after what linked augmentation does to photos."""

    def __init__(self, transform: Counting) -> None:
        self.transform, self.done = transform, transform.done

    def __call__(self, image: Image.Image) -> torch.Tensor:
        if random.random() < CHANGES["flip"]:
            image = ImageOps.mirror(image)
        if random.random() < CHANGES["gray"]:
            image = to_grey(image)
        return self.transform(image)


def loader_for(way: str, train: Path, caches: list[Path], args: argparse.Namespace) -> Any:
    settings = argparse.Namespace(
        train_data=str(train), csv_img_key="filepath", csv_caption_key="title", csv_separator="\t",
        distributed=False, batch_size=args.batch, workers=args.workers,
    )  # fmt: skip
    transform: Any = Counting(args.workers)
    tokenizer: Any = open_clip.get_tokenizer(MODEL)
    if way == "images alone":
        transform = ImagesAlone(transform)
    if "linked" not in way:
        return get_csv_dataset(settings, transform, is_train=True, tokenizer=tokenizer).dataloader
    chosen = {"laclip, linked": caches[:1], "two caches, linked": caches[1:]}.get(way, [])
    given: dict[str, Any] = {"mode": "laclip", "cache": tuple(map(str, chosen))} if chosen else {}
    sampler, handover = sampler_for(TextAugOptions(linked=LINKED, **given)), Handover()
    linked, counts = Linked(LINKED, 0, args.workers), DrawCounts(sampler.strategies, args.workers)
    augmenting = AugmentingTokenizer(tokenizer, sampler, SharedEpoch(), counts, handover, linked)
    texts = [text for cache, _ in sampler.caches for text in cache.texts()] if given else []
    augmenting.learn([*pandas.read_csv(train, sep="\t")["title"], *texts])
    transform = PromisingTransform(transform, handover)
    loader = get_csv_dataset(settings, transform, is_train=True, tokenizer=augmenting).dataloader
    return TrainingLoader(loader, lambda texts, k: None, lambda: None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--captions", type=Path, required=True)
    parser.add_argument("--side", type=int, help="scale photos to this shorter side first")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--skip", type=int, default=16, help="batches before the steady state")
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        train, caches = make_data(args, Path(name))
        for turn in tqdm(range(args.rounds), desc="rounds", disable=None):
            for way in WAYS[turn % len(WAYS) :] + WAYS[: turn % len(WAYS)]:
                runs[way].append(epoch(loader_for(way, train, caches, args), args.skip)["steady"])
    print(f"| way | samples/s | against {WAYS[0]} | us of CPU per sample | against {WAYS[0]} |\n|---|---|---|---|---|")
    for way, found in runs.items():
        pairs = list(zip(found, runs[WAYS[0]], strict=True))
        clock = spread([run["samples_per_second"] / base["samples_per_second"] for run, base in pairs])
        cpu = spread([base["cpu_us"] / run["cpu_us"] for run, base in pairs])
        speed, cost = (statistics.median(run[key] for run in found) for key in ("samples_per_second", "cpu_us"))
        print(f"| {way} | {speed:.0f} | {clock} | {cost:.0f} | {cpu} |")
    settings = {key: getattr(args, key) for key in ("side", "batch", "workers", "rounds", "skip")}
    print(json.dumps({"settings": settings, "runs": runs}))


if __name__ == "__main__":
    main()

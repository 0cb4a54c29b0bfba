"""Throughput of open_clip's data loading with augmented texts, as a ratio to its own.

Why it matters: look-ups, draws and additional texts to tokenise must not keep a GPU waiting for data.

Compared in one run and in turns: open_clip's ``CsvDataset`` and loader with its train transform and real photos, and

- plain: its own tokenizer (the base of the ratios);
- laclip: one text drawn from a cache;
- laclip-mt: five texts from the cache;
- the last two again with open_clip's tokenizer as it is, without the table of words that ours puts before it.

Two figures. Per sample, without a loader: CPU time of the photo (read, decoded, transformed) and of the text in each
way, in turns, sample by sample; their sums give the ratio. The first ``--warm`` samples are not counted: the words of a
large data set are soon known. And whole epochs, ``--rounds`` of them with each number of ``--workers``, each with
workers that know no word yet: samples per second by the clock, and CPU time per sample of the loading processes from
their start to the last batch, which is what a machine with enough cores shows as throughput. On a busy machine the
clock says nothing, and the CPU time of an epoch is good to some 5%. All ratios are throughput / throughput of plain.

``--images`` is a folder of photos and ``--captions`` a table ``filepath, caption_index, caption`` with five captions
each (Flickr8k: https://www.kaggle.com/datasets/adityajn105/flickr8k; captions.txt numbered from 0). The first caption
becomes the image's, the others its rewrites. Text costs the same whatever the photo, so a small photo is the hard case:
``--side`` first scales photos to that shorter side, as LAION or CC3M are usually stored. The last line is one JSON
document.

    python benchmarks/loader.py --images flickr8k --captions captions.tsv
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import open_clip
import pandas
import torch
from open_clip_train.data import get_csv_dataset
from PIL import Image

from laclip_aug.cache.imports import ImportForm, import_cache
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.training.loader import TrainingLoader
from laclip_aug.training.sampling import TextSampler
from laclip_aug.training.tokenizer import AugmentingTokenizer, DrawCounts, SharedEpoch

TEXTS = 5


def make_data(args: argparse.Namespace, folder: Path) -> tuple[Path, Path]:
    """A training table for open_clip and the cache of its rewrites."""
    table = pandas.read_csv(args.captions, sep=None, engine="python", quoting=3)
    wide = table.pivot(index="filepath", columns="caption_index", values="caption").reset_index()
    wide = wide.dropna().drop_duplicates(subset=[0])
    wide.columns = ["filepath", "title", *(f"rewrite_{j}" for j in range(1, TEXTS))]
    wide["filepath"] = [str(scaled(args.images / name, folder, args.side)) for name in wide["filepath"]]
    wide["title"] = wide["title"].str.replace('"', "'")
    train, cache = folder / "train.tsv", folder / "cache"
    wide.to_csv(train, sep="\t", index=False)
    import_cache(train, cache, ImportForm(rewrite_keys=tuple(wide.columns[2:])))
    return train, cache


def scaled(photo: Path, folder: Path, side: int | None) -> Path:
    """``photo``, or a copy whose shorter side has ``side`` pixels."""
    if side is None:
        return photo
    with Image.open(photo) as image:
        factor = side / min(image.size)
        small = image.convert("RGB").resize([round(length * factor) for length in image.size], Image.Resampling.BICUBIC)
    target = folder / photo.name
    small.save(target, quality=92)
    return target


def ways(cache: Path, tokenizer: Any, workers: int) -> dict[str, Callable[..., torch.Tensor]]:
    """The tokenizers that are compared."""
    lookup = CaptionCache(cache)
    found: dict[str, Callable[..., torch.Tensor]] = {"plain": tokenizer}
    for name, multi in (("laclip", False), (f"laclip-mt, {TEXTS} texts", True)):
        for suffix in ("", ", no table of words"):
            sampler = TextSampler(lookup, multi=multi)
            augmenting = AugmentingTokenizer(tokenizer, sampler, SharedEpoch(), DrawCounts(sampler.strategies, workers))
            if suffix:
                augmenting.tokenizer = tokenizer
            found[name + suffix] = augmenting
    return found


def loader_for(train: Path, tokenizer: Callable[..., torch.Tensor], args: argparse.Namespace, workers: int) -> Any:
    settings = argparse.Namespace(
        train_data=str(train), csv_img_key="filepath", csv_caption_key="title", csv_separator="\t",
        distributed=False, batch_size=args.batch, workers=workers,
    )  # fmt: skip
    transform = open_clip.image_transform(224, is_train=True)
    loader = get_csv_dataset(settings, transform, is_train=True, tokenizer=tokenizer).dataloader
    plain = not isinstance(tokenizer, AugmentingTokenizer)
    return loader if plain else TrainingLoader(loader, lambda texts, k: None, lambda: None)


def cpu_seconds(processes: Iterable[Any]) -> float:
    """CPU time of running child processes, from the kernel's count in nanoseconds."""
    return sum(int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]) for process in processes) / 1e9


def epoch(loader: Any, workers: int) -> dict[str, float]:
    """One epoch: samples per second by the clock, and CPU microseconds per sample."""
    own, started, samples, batches = time.process_time(), time.perf_counter(), 0, len(loader)
    for number, (images, _) in enumerate(loader, start=1):
        samples += len(images)
        if number == batches:  # the workers are still there, with nothing left to do
            wall = time.perf_counter() - started
            cpu = cpu_seconds(multiprocessing.active_children()) if workers else time.process_time() - own
    return {"samples_per_second": samples / wall, "cpu_us": 1e6 * cpu / samples}


def per_sample(datasets: dict[str, Any], samples: int, warm: int) -> dict[str, float]:
    """Mean CPU microseconds of a photo (``photo``) and of a caption's texts in each way, measured in turns.

    Times over five medians are left out: they are the machine's, not the code's.
    """
    some = next(iter(datasets.values()))
    work: dict[str, Callable[[int], Any]] = {"photo": lambda index: some.transforms(Image.open(some.images[index]))}
    for name, dataset in datasets.items():
        work[name] = lambda index, dataset=dataset: dataset.tokenize([str(dataset.captions[index])])[0]
    names, spent = list(work), {name: [] for name in work}
    for number in range(warm + samples):
        for step in range(len(names)):
            name = names[(number + step) % len(names)]
            if number >= warm and name != "photo":
                work["photo"](number % len(some))  # as in a loader: its data push the texts' out of the CPU's caches
            started = time.process_time_ns()
            if number >= warm or name != "photo":
                work[name](number % len(some))
            if number >= warm:
                spent[name].append((time.process_time_ns() - started) / 1000)
    kept = {name: [t for t in times if t < 5 * statistics.median(times)] for name, times in spent.items()}
    return {name: statistics.mean(times) for name, times in kept.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--captions", type=Path, required=True)
    parser.add_argument("--side", type=int, help="scale photos to this shorter side first")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=1000, help="samples of the first figure")
    parser.add_argument("--warm", type=int, default=500, help="samples before them, texts only")
    parser.add_argument("--json", type=Path, help="also write the JSON document here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    with tempfile.TemporaryDirectory() as name:
        train, cache = make_data(args, Path(name))
        plain_datasets = {
            way: loader_for(train, augmenting, args, 0).dataset for way, augmenting in ways(cache, tokenizer, 0).items()
        }
        single = per_sample(plain_datasets, args.samples, args.warm)
        runs: dict[tuple[str, int], list[dict[str, float]]] = {}
        for turn in range(args.rounds):
            for workers in args.workers:
                compared = [(way, t) for way, t in ways(cache, tokenizer, workers).items() if "no table" not in way]
                for way, augmenting in compared[turn % 3 :] + compared[: turn % 3]:
                    found = epoch(loader_for(train, augmenting, args, workers), workers)
                    runs.setdefault((way, workers), []).append(found)
    rows: list[dict[str, Any]] = []
    photo = single.pop("photo")
    print(f"A photo takes {photo:.0f} µs.\n")
    print("| one sample | µs of its texts | throughput against plain |\n|---|---|---|")
    for way, spent in single.items():
        ratio = (photo + single["plain"]) / (photo + spent)
        rows.append({"way": way, "photo_us": photo, "texts_us": spent, "ratio": ratio})
        print(f"| {way} | {spent:.0f} | {ratio:.3f} |")
    print("\n| epochs | workers | samples/s | against plain | µs of CPU per sample | against plain |\n|" + "---|" * 6)
    for (way, workers), found in runs.items():
        base = runs["plain", workers]
        clock = statistics.median(
            a["samples_per_second"] / b["samples_per_second"] for a, b in zip(found, base, strict=True)
        )
        cpu = statistics.median(b["cpu_us"] / a["cpu_us"] for a, b in zip(found, base, strict=True))
        speed, spent = (statistics.median(run[key] for run in found) for key in ("samples_per_second", "cpu_us"))
        rows.append({"way": way, "workers": workers, "samples_per_second": speed, "clock_ratio": clock})
        rows[-1] |= {"cpu_us": spent, "cpu_ratio": cpu, "rounds": found}
        print(f"| {way} | {workers} | {speed:.0f} | {clock:.3f} | {spent:.0f} | {cpu:.3f} |")
    settings = {key: getattr(args, key) for key in ("side", "batch", "workers", "rounds", "samples", "warm")}
    document = json.dumps({"settings": settings, "torch": torch.__version__, "cores": os.cpu_count(), "rows": rows})
    if args.json:
        args.json.write_text(document + "\n")
    print(document)


if __name__ == "__main__":
    main()

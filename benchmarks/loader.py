"""Throughput of open_clip's data loading with augmented texts, as a ratio to its own.

Why it matters: look-ups, draws and additional texts to tokenise must not keep a GPU waiting for data.

Compared in one run and in turns: open_clip's ``CsvDataset`` and loader with its train transform and real photos, and

- plain: its own tokenizer (the base of the ratios);
- laclip: one text drawn from a cache;
- laclip-mt: five texts from the cache;
- two caches: laclip with the same texts in two caches, drawn by weights;
- two caches and eda: the same, with an augmenter that makes a text while loading beside them;
- laclip and laclip-mt again with open_clip's tokenizer as it is, without the table of words that ours puts before it.

Each augmenting tokenizer learns the words of some texts first, as it does when training starts (``--learned``; how long
that takes is reported, and counted in no ratio). A number clearly below the set's texts shows a set with more words.

Two figures. Per sample, without a loader: CPU time of the photo (read, decoded, transformed) and of the text in each
way, in turns, sample by sample; their sums give the ratio. That is the steady state of a long run, for plain too: all
ways share open_clip's tokenizer, which remembers each piece of a word that one of them has met.

One look-up in the cache is shown by itself too, one after another and each after a photo.

And whole epochs, ``--rounds`` of them for each number of ``--workers``, the ways in turns, each with a tokenizer of its
own: samples per second by the clock, and CPU time per sample of all processes, the main one included, which is what a
machine with enough cores shows as throughput. Both over the whole epoch, from before the workers start; and over its
steady state, after the first ``--skip`` batches, counted by the samples that workers have finished by then. A ratio is
that of one round; shown are the median of the rounds and the least and the largest. On a busy machine the clock says
little, and CPU time is good to some 5% in a round. All ratios are throughput / throughput of plain.

``--images`` is a folder of photos and ``--captions`` a table ``filepath, caption_index, caption`` with five captions
each (Flickr8k: https://www.kaggle.com/datasets/adityajn105/flickr8k; captions.txt numbered from 0). The first caption
becomes the image's, the others its rewrites. Text costs the same whatever the photo, so a small photo is the hard case:
``--side`` first scales photos to that shorter side, as LAION or CC3M are usually stored. The last line is one JSON
document.

    python benchmarks/loader.py --images flickr8k --captions captions.tsv --workers 8
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import chain, islice
from pathlib import Path
from typing import Any

import open_clip
import pandas
import torch
from open_clip_train.data import get_csv_dataset
from PIL import Image
from torch.utils.data import get_worker_info
from tqdm import tqdm

from laclip_aug.augmenter import create_augmenter
from laclip_aug.cache.ingest import import_cache
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.exchange.import_form import ImportForm
from laclip_aug.training.counts import DrawCounts
from laclip_aug.training.coverage import SAMPLE_SIZE
from laclip_aug.training.loader import TrainingLoader
from laclip_aug.training.sampling import TextSampler
from laclip_aug.training.sources import AugmenterLookup
from laclip_aug.training.tokenizer import AugmentingTokenizer, SharedEpoch, Tokenizer
from laclip_aug.training.words import LEARNED

MODEL = "ViT-B-32"
TEXTS = 5
NO_TABLE = ", no table of words"


def make_data(args: argparse.Namespace, folder: Path) -> tuple[Path, list[Path]]:
    """A training table for open_clip; the cache of its rewrites, and two caches that share them."""
    table = pandas.read_csv(args.captions, sep=None, engine="python", quoting=3)
    wide = table.pivot(index="filepath", columns="caption_index", values="caption").reset_index()
    wide = wide.dropna().drop_duplicates(subset=[0])
    wide.columns = ["filepath", "title", *(f"rewrite_{j}" for j in range(1, TEXTS))]
    wide["filepath"] = [str(scaled(args.images / name, folder, args.side)) for name in wide["filepath"]]
    wide["title"] = wide["title"].str.replace('"', "'")
    train, caches = folder / "train.tsv", [folder / name for name in ("cache", "first", "second")]
    wide.to_csv(train, sep="\t", index=False)
    keys = tuple(wide.columns[2:])
    for cache, chosen in zip(caches, (keys, keys[:2], keys[2:]), strict=True):
        import_cache(train, cache, ImportForm(rewrite_keys=chosen))
    return train, caches


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


def ways(train: Path, caches: list[Path], workers: int, learned: int, known: Any = None) -> dict[str, Tokenizer]:
    """The tokenizers that are compared, over ``known`` or else each over a new one of open_clip's."""
    lookup, *both = map(CaptionCache, caches)
    captions = pandas.read_csv(train, sep="\t")["title"].sample(frac=1, random_state=0)[:SAMPLE_SIZE]
    found: dict[str, Tokenizer] = {"plain": known or open_clip.get_tokenizer(MODEL)}
    for name, multi in (("laclip", False), (f"laclip-mt, {TEXTS} texts", True)):
        for suffix in ("", NO_TABLE):
            tokenizer, sampler = known or open_clip.get_tokenizer(MODEL), TextSampler(lookup, multi=multi)
            augmenting = AugmentingTokenizer(tokenizer, sampler, SharedEpoch(), DrawCounts(sampler.strategies, workers))
            if suffix:
                augmenting.tokenizer = tokenizer
            augmenting.learn(islice(chain(captions, lookup.texts()), learned))
            found[name + suffix] = augmenting
    made = AugmenterLookup(create_augmenter("eda"), 1, seed=0)
    for name, lookups in {"two caches": both, "two caches and eda": [*both, made]}.items():
        sampler = TextSampler(*lookups, weights={"original": 0.5})
        tokenizer = known or open_clip.get_tokenizer(MODEL)
        augmenting = AugmentingTokenizer(tokenizer, sampler, SharedEpoch(), DrawCounts(sampler.strategies, workers))
        augmenting.learn(islice(chain(captions, lookup.texts()), learned))
        found[name] = augmenting
    return found


class Counting:
    """The train transform, counting the photos that are done; each worker in a place of its own."""

    def __init__(self, workers: int) -> None:
        self.transform = open_clip.image_transform(224, is_train=True)
        self.done = torch.zeros(max(1, workers), dtype=torch.int64).share_memory_()

    def __call__(self, image: Image.Image) -> torch.Tensor:
        pixels = self.transform(image)
        worker = get_worker_info()
        self.done[0 if worker is None else worker.id] += 1
        return pixels


def loader_for(train: Path, tokenizer: Tokenizer, args: argparse.Namespace, workers: int) -> Any:
    settings = argparse.Namespace(
        train_data=str(train), csv_img_key="filepath", csv_caption_key="title", csv_separator="\t",
        distributed=False, batch_size=args.batch, workers=workers,
    )  # fmt: skip
    loader = get_csv_dataset(settings, Counting(workers), is_train=True, tokenizer=tokenizer).dataloader
    plain = not isinstance(tokenizer, AugmentingTokenizer)
    return loader if plain else TrainingLoader(loader, lambda texts, k: None, lambda: None)


def cpu_seconds() -> float:
    """CPU time of this process and of its children, all their threads; the kernel counts nanoseconds."""
    threads = [
        task for child in multiprocessing.active_children() for task in Path(f"/proc/{child.pid}/task").iterdir()
    ]
    return time.process_time() + sum(int((task / "schedstat").read_text().split()[0]) for task in threads) / 1e9


def epoch(loader: Any, skip: int) -> dict[str, dict[str, float]]:
    """One epoch, all of it and behind the first ``skip`` batches: samples per second, CPU microseconds per sample."""
    done, batches = loader.dataset.transforms.done, len(loader)
    if not 0 < skip < batches:
        raise SystemExit(f"an epoch has {batches} batches, so --skip cannot be {skip}; give more photos, or skip fewer")
    marks = [(time.perf_counter(), cpu_seconds(), 0)]
    for number, _ in enumerate(loader, start=1):
        if number in (skip, batches):  # behind the last batch the workers are still there, with nothing left to do
            marks.append((time.perf_counter(), cpu_seconds(), int(done.sum())))
    wall, cpu, samples = marks[-1]
    return {
        part: {"samples_per_second": (samples - n) / (wall - w), "cpu_us": 1e6 * (cpu - c) / (samples - n)}
        for part, (w, c, n) in (("whole epoch", marks[0]), ("steady", marks[1]))
    }


def per_sample(datasets: dict[str, Any], args: argparse.Namespace) -> dict[str, float]:
    """Mean CPU microseconds of a photo (``photo``) and of a caption's texts in each way, measured in turns.

    Times over five medians are left out: they are the machine's, not the code's.
    """
    some = next(iter(datasets.values()))
    order = random.Random(0).sample(range(len(some)), len(some))
    work: dict[str, Callable[[int], Any]] = {"photo": lambda index: some.transforms(Image.open(some.images[index]))}
    for name, dataset in datasets.items():
        work[name] = lambda index, dataset=dataset: dataset.tokenize([str(dataset.captions[index])])[0]
    names, spent = list(work), {name: [] for name in work}
    for number in range(args.warm + args.samples):
        index = order[number % len(order)]
        for step in range(len(names)):
            name = names[(number + step) % len(names)]
            if number >= args.warm and name != "photo":
                work["photo"](index)  # as in a loader: its data push the texts' out of the CPU's caches
            started = time.process_time_ns()
            if number >= args.warm or name != "photo":
                work[name](index)
            if number >= args.warm:
                spent[name].append((time.process_time_ns() - started) / 1000)
    kept = {name: [t for t in times if t < 5 * statistics.median(times)] for name, times in spent.items()}
    return {name: statistics.mean(times) for name, times in kept.items()}


def look_up(cache: Path, dataset: Any, args: argparse.Namespace) -> dict[str, float]:
    """Median microseconds by the clock of one look-up in the cache: one after another, and each after a photo."""
    lookup = CaptionCache(cache)
    order = random.Random(1).sample(range(len(dataset)), min(args.samples, len(dataset)))
    spent: dict[str, list[float]] = {"alone": [], "after a photo": []}
    for way, times in spent.items():
        for index in order:
            if way != "alone":
                dataset.transforms(Image.open(dataset.images[index]))
            started = time.perf_counter_ns()
            lookup.get(str(dataset.captions[index]))
            times.append((time.perf_counter_ns() - started) / 1000)
    return {way: statistics.median(times) for way, times in spent.items()}


def epochs(train: Path, caches: list[Path], args: argparse.Namespace) -> list[dict[str, Any]]:
    """All rounds of whole epochs: a row for each way, number of workers and part of the epoch."""
    runs: dict[tuple[str, int], list[dict[str, dict[str, float]]]] = {}
    for turn in tqdm(range(args.rounds), desc="rounds", disable=None):
        for workers in args.workers:
            found = ways(train, caches, workers, args.learned)
            compared = [(way, tokenizer) for way, tokenizer in found.items() if NO_TABLE not in way]
            for way, tokenizer in compared[turn % len(compared) :] + compared[: turn % len(compared)]:
                loader = loader_for(train, tokenizer, args, workers)
                runs.setdefault((way, workers), []).append(epoch(loader, args.skip))
    rows = []
    for way, workers in sorted(runs, key=lambda run: run[1]):
        for part in ("whole epoch", "steady"):
            found, base = ([run[part] for run in runs[name, workers]] for name in (way, "plain"))
            clock = [a["samples_per_second"] / b["samples_per_second"] for a, b in zip(found, base, strict=True)]
            cpu = [b["cpu_us"] / a["cpu_us"] for a, b in zip(found, base, strict=True)]
            row = {"way": way, "workers": workers, "part": part, "clock_ratios": clock, "cpu_ratios": cpu}
            rows.append(row | {key: statistics.median(run[key] for run in found) for key in found[0]})
    return rows


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--captions", type=Path, required=True)
    parser.add_argument("--side", type=int, help="scale photos to this shorter side first")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="*", default=[8])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--skip", type=int, default=24, help="batches before the steady state")
    parser.add_argument("--learned", type=int, default=LEARNED, help="texts that fill the table of words")
    parser.add_argument("--samples", type=int, default=1000, help="samples of the first figure")
    parser.add_argument("--warm", type=int, default=100, help="samples before them, texts only")
    parser.add_argument("--json", type=Path, help="also write the JSON document here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        train, caches = make_data(args, Path(name))
        started = time.process_time()
        known = ways(train, caches, 0, args.learned, open_clip.get_tokenizer(MODEL))
        learning = (time.process_time() - started) / 4  # all but plain learn; those without a table have nothing to
        single = per_sample({way: loader_for(train, t, args, 0).dataset for way, t in known.items()}, args)
        photo = single.pop("photo")
        found = look_up(caches[0], loader_for(train, known["plain"], args, 0).dataset, args)
        print(f"A photo takes {photo:.0f} us; a table of words is filled in {learning:.2f} s.")
        print(
            f"A look-up takes {found['alone']:.0f} us alone and {found['after a photo']:.0f} us after a photo.\n",
            flush=True,
        )
        print("| one sample | us of its texts | throughput against plain |\n|---|---|---|")
        rows: list[dict[str, Any]] = []
        for way, spent in single.items():
            ratio = (photo + single["plain"]) / (photo + spent)
            rows.append({"way": way, "photo_us": photo, "texts_us": spent, "ratio": ratio})
            print(f"| {way} | {spent:.0f} | {ratio:.3f} |", flush=True)
        timed = epochs(train, caches, args)
    print(
        "\n| workers | part | way | samples/s | against plain | us of CPU per sample | against plain |\n|" + "---|" * 7
    )
    for row in timed:
        print(
            f"| {row['workers']} | {row['part']} | {row['way']} | {row['samples_per_second']:.0f} | "
            f"{spread(row['clock_ratios'])} | {row['cpu_us']:.0f} | {spread(row['cpu_ratios'])} |"
        )
    keys = ("side", "batch", "workers", "rounds", "skip", "learned", "samples", "warm")
    document = json.dumps(
        {
            "settings": {key: getattr(args, key) for key in keys},
            "learning_seconds": learning,
            "look_up_us": found,
            "torch": torch.__version__,
            "cores": os.cpu_count(),
            "rows": rows + timed,
        }
    )
    if args.json:
        args.json.write_text(document + "\n")
    print(document)


if __name__ == "__main__":
    main()

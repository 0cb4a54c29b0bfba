"""The cache: captions stored per second, look-ups per second, and memory of a loader worker.

Why it matters: a build must not be held up by its own book-keeping, and every loader worker looks up each caption it
reads, beside decoding an image in about 5 ms.

Build: ``--captions`` drawn captions with an augmenter that does next to nothing (four texts by string formatting), the
whole way: journal, shards, lookup. Look-up: the rewrites of captions in random order, from

- ours: ``laclip_aug.cache.lookup.CaptionCache``, as the trainer uses it, each read checked;
- lmdb: an LMDB file, the same key and value, nothing checked (``pip install lmdb``);
- sqlite: one table, the same 16-byte key, the same bytes as value, read-only, memory-mapped;
- dict: a Python dict from the same key to the ready rewrites, built in the parent and shared by fork.

All start from the caption and end with a tuple of rewrites. Times are the process's own CPU time, so that other
work on the machine counts little. Memory of a worker: pages of its own (``Private_Dirty`` in
``/proc/self/smaps_rollup``; what is mapped from a file is shared by all) that a forked child has gained after
``--lookups`` look-ups, over what a child that looks up nothing has. Needs no data. The last line is one JSON document.

    python benchmarks/cache.py --captions 200000
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import lmdb
from child_memory import in_child, private_bytes

from laclip_aug.augmenter import CaptionAugmenter, Rewrite
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.entry import pack, unpack
from laclip_aug.cache.keys import caption_key
from laclip_aug.cache.lookup import CaptionCache

SOURCES = ("a", "b", "c", "d")
Get = Callable[[str], tuple[Rewrite, ...] | None]


class Trivial(CaptionAugmenter):
    """Four texts by string formatting: what remains is the cache's own cost."""

    name, sources = "trivial", SOURCES

    def augment(self, captions: Sequence[str], n: int, seed: int) -> list[list[str]]:
        return [[f"a picture, number {j}, of: {caption}" for j in range(n)] for caption in captions]

    def fingerprint(self) -> str:
        return "trivial-1"


def caption(number: int) -> str:
    return f"a photo of {number % 97} people and {number} boats near the harbour of a small town, seen from the hill"


def measure(open_: Callable[[], Get], captions: int, lookups: int) -> dict[str, float]:
    def work() -> dict[str, float]:
        before = private_bytes()
        get = open_()
        drawn = random.Random(0)
        asked = [caption(drawn.randrange(captions)) for _ in range(1000)]
        for text in asked[:100]:
            get(text)
        seconds, done = 0.0, 0
        while done < lookups:
            asked = [caption(drawn.randrange(captions)) for _ in range(1000)]
            start = time.process_time()
            for text in asked:
                get(text)
            seconds += time.process_time() - start
            done += len(asked)
        return {"us_per_lookup": seconds / done * 1e6, "private_mb": (private_bytes() - before) / 2**20}

    return in_child(work)


def sqlite_get(path: Path) -> Get:
    base = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    base.execute("PRAGMA mmap_size = 8000000000")

    def get(text: str) -> tuple[Rewrite, ...] | None:
        key = caption_key(text)
        row = base.execute("SELECT value FROM rewrites WHERE key = ?", (key,)).fetchone()
        return None if row is None else unpack(row[0], SOURCES)

    return get


def lmdb_get(path: Path) -> Get:
    environment = lmdb.open(str(path), subdir=False, readonly=True, lock=False, readahead=False)
    transaction = environment.begin(buffers=True)

    def get(text: str) -> tuple[Rewrite, ...] | None:
        value = transaction.get(caption_key(text))
        return None if value is None else unpack(bytes(value), SOURCES)

    return get


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=200_000)
    parser.add_argument("--lookups", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the JSON document here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        document = benchmark(Path(folder), args)
    if args.json:
        args.json.write_text(document + "\n")
    print(document)


def benchmark(folder: Path, args: argparse.Namespace) -> str:
    source, directory = folder / "captions.txt", folder / "cache"
    source.write_text("".join(caption(number) + "\n" for number in range(args.captions)))
    start, wall = time.process_time(), time.perf_counter()
    build_cache(source, directory, Trivial(), progress=False)
    build = {"cpu_seconds": time.process_time() - start, "wall_seconds": time.perf_counter() - wall}
    build["captions_per_cpu_second"] = args.captions / build["cpu_seconds"]
    start = time.process_time()
    build_cache(source, directory, Trivial(), progress=False)
    build["captions_skipped_per_cpu_second"] = args.captions / (time.process_time() - start)
    sizes = {
        "text_mb": source.stat().st_size / 2**20,
        "shards_mb": sum(path.stat().st_size for path in directory.glob("shard-*")) / 2**20,
        "lookup_mb": sum(path.stat().st_size for path in directory.glob("lookup-*")) / 2**20,
    }

    cache = CaptionCache(directory)
    numbers = {name: number for number, name in enumerate(SOURCES)}
    base = sqlite3.connect(folder / "rewrites.sqlite")
    base.execute("CREATE TABLE rewrites (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
    ready: dict[bytes, tuple[Rewrite, ...]] = {}
    for number in range(args.captions):
        rewrites = cache.get(caption(number)) or ()
        ready[caption_key(caption(number))] = rewrites

    def packed(key: bytes) -> bytes:
        return pack(((text.source, text.text) for text in ready[key]), numbers)

    base.executemany("INSERT INTO rewrites VALUES (?, ?)", ((key, packed(key)) for key in sorted(ready)))
    base.commit()
    base.close()
    environment = lmdb.open(str(folder / "rewrites.lmdb"), subdir=False, lock=False, map_size=1 << 33)
    with environment, environment.begin(write=True) as transaction:
        for key in sorted(ready):
            transaction.put(key, packed(key), append=True)
    sizes["lmdb_mb"] = (folder / "rewrites.lmdb").stat().st_size / 2**20
    sizes["sqlite_mb"] = (folder / "rewrites.sqlite").stat().st_size / 2**20
    del cache

    def dict_get(text: str) -> tuple[Rewrite, ...] | None:
        return ready.get(caption_key(text))

    ways: dict[str, Callable[[], Get]] = {
        "ours": lambda: CaptionCache(directory).get,
        "lmdb": lambda: lmdb_get(folder / "rewrites.lmdb"),
        "sqlite": lambda: sqlite_get(folder / "rewrites.sqlite"),
        "dict": lambda: dict_get,
        "nothing": lambda: lambda text: None,
    }
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(args.rounds):  # in turns, and the fastest counts
        for name, open_ in ways.items():
            runs[name].append(measure(open_, args.captions, args.lookups))
    rows = {name: {key: min(run[key] for run in found) for key in found[0]} for name, found in runs.items()}
    nothing = rows.pop("nothing")
    for row in rows.values():
        row["private_mb"] = max(0.0, row["private_mb"] - nothing["private_mb"])

    print("| look-up | us | against ours | worker's private MB |\n|---|---|---|---|")
    for name, row in rows.items():
        ratio = row["us_per_lookup"] / rows["ours"]["us_per_lookup"]
        print(f"| {name} | {row['us_per_lookup']:.1f} | {ratio:.2f} | {row['private_mb']:.1f} |")
    print(f"build: {build['captions_per_cpu_second']:.0f} captions per CPU-second, four texts each; ", end="")
    print(
        f"resume skips {build['captions_skipped_per_cpu_second']:.0f}; "
        + ", ".join(f"{k} {v:.0f}" for k, v in sizes.items())
    )
    settings = {key: getattr(args, key) for key in ("captions", "lookups", "rounds")}
    return json.dumps({"settings": settings, "cores": os.cpu_count(), "build": build, "sizes": sizes, "rows": rows})


if __name__ == "__main__":
    main()

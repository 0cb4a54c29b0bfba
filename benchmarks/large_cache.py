"""The cache at a million and ten million captions: compile, size, look-ups hot and cold, opening, memory of a worker.

Why it matters: hundreds of millions of captions are compiled on a machine of ordinary memory, and every loader worker
of a training run opens the result and reads from it, from a disk that may hold much more than memory does.

``--captions`` drawn captions with four drawn rewrites each (:mod:`benchmarks.drawn_text`) are built in
``FOLDER/cache``, the whole way, once; a further run goes on or uses it again. Each of ``--sizes`` is then the first
shards of it, compiled in a process of its own, beside

- sqlite: one table, the same key, the same bytes as value, not compressed, nothing checked, ``pread`` or, hot,
  mapped;
- dict: a Python dict from the key to the ready rewrites, built in the parent and shared by fork (up to ``--dict``).

Hot: all files are in the page cache, in a forked child after another's turn, 100,000 captions in random order. Cold:
each file is dropped from the page cache first (``posix_fadvise``, checked with ``mincore`` through ``fincore``), a
new process opens it, and the first look-up and the next 2,000 are timed; they read the machine's disk. A worker's
memory: pages of its own (``Private_Dirty``) after the hot look-ups, over those of a child that looks up nothing. The
last line is one JSON document.

    python -m benchmarks.large_cache FOLDER --captions 10000000 --sizes 1000000 10000000
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.child_memory import in_child, private_bytes
from benchmarks.drawn_text import DrawnRewrites, DrawnText
from laclip_aug.augmenter import Rewrite
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.entry import unpack
from laclip_aug.cache.format import Manifest, read_manifest
from laclip_aug.cache.keys import caption_key
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.repair import compile_cache
from laclip_aug.cache.table import Table

SOURCES = DrawnRewrites.sources
HOT, COLD = 100_000, 2_000
Get = Callable[[str], tuple[Rewrite, ...] | None]
Figures = dict[str, Any]


def built(folder: Path, captions: int) -> Figures:
    """The large cache in ``folder``; what it took, if it was made at once."""
    text, source, told = DrawnText(), folder / "captions.txt", folder / "build.json"
    if told.exists():
        return dict(json.loads(told.read_text()))
    if not source.exists():
        with source.open("w") as file:
            for number in range(captions):
                file.write(text.caption(number) + "\n")
    cpu, wall = time.process_time(), time.perf_counter()
    report = build_cache(source, folder / "cache", DrawnRewrites(text), progress=False)
    found = {"made": report.made, "cpu_seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - wall}
    told.write_text(json.dumps(found))
    return found


def cut(large: Path, small: Path, captions: int) -> int:
    """The first shards of ``large`` with at least ``captions`` captions, without a look-up; returns their number."""
    manifest = read_manifest(large)
    rows, shards = 0, []
    for shard in manifest.shards:
        if rows < captions:
            shards.append(shard)
            rows += shard.rows
    shutil.rmtree(small, ignore_errors=True)
    small.mkdir()
    for shard in shards:
        os.link(large / shard.name, small / shard.name)
    replace(manifest, shards=shards, tables=[], unfinished=False).save(small)
    return rows


def compiled(directory: Path) -> Figures:
    """``cache compile`` in a child: its time and the most memory it had, and the sizes of the files."""
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        compile_cache(directory)
        os._exit(0)
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit("compile failed")
    manifest = read_manifest(directory)
    return {
        "compile_cpu_seconds": used.ru_utime + used.ru_stime,
        "compile_wall_seconds": time.perf_counter() - start,
        "compile_peak_mb": used.ru_maxrss / 1024,
        "files": len(manifest.tables),
        "shards_mb": sum((directory / shard.name).stat().st_size for shard in manifest.shards) / 2**20,
        "lookup_mb": sum(entry.bytes for entry in manifest.tables) / 2**20,
    }


def tables(directory: Path, manifest: Manifest) -> list[Table]:
    return [Table(directory / entry.name, bytes.fromhex(entry.origin)) for entry in manifest.tables]


def write_sqlite(directory: Path, path: Path) -> Figures:
    """The same keys and values, sorted, as one table."""
    path.unlink(missing_ok=True)
    cpu, wall = time.process_time(), time.perf_counter()
    base = sqlite3.connect(path)
    base.execute("PRAGMA journal_mode = OFF")
    base.execute("PRAGMA synchronous = OFF")
    base.execute("CREATE TABLE rewrites (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
    pairs = (pair for table in tables(directory, read_manifest(directory)) for pair in table.items())
    base.executemany("INSERT INTO rewrites VALUES (?, ?)", pairs)
    base.commit()
    base.close()
    return {
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
        "mb": path.stat().st_size / 2**20,
    }


def sqlite_get(path: Path, mapped: bool) -> Get:
    base = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    if mapped:
        base.execute(f"PRAGMA mmap_size = {1 << 36}")

    def get(text: str) -> tuple[Rewrite, ...] | None:
        row = base.execute("SELECT value FROM rewrites WHERE key = ?", (caption_key(text),)).fetchone()
        return None if row is None else unpack(row[0], SOURCES)

    return get


def dict_get(directory: Path) -> Get:
    ready = {
        key: unpack(value, SOURCES)
        for table in tables(directory, read_manifest(directory))
        for key, value in table.items()
    }
    return lambda text: ready.get(caption_key(text))


def asked(text: DrawnText, rows: int, number: int, seed: int) -> list[str]:
    """Captions that are there: as every source row is, those of the first shards are the first rows."""
    draw = random.Random(seed)
    return [text.caption(draw.randrange(rows)) for _ in range(number)]


def hot(open_: Callable[[], Get], text: DrawnText, rows: int) -> Figures:
    def work() -> Figures:
        captions = asked(text, rows, HOT, 1)
        before, get = private_bytes(), open_()
        missing, cpu, wall = 0, time.process_time(), time.perf_counter()
        for caption in captions:
            missing += get(caption) is None
        took = {
            "us_cpu": (time.process_time() - cpu) / HOT * 1e6,
            "us_wall": (time.perf_counter() - wall) / HOT * 1e6,
        }
        return {**took, "private_mb": (private_bytes() - before) / 2**20, "missing": missing}

    return in_child(work)


def resident(files: list[Path]) -> int:
    """Bytes of ``files`` in the page cache."""
    words = ["fincore", "--bytes", "--noheadings", "--output", "RES", *map(str, files)]
    return sum(map(int, subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()))


def dropped(files: list[Path]) -> int:
    """Drop ``files`` from the page cache; returns what stayed."""
    for path in files:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)
    return resident(files)


def warmed(files: list[Path]) -> None:
    for path in files:
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass


def cold(kind: str, place: Path, files: list[Path], rows: int) -> Figures:
    """In a new process: the time to open and get the first text, then those of the next look-ups."""
    stayed = dropped(files)
    words = [sys.executable, "-m", "benchmarks.large_cache", "--cold", kind, str(place), str(rows)]
    found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    return {**found, "resident_before": stayed, "read_mb": resident(files) / 2**20}


def in_cold_process(kind: str, place: Path, rows: int) -> None:
    captions = asked(DrawnText(), rows, COLD + 1, 2)
    start = time.perf_counter()
    get = CaptionCache(place).get if kind == "ours" else sqlite_get(place, mapped=False)
    opened = time.perf_counter()
    times = []
    for caption in captions:
        began = time.perf_counter()
        if get(caption) is None:
            raise SystemExit(f"{caption!r} is missing")
        times.append(time.perf_counter() - began)
    first, rest = times[0], sorted(times[1:])
    figures = {"open_ms": (opened - start) * 1e3, "first_ms": first * 1e3, "mean_us": statistics.mean(rest) * 1e6}
    print(json.dumps({**figures, "p50_us": rest[COLD // 2] * 1e6, "p99_us": rest[COLD * 99 // 100] * 1e6}))


def measured(folder: Path, text: DrawnText, size: int, with_dict: bool) -> Figures:
    place, base = folder / f"cache-{size}", folder / f"rewrites-{size}.sqlite"
    if not (place / "compiled.json").exists():
        cut(folder / "cache", place, size)
        (place / "compiled.json").write_text(json.dumps(compiled(place)))
    manifest = read_manifest(place)
    rows = sum(shard.rows for shard in manifest.shards)
    found: Figures = {"captions": rows, **json.loads((place / "compiled.json").read_text())}
    print(json.dumps(found), flush=True)
    found["sqlite"] = write_sqlite(place, base)
    print(json.dumps(found["sqlite"]), flush=True)
    ours = [place / entry.name for entry in manifest.tables]
    found["cold"] = {
        "ours": [cold("ours", place, ours, rows) for _ in range(3)],
        "sqlite": [cold("sqlite", base, [base], rows) for _ in range(3)],
    }
    print(json.dumps(found["cold"]), flush=True)
    found["hot"] = {"nothing": hot(lambda: lambda caption: (), text, rows)}
    for name, files, open_ in (
        ("ours", ours, lambda: CaptionCache(place).get),
        ("sqlite", [base], lambda: sqlite_get(base, mapped=False)),
        ("sqlite, mapped", [base], lambda: sqlite_get(base, mapped=True)),
    ):
        warmed(files)
        found["hot"][name] = hot(open_, text, rows)
        dropped(files)
        print(name, json.dumps(found["hot"][name]), flush=True)
    base.unlink()
    if with_dict:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        get = dict_get(place)
        found["hot"]["dict"] = hot(lambda: get, text, rows)
        found["dict_mb"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print("dict", json.dumps(found["hot"]["dict"]), found["dict_mb"], flush=True)
    return found


def main() -> None:
    if sys.argv[1:2] == ["--cold"]:
        in_cold_process(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="on the disk to measure, about 10 GB for ten million captions")
    parser.add_argument("--captions", type=int, default=10_000_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--dict", type=int, default=2_000_000, help="the most captions for which a dict is made")
    args = parser.parse_args()
    args.folder.mkdir(exist_ok=True)
    build = built(args.folder, args.captions)
    print(json.dumps(build), flush=True)
    text = DrawnText()
    sizes = [measured(args.folder, text, size, size <= args.dict) for size in args.sizes]
    print(json.dumps({"build": build, "cores": os.cpu_count(), "sizes": sizes}))


if __name__ == "__main__":
    main()

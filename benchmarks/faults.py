"""What damage, kills and full disks do to a cache: every case is carried out, and the outcome is looked at.

A cache that can serve a wrong text, or lose one without a word, poisons a training run that nobody will repeat. So:

- flips: ``--flips`` single bits, drawn with a fixed seed, in each file of a finished cache and of one with a build
  under way. Each time everything is read as a trainer, ``verify``, ``export`` and ``compile`` read it.
- kills: build, extension, import, compile and repair under ``strace``, which kills the process on entering its first,
  second, third... ``write``, until one run comes through, and so for each system call that changes a file (``strace``
  counts each by itself). Then the same command again.
- a full disk: the five on a tmpfs of too few kilobytes (needs root), then again with room.
- a directory that cannot be written, and two builders at once, in two processes and in one.

Captions and texts are drawn; no data is needed. Prints the tables of ``results/faults.md``; the last line is JSON.

    python benchmarks/faults.py --flips 250 > faults.md
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from laclip_aug.augmenter import CaptionAugmenter
from laclip_aug.cache.browse import records
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.config import Config
from laclip_aug.cache.ingest import import_cache
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.repair import compile_cache, repair_cache
from laclip_aug.cache.verify import verify_cache
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.errors import CacheError
from laclip_aug.exchange.import_form import ImportForm

OLD = [f"a photo of {i} boats" for i in range(30)]
ALL = [*OLD, *(f"a picture of {i} cats" for i in range(15))]
CHANGES = (
    "write", "pwrite64", "writev", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat",
    "truncate", "ftruncate", "fsync", "fdatasync", "link", "linkat", "symlink", "copy_file_range", "sendfile",
)  # fmt: skip
STRACE = ["strace", "-f", "-qq"]


class Drawn(CaptionAugmenter):
    """Two texts by string formatting."""

    name, sources = "drawn", ("a", "b")

    def augment(self, captions: Sequence[str], n: int, seed: int) -> list[list[str]]:
        return [[f"{caption}, seen {j} times" for j in range(n)] for caption in captions]

    def fingerprint(self) -> str:
        return "drawn-1"


EXPECTED = {outcome.caption: outcome for outcome in Drawn().outcomes(ALL, 2, 0)}


def build(cache: Path, captions: Sequence[str] = OLD) -> None:
    source = cache.with_suffix(".txt")
    source.write_text("\n".join(captions))
    build_cache(source, cache, Drawn(), shard_rows=16, progress=False)


def extension(cache: Path) -> None:
    build(cache, ALL)


def importing(cache: Path) -> None:
    source = cache.with_suffix(".jsonl")
    rows = ({"caption": text, **{r.source: r.text for r in EXPECTED[text].rewrites}} for text in OLD)
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_cache(source, cache, ImportForm(rewrite_keys=("a", "b")))


def unfinished(cache: Path) -> None:
    """A finished cache, and behind it a journal that no shard has yet."""
    build(cache)
    with CacheWriter(cache, Config.of(Drawn(), 0, 2), shard_rows=16) as writer:
        for caption in ALL[30:40]:
            writer.new([caption])
            writer.add(EXPECTED[caption])


def damaged(cache: Path) -> None:
    """A flipped bit in a shard and in a table."""
    unfinished(cache)
    for path in (min(cache.glob("shard-*")), min(cache.glob("lookup-*"))):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


def nothing(cache: Path) -> None:
    """No cache at all."""


WORKS: dict[str, tuple[Callable[[Path], None], Callable[[Path], object]]] = {
    "build": (nothing, build),
    "extension": (build, extension),
    "import": (nothing, importing),
    "compile": (unfinished, compile_cache),
    "repair": (damaged, repair_cache),
}


def state(cache: Path) -> tuple[int, int, bool]:
    """(records that are right, texts or records that are wrong, whether damage is named)."""
    wrong = 0
    try:
        found = list(records(cache))
        wrong += sum(EXPECTED.get(record.caption) != record for record in found)
        named = bool(verify_cache(cache, progress=False)[0])
    except CacheError:
        found, named = [], True
    try:
        lookup = CaptionCache(cache)
    except CacheError:
        return len(found) - wrong, wrong, named
    for caption, expected in EXPECTED.items():
        try:
            wrong += lookup.get(caption) not in (None, expected.rewrites)
        except CacheError:
            named = True
    return len(found) - wrong, wrong, named


def flips(folder: Path, number: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    rng = random.Random(0)
    for name, make in (("finished", extension), ("under way", unfinished)):
        sound, cache = folder / "sound", folder / "cache"
        shutil.rmtree(sound, ignore_errors=True)
        make(sound)
        stored = len(list(records(sound)))
        for path in sorted(p for p in sound.iterdir() if p.name != "lock"):
            outcome: Counter[str] = Counter()
            for _ in range(number):
                shutil.rmtree(cache, ignore_errors=True)
                shutil.copytree(sound, cache)
                changed = bytearray(path.read_bytes())
                changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
                (cache / path.name).write_bytes(changed)
                right, wrong, named = state(cache)
                outcome["wrong"] += wrong
                outcome["named"] += named
                outcome["lost in silence"] += right < stored and not named
                try:
                    compile_cache(cache)
                    outcome["wrong after compile"] += state(cache)[1]
                    outcome["lost by compile"] += state(cache)[0] < stored
                except CacheError:
                    outcome["compile refused"] += 1
                repair_cache(cache)
                extension(cache)
                right, wrong, named = state(cache)
                outcome["whole again"] += (right, wrong, named) == (len(ALL), 0, False)
            rows.append({"cache": name, "file": path.name.split("-")[0], "flips": number, **outcome})
    return rows


def start(work: str, cache: Path, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    command = [*prefix, sys.executable, "-B", str(Path(__file__).resolve()), "--run", work, str(cache)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def prepared(folder: Path, work: str) -> Iterator[Path]:
    """The same fresh directory again and again, each time as the work finds it."""
    before, cache = folder / f"before-{work}", folder / "cache"
    WORKS[work][0](before)
    while True:
        shutil.rmtree(cache, ignore_errors=True)
        if before.exists():
            shutil.copytree(before, cache)
        yield cache


def calls_of(work: str, cache: Path, log: Path) -> list[str]:
    """The system calls that change a file in a run that nobody kills."""
    start(work, cache, [*STRACE, "-o", str(log), "-e", f"trace={','.join(CHANGES)}"])
    seen = log.read_text()
    return [call for call in CHANGES if re.search(rf"\b{call}\(", seen)]


def kills(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    if shutil.which("strace") is None:
        print("kills: not run, strace is not installed")
        return rows
    for work, (_, run) in WORKS.items():
        outcome: Counter[str] = Counter()
        whole = folder / f"whole-{work}"
        WORKS[work][0](whole)
        run(whole)
        expected = sorted(map(repr, records(whole)))
        caches = prepared(folder, work)
        for call in calls_of(work, next(caches), folder / "calls"):
            for number, cache in enumerate(caches, 1):
                inject = ["-e", f"inject={call}:signal=KILL:when={number}"]
                if start(work, cache, [*STRACE, "-o", "/dev/null", "-e", f"trace={call}", *inject]).returncode == 0:
                    break
                outcome["kills"] += 1
                outcome[call] += 1
                if work in ("extension", "compile"):
                    outcome["trainer refused"] += CaptionCache(cache).get(OLD[0]) != EXPECTED[OLD[0]].rewrites
                run(cache)
                outcome["not the same"] += sorted(map(repr, records(cache))) != expected
                outcome["damage"] += bool(verify_cache(cache, progress=False)[0])
        at = ", ".join(f"{call} {outcome.pop(call)}" for call in CHANGES if call in outcome)
        counted = ("kills", "trainer refused", "not the same", "damage")
        rows.append({"work": work, **{name: outcome[name] for name in counted}, "at": at})
    return rows


def full_disk(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    disk = folder / "disk"
    disk.mkdir()
    for work, (_, run) in WORKS.items():
        outcome: Counter[str] = Counter()
        for cache in prepared(folder, work):
            size = 8 + 4 * outcome["disks"]
            if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=False).returncode:
                print("full disk: not run, mounting a tmpfs needs root")
                return []
            try:
                if cache.exists():
                    shutil.copytree(cache, disk / "cache")
                used = sum(-(-path.stat().st_size // 4096) * 4 for path in disk.glob("cache/*"))
                filler = 4096 - used - size
                (disk / "filler").write_bytes(bytes(filler * 1024))
                done = start(work, disk / "cache")
                if done.returncode == 0:
                    break
                outcome["disks"] += 1
                outcome["error in words"] += "free some space" in done.stdout
                (disk / "filler").unlink()
                run(disk / "cache")
                outcome["not whole after"] += bool(verify_cache(disk / "cache", progress=False)[0])
            finally:
                subprocess.run(["umount", str(disk)], check=True)
        rows.append({"work": work, **outcome})
    return rows


def others(folder: Path) -> list[dict[str, object]]:
    cache = folder / "two"
    (folder / "two.txt").write_text("\n".join(ALL))
    code = "import sys; from pathlib import Path; from laclip_aug.cache.lock import writer_lock\n"
    code += "with writer_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code, cache], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        rows = [{"case": "second builder, other process", "outcome": start("build", cache).stdout.strip()}]
        holder.kill()
    with CacheWriter(cache, Config.of(Drawn(), 0, 2)) as writer:
        writer.new(["one"])
        writer.add(next(iter(Drawn().outcomes(["one"], 2, 0))))
        try:
            build(cache)
        except CacheError as error:
            rows.append({"case": "second builder, same process", "outcome": str(error)})
        rows.append({"case": "third, other process, after that", "outcome": start("build", cache).stdout.strip()})
    build(cache)
    subprocess.run(["mount", "--bind", str(cache), str(cache)], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", str(cache)], check=True)
    try:
        found = CaptionCache(cache).get(OLD[0]) == EXPECTED[OLD[0]].rewrites
        rows.append({"case": "read-only mount, look-up", "outcome": "right" if found else "wrong"})
        rows.append({"case": "read-only mount, build", "outcome": start("build", cache).stdout.strip()})
    finally:
        subprocess.run(["umount", str(cache)], check=True)
    return [{**row, "outcome": str(row["outcome"]).replace(str(folder) + "/", "")[:80]} for row in rows]


def table(title: str, rows: list[dict[str, object]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    print(f"\n## {title}\n\n| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for row in rows:
        print(f"| {' | '.join(str(row.get(name, 0)) for name in names)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=250, help="in each file")
    parser.add_argument("--only", choices=("flips", "kills", "disk", "others"), help="one part")
    parser.add_argument("--run", nargs=2, metavar=("WORK", "CACHE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        try:
            WORKS[args.run[0]][1](Path(args.run[1]))
        except CacheError as error:
            print(error)
            sys.exit(9)
        return
    parts: dict[str, tuple[str, Callable[[Path], list[dict[str, object]]]]] = {
        "flips": ("One flipped bit", lambda folder: flips(folder, args.flips)),
        "kills": ("Killed at every system call that changes a file", kills),
        "disk": ("Disks of 8, 12, 16... free kilobytes", full_disk),
        "others": ("Two builders, a read-only mount", others),
    }
    document = {}
    for name, (title, measure) in parts.items():
        if args.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                document[name] = measure(Path(folder))
            table(title, document[name])
            sys.stdout.flush()
    print(json.dumps(document))


if __name__ == "__main__":
    main()

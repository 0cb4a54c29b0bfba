"""A build in twenty parts, five of them killed, against one build; and a dry run against what the build then takes.

A data set too large for one machine is built in parts, on machines that are taken away. The parts are built in random
order, each by a process of its own; five are killed (SIGKILL) when some of it is stored, and started again.
Merged, they have to hold what one build of all captions holds. Before it, a dry run says what that build will take: its
time, tokens and disk stand beside those that were needed.

    python -m benchmarks.divided_build CAPTIONS --captions 10000 -- --augmenter back-translation --n 1

What follows ``--`` are options of ``laclip-aug build``. Prints a table, and one JSON document as the last line.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from laclip_aug.cache.browse import records
from laclip_aug.cache.format import read_manifest
from laclip_aug.exchange.readers import CaptionInput, InputOptions

PARTS, KILLED = 20, 5
UNITS = {"s": 1, "min": 60, "h": 3600}


def command(*words: str) -> list[str]:
    """``laclip-aug`` of this interpreter."""
    return [sys.executable, "-c", "import sys; from laclip_aug.cli import main; sys.exit(main())", *words]


def spent(words: list[str]) -> tuple[float, str]:
    """Wall seconds of a command, and what it said."""
    started = time.monotonic()
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return time.monotonic() - started, said


def stored(cache: Path) -> int:
    """Bytes of records that a killed build has left."""
    return sum(path.stat().st_size for kind in ("journal-*", "shard-*") for path in cache.glob(kind))


def seconds_of(text: str) -> float:
    """``"2 h 05 min"`` as seconds."""
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+) (h|min|s)\b", text))


def estimated(said: str) -> dict[str, float]:
    """Seconds, tokens and bytes of a dry run."""
    time_line = re.search(r"^time: (.*) on this machine", said, re.MULTILINE)
    tokens = re.search(r"^tokens: ([\d.e+]+)", said, re.MULTILINE)
    disk = re.search(r"^disk: ([\d.e+]+) MiB", said, re.MULTILINE)
    if not (time_line and tokens and disk):
        raise SystemExit(f"the dry run said something else:\n{said}")
    return {"seconds": seconds_of(time_line[1]), "tokens": float(tokens[1]), "bytes": float(disk[1]) * 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input")
    parser.add_argument("--captions", type=int, default=10_000)
    parser.add_argument("--caption-key")
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args, options = parser.parse_args(sys.argv[1:at]), sys.argv[at + 1 :]
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        source = CaptionInput([args.input], InputOptions(caption_key=args.caption_key))
        captions = list(islice(dict.fromkeys(" ".join(text.split()) for text in source), args.captions))
        inputs = home / "captions.txt"
        inputs.write_text("\n".join(captions) + "\n", encoding="utf-8")
        build = ["build", str(inputs), *options]
        found = estimated(spent(command(*build, "--cache", str(home / "dry"), "--dry-run"))[1])
        seconds, _ = spent(command(*build, "--cache", str(home / "whole")))
        counts = read_manifest(home / "whole").counts
        size = sum(path.stat().st_size for path in (home / "whole").iterdir())
        needed = {"seconds": seconds, "tokens": float(counts.tokens), "bytes": float(size)}
        print(f"{'':8}{'dry run':>14}{'the build':>14}{'ratio':>8}")
        for name, value in needed.items():
            ratio = f"{found[name] / value:8.2f}" if value else ""
            print(f"{name:8}{found[name]:14,.1f}{value:14,.1f}{ratio}")

        parts = draw.sample(range(PARTS), PARTS)
        places = [home / f"part-{part}" for part in parts]
        killed, started = 0, time.monotonic()
        for number, (part, place) in enumerate(zip(parts, places, strict=True)):
            words = command(*build, "--cache", str(place), "--shard", f"{part}/{PARTS}")
            if number % (PARTS // KILLED) == 0:
                process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                while process.poll() is None and not stored(place):
                    time.sleep(0.005)
                process.send_signal(signal.SIGKILL)
                killed += process.wait() == -signal.SIGKILL
            spent(words)
        apart = time.monotonic() - started
        merging, said = spent(command("cache", "merge", *map(str, places), "--out", str(home / "merged")))
        print(said.strip())
        equal = {r.caption: r for r in records(home / "merged")} == {r.caption: r for r in records(home / "whole")}
        print(f"{PARTS} parts, {killed} of them killed: {apart:.1f} s; merging: {merging:.1f} s; equal: {equal}")
    document = {"captions": len(captions), "options": options, "dry_run": found, "build": needed, "killed": killed,
                "parts_seconds": apart, "merge_seconds": merging, "equal": equal}  # fmt: skip
    print(json.dumps(document))


if __name__ == "__main__":
    main()

"""A build by two Ray workers against two separate processes, each of which builds half of the captions.

The two processes are the engine and nothing else: no scheduler, no parts, no merging. Both ways run one after the
other, ``--rounds`` times, with one thread a process. Ray's time has all in it: its start, the merging, its end.

    python -m benchmarks.ray_build CAPTIONS --captions 1500 --rounds 2 -- --strategies chatgpt,bard

What follows ``--`` are options of ``laclip-aug build``. CAPTIONS is any file of captions, as MS-COCO's
``captions_val2017`` as JSONL. Prints a table, whether both made the same, and one JSON document as the last line.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from laclip_aug.cache.browse import records
from laclip_aug.exchange.readers import CaptionInput, InputOptions

COMMAND = [sys.executable, "-c", "import sys; from laclip_aug.cli import main; sys.exit(main())", "build", "in.txt"]


def together(folder: Path, commands: list[list[str]]) -> float:
    """Wall seconds until all commands, started at once in ``folder``, have ended."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = time.monotonic()
    processes = [
        subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for words in commands
    ]
    statuses = [process.wait() for process in processes]
    if any(statuses):
        raise SystemExit(f"a build failed; try it by hand: {commands}")
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input")
    parser.add_argument("--captions", type=int, default=1500)
    parser.add_argument("--caption-key")
    parser.add_argument("--rounds", type=int, default=2)
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args, options = parser.parse_args(sys.argv[1:at]), sys.argv[at + 1 :]
    source = CaptionInput([args.input], InputOptions(caption_key=args.caption_key))
    captions = list(islice(dict.fromkeys(" ".join(text.split()) for text in source), args.captions))
    rounds = []
    for number in range(args.rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "in.txt").write_text("\n".join(captions) + "\n", encoding="utf-8")
            halves = [[*COMMAND, "--cache", f"half{i}", "--shard", f"{i}/2", *options] for i in range(2)]
            apart = together(folder, halves)
            by_ray = together(folder, [[*COMMAND, "--cache", "ray", "--engine", "ray", "--workers", "2", *options]])
            made = {record.caption: record for half in ("half0", "half1") for record in records(folder / half)}
            equal = {record.caption: record for record in records(folder / "ray")} == made
        rounds.append({"two_processes": apart, "ray": by_ray, "ratio": apart / by_ray, "equal": equal})
        print(f"{number}: two processes {apart:.1f} s, Ray {by_ray:.1f} s, ratio {apart / by_ray:.3f}, equal: {equal}")
    print(json.dumps({"captions": len(captions), "options": options, "rounds": rounds}))


if __name__ == "__main__":
    main()

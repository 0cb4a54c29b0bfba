"""What it costs that llama.cpp runs in a child process: CPU seconds of both processes against one.

The same jobs go through the engine in this process and through the child, in turns, so that a busy machine hurts both
alike. Prints each round's ratio, and one JSON document as the last line.

    python benchmarks/child.py                  # the embedded rewriter
    python benchmarks/child.py model.gguf
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path

from laclip_aug.generation.backend import Sampling
from laclip_aug.generation.child import ChildBackend
from laclip_aug.generation.llamacpp import LlamaCppBackend
from laclip_aug.rewrite.embedded import find

TARGET = "laclip_aug.generation.llamacpp:LlamaCppBackend"


def cpu_seconds(pid: int) -> float:
    """User and system time of a running process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", nargs="?", type=Path, help="a GGUF file (default: the embedded rewriter)")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--jobs", type=int, default=400, help="completions a round")
    parser.add_argument("--slots", type=int, default=32)
    options = parser.parse_args()
    embedded, sampling = find(), Sampling(max_new_tokens=30)
    path, adapter = (options.model, None) if options.model else (embedded.model, str(embedded.adapter))
    settings = {"adapter": adapter, "n_slots": options.slots, "n_ctx": 256, "n_threads": 1}
    engine, child = LlamaCppBackend(path, sampling, **settings), ChildBackend(TARGET, path, sampling, **settings)
    jobs = [embedded.layout.job("human", 0, f"a dog and {n} cats", n, n) for n in range(options.jobs)]
    ratios, walls = [], []
    for number in range(options.rounds + 1):
        start, clock = time.process_time(), time.perf_counter()
        alone = sum(c.tokens for c in engine.complete(iter(jobs)))
        inside, middle = time.process_time() - start, time.perf_counter()
        start, before = time.process_time(), cpu_seconds(child._process.pid)  # type: ignore[union-attr]
        assert alone == sum(c.tokens for c in child.complete(iter(jobs)))
        both = time.process_time() - start + cpu_seconds(child._process.pid) - before  # type: ignore[union-attr]
        if number:  # the first round also pays for what only a first call does
            ratios.append(both / inside)
            walls.append((time.perf_counter() - middle) / (middle - clock))
            print(f"round {number}: CPU {ratios[-1]:.3f}, wall {walls[-1]:.3f}", flush=True)
    engine.close()
    child.close()
    figures = {"cpu_ratio": round(statistics.median(ratios), 3), "wall_ratio": round(statistics.median(walls), 3)}
    print(json.dumps({"model": Path(path).name, "slots": options.slots, "jobs": options.jobs, **figures}))


if __name__ == "__main__":
    main()

"""A build that is killed again and again, and the part of a build's time that is the engine's.

A build of a large data set runs for days on machines that are taken away. What counts is that each life adds captions,
that nothing is lost or made twice, and that the caches are equal in the end. Three figures:

- unbroken: one build of ``--captions`` captions; its time, and the part of it spent inside the backend;
- killed: the same build, its process killed (SIGKILL) whenever it and its engine have used ``--every`` seconds of CPU
  time, start-up included, so that a busy machine does not matter; how many lives it took and how much each added;
- whether the two caches hold the same records.

    python benchmarks/killed_build.py stories260K.gguf cc3m_validation.tsv --every 3

The model runs in its reproducible mode, one thread. Prints a table, and one JSON document as the last line.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from laclip_aug import create_augmenter
from laclip_aug.augmenter import CaptionAugmenter, Outcome
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.shards import read_shard
from laclip_aug.exchange.readers import CaptionInput, InputOptions
from laclip_aug.generation.backend import Completion, Job

OPTIONS = {
    "strategies": "human", "max_attempts": 2, "allow": "cut", "max_new_tokens": 16, "n_threads": 1, "n_ctx": 512,
}  # fmt: skip
_TICK = os.sysconf("SC_CLK_TCK")


def augmenter_of(model: Path) -> CaptionAugmenter:
    """The augmenter of every life."""
    return create_augmenter("llm", model=model, reproducible=True, **OPTIONS)


def cpu_seconds(process: int) -> float:
    """CPU time that a process and its children have used; 0 once it has gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICK + sum(cpu_seconds(int(child)) for child in children)


def stored(cache: Path) -> int:
    """Bytes of records that a killed build has left."""
    return sum(path.stat().st_size for kind in ("journal-*", "shard-*") for path in cache.glob(kind))


def records(cache: Path) -> dict[str, Outcome]:
    """What a finished cache holds."""
    return {r.caption: r for shard in read_manifest(cache).shards for _, r in read_shard(cache, shard)}


def timed(complete: Callable[[Iterable[Job]], Iterator[Completion]], spent: list[float]) -> Callable[..., object]:
    """``complete``, adding to ``spent`` the seconds inside it, less those in which it waits for its next job."""

    def wrapped(jobs: Iterable[Job]) -> Iterator[Completion]:
        def handed_out() -> Iterator[Job]:
            source = iter(jobs)
            while True:
                before = time.perf_counter()
                job = next(source, None)
                spent[0] -= time.perf_counter() - before
                if job is None:
                    return
                yield job

        completions = complete(handed_out())
        while True:
            before = time.perf_counter()
            completion = next(completions, None)
            spent[0] += time.perf_counter() - before
            if completion is None:
                return
            yield completion

    return wrapped


def unbroken(model: Path, source: Path, cache: Path) -> dict[str, float]:
    """One build in this process."""
    augmenter, spent = augmenter_of(model), [0.0]
    backend = augmenter._backend  # type: ignore[attr-defined]
    backend.complete = timed(backend.complete, spent)
    before, cpu = time.perf_counter(), time.process_time()
    build_cache(source, cache, augmenter, progress=False)
    wall = time.perf_counter() - before
    augmenter.close()
    return {"wall_s": wall, "cpu_s": time.process_time() - cpu, "engine_part": spent[0] / wall}


def killed(model: Path, source: Path, cache: Path, every: float) -> list[int]:
    """Bytes that each life added; the last one's are few, or less than none, as it compresses what was there."""
    added, before = [], 0
    while True:
        life = subprocess.Popen([sys.executable, __file__, str(model), str(source), "--life", str(cache)])
        while life.poll() is None:
            time.sleep(0.02)
            if cpu_seconds(life.pid) >= every:
                life.send_signal(signal.SIGKILL)
                life.wait()
        added.append(stored(cache) - before)
        before += added[-1]
        if life.returncode == 0:
            return added
        if life.returncode != -signal.SIGKILL:
            raise SystemExit(f"a life ended with status {life.returncode}")
        if added[-3:] == [0, 0, 0]:
            raise SystemExit(f"three lives of {every} s added nothing; is {every} s enough to start up?")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path, help="a GGUF file")
    parser.add_argument("source", type=Path, help="a file of captions")
    parser.add_argument("--caption-key", default="caption")
    parser.add_argument("--captions", type=int, default=2000)
    parser.add_argument("--every", type=float, default=3.0, help="CPU seconds of a life")
    parser.add_argument("--life", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.life is not None:
        build_cache(options.source, options.life, augmenter_of(options.model), progress=False)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        taken = dict.fromkeys(CaptionInput([str(options.source)], InputOptions(caption_key=options.caption_key)))
        (folder / "in.txt").write_text("\n".join(list(taken)[: options.captions]), encoding="utf-8")
        whole = unbroken(options.model, folder / "in.txt", folder / "whole")
        lives = killed(options.model, folder / "in.txt", folder / "killed", options.every)
        equal = records(folder / "whole") == records(folder / "killed")
    deaths = lives[:-1]
    print(f"unbroken: {whole['wall_s']:.0f} s, of which in the engine {whole['engine_part']:.1%}")
    print(
        f"killed every {options.every} CPU-s: {len(lives)} lives, of which {sum(n <= 0 for n in deaths)} added nothing"
    )
    print(
        f"kilobytes added by a killed life: least {min(deaths) / 1e3:.1f}, mean {sum(deaths) / len(deaths) / 1e3:.1f}"
    )
    print(f"records equal: {equal}")
    settings = {"model": options.model.name, "captions": options.captions, "every": options.every}
    print(json.dumps({**settings, **whole, "added_bytes": lives, "equal": equal}))


if __name__ == "__main__":
    main()

"""Captions per CPU-second: the batched engine against llama-cpp-python's own ``Llama``, cold and warm.

Rewriting a large data set is bounded by the engine, so this ratio decides how long a cache takes to build. The three
ways get the same prompts and the same number of new tokens, and take turns round by round, so that a busy machine hurts
all alike:

- cold: ``Llama.create_completion`` after ``reset()``, which reads the whole prompt each time;
- warm: the same without the reset, so ``Llama`` keeps what a prompt shares with the one before. This is the honest
  rival: a loop that anybody would write;
- engine: ``LlamaCppBackend``, in its fast and its reproducible mode.

Every token counts, wanted or not: a completion may end at a line break, so speeds are given per caption and per token.

    python benchmarks/engine.py model.gguf
    python benchmarks/engine.py --random 16     # a model of about 16M random weights, made on the spot

Any GGUF file of a llama.cpp model serves; ``stories260K.gguf`` is in the repository ``ggml-org/models`` of the Hugging
Face hub (folder ``tinyllamas``). Prints a table, and one JSON document as the last line.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from gguf_maker import make_gguf

from laclip_aug.generation.backend import Job, Sampling
from laclip_aug.generation.llamacpp import LlamaCppBackend

PAIRS = [
    "a dog runs on the beach => A happy dog races over wet sand while small waves roll in behind it.",
    "two cats sit near a red house => Beside a house painted red, two cats rest and watch the quiet street.",
    "a man with a small boat => On calm water a man steers his little boat toward the green shore.",
]
PREFIX = "write image captions differently,\n\n" + "\n\n".join(PAIRS)
THINGS = ["dog", "cat", "boat", "car", "tree", "house", "child", "ball"]
PLACES = ["beach", "street", "table", "water", "grass"]


def captions(n: int) -> list[str]:
    """``n`` different captions."""
    return [f"a {THINGS[i % 8]} near the {PLACES[i % 5]} with {i} red {THINGS[(i // 8) % 8]}s" for i in range(n)]


def measure(path: Path, rounds: int, per_round: int, new_tokens: int, slots: int) -> dict[str, dict[str, float]]:
    """Seconds of CPU, captions and tokens of each way, over all rounds."""
    from llama_cpp import Llama

    sampling = Sampling(max_new_tokens=new_tokens)
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    plain = Llama(str(path), n_ctx=1024, n_threads=threads, n_threads_batch=threads, verbose=False)
    engines = {
        name: LlamaCppBackend(path, sampling, n_slots=slots, n_ctx=1024, n_threads=threads, reproducible=reproducible)
        for name, reproducible in (("engine, fast", False), ("engine, reproducible", True))
    }

    def loop(cold: bool) -> Callable[[list[str]], int]:
        def run(texts: list[str]) -> int:
            tokens = 0
            for seed, caption in enumerate(texts):
                if cold:
                    plain.reset()
                answer = plain.create_completion(
                    f"{PREFIX}\n\n{caption} =>",
                    max_tokens=new_tokens,
                    temperature=0.9,
                    top_p=0.95,
                    top_k=0,
                    min_p=0.0,
                    repeat_penalty=1.0,
                    stop=["\n"],
                    seed=seed,
                )
                tokens += answer["usage"]["completion_tokens"]
            return tokens

        return run

    def batched(engine: LlamaCppBackend) -> Callable[[list[str]], int]:
        def run(texts: list[str]) -> int:
            jobs = (Job(PREFIX, "\n\n", caption, " =>", seed) for seed, caption in enumerate(texts))
            return sum(completion.tokens for completion in engine.complete(jobs))

        return run

    ways = {"Llama, cold": loop(True), "Llama, warm": loop(False)}
    ways |= {name: batched(engine) for name, engine in engines.items()}
    totals = {name: {"cpu_s": 0.0, "captions": 0.0, "tokens": 0.0} for name in ways}
    for run in ways.values():  # nobody is charged for what only a first call does
        run(captions(2))
    for _ in range(rounds):
        for name, run in ways.items():
            n = per_round // 4 if name.startswith("Llama") else per_round  # the slow ways need fewer for the same error
            before = time.process_time()
            tokens = run(captions(n))
            totals[name]["cpu_s"] += time.process_time() - before
            totals[name]["captions"] += n
            totals[name]["tokens"] += tokens
    for engine in engines.values():
        engine.close()
    plain.close()
    return totals


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("model", nargs="?", type=Path, help="a GGUF file")
    source.add_argument("--random", type=int, choices=(2, 16), help="make a model of about this many million weights")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--per-round", type=int, default=64, help="captions per round (the plain loops: a quarter)")
    parser.add_argument("--new-tokens", type=int, default=30)
    parser.add_argument("--slots", type=int, default=32)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.model
        if options.random:
            shape = (
                {"n_embd": 384, "n_layer": 8, "n_head": 6} if options.random == 16 else {"n_embd": 128, "n_layer": 6}
            )
            path = make_gguf(Path(folder) / f"random{options.random}M.gguf", vocab_size=8000, **shape)
        totals = measure(path, options.rounds, options.per_round, options.new_tokens, options.slots)
    warm = totals["Llama, warm"]
    print(f"{'way':<22}{'captions/CPU-s':>15}{'tokens/CPU-s':>14}{'x warm (captions)':>19}{'x warm (tokens)':>17}")
    rows = []
    for name, total in totals.items():
        row = {
            "way": name,
            "captions_per_cpu_s": total["captions"] / total["cpu_s"],
            "tokens_per_cpu_s": total["tokens"] / total["cpu_s"],
            "ratio_captions": total["captions"] / total["cpu_s"] / (warm["captions"] / warm["cpu_s"]),
            "ratio_tokens": total["tokens"] / total["cpu_s"] / (warm["tokens"] / warm["cpu_s"]),
        }
        rows.append({key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()})
        print(
            f"{name:<22}{row['captions_per_cpu_s']:>15.2f}{row['tokens_per_cpu_s']:>14.1f}"
            f"{row['ratio_captions']:>19.2f}{row['ratio_tokens']:>17.2f}"
        )
    settings = {"slots": options.slots, "new_tokens": options.new_tokens, "rounds": options.rounds}
    versions = {"llama_cpp_python": version("llama-cpp-python"), "python": platform.python_version()}
    print(json.dumps({"model": path.name, **settings, **versions, "ways": rows}))


if __name__ == "__main__":
    main()

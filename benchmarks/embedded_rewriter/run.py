"""Make the embedded rewriter again, from captions to figures, with one command.

    python -m benchmarks.embedded_rewriter.run --captions DIR --work DIR --flickr8k captions_train.tsv captions_val.tsv

``--captions`` is laid out as in ``sources``; ``--work`` takes the material, checkpoints and results, and a run that was
stopped goes on from there. Steps may be named: ``prepare train export evaluate report`` (all by default). ``evaluate``
runs the exported file through ``LLMAugmenter``, as a user would; ``report`` writes the results with the log and curve.
The shipped weights were trained with ``--steps 6600 --fall 1600`` and, going on from there,
``--steps 10400 --fall 7600``, which begins at half the rate (an earlier stage of 1,690 steps had a fall of its own).
To ship the file, copy it to ``laclip_aug/rewrite/weights`` and put its SHA-256 into ``laclip_aug/rewrite/embedded.py``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.embedded_rewriter.evaluate import evaluate, table
from benchmarks.embedded_rewriter.export import export
from benchmarks.embedded_rewriter.model import Shape
from benchmarks.embedded_rewriter.prepare import prepare
from benchmarks.embedded_rewriter.report import write
from benchmarks.embedded_rewriter.train import Recipe, train
from laclip_aug.rewrite import embedded
from laclip_aug.rewrite.rewriter import LLMAugmenter

STEPS = ("prepare", "train", "export", "evaluate", "report")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("do", nargs="*", metavar="STEP", help=f"{', '.join(STEPS)}; all by default")
    made.add_argument("--captions", type=Path, required=True, help="folder of the caption sets")
    made.add_argument("--work", type=Path, required=True, help="folder for material, checkpoints and results")
    made.add_argument(
        "--flickr8k", type=Path, nargs="*", default=[], help="Flickr8k tables whose photos must not train"
    )
    made.add_argument("--steps", type=int, default=Recipe.steps, help="training steps")
    made.add_argument("--fall", type=int, default=Recipe.fall, help="of which the last have a falling rate")
    made.add_argument("--tokens", type=int, default=Recipe.tokens, help="positions in a batch")
    made.add_argument("--vocabulary", type=int, default=Shape.vocabulary, help="pieces in the vocabulary")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--kind", choices=("f16", "q8_0", "f32"), default="f16", help="weights in the GGUF file")
    made.add_argument("--candidates", type=int, default=embedded.DEFAULTS["candidates"], help="drawn for each text")
    made.add_argument("--images", type=int, default=1000, help="held-out images of each set to evaluate on")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    unknown = set(args.do) - set(STEPS)
    if unknown:
        raise SystemExit(f"unknown step {', '.join(sorted(unknown))}; known: {', '.join(STEPS)}")
    wanted = args.do or STEPS
    data, run = args.work / "data", args.work / "run"
    weights = args.work / embedded.FILE
    if "prepare" in wanted:
        prepare(args.captions, data, args.flickr8k, args.vocabulary)
    if "train" in wanted:
        recipe = Recipe(steps=args.steps, fall=args.fall, tokens=args.tokens)
        train(data, run, Shape(vocabulary=args.vocabulary), recipe, args.threads)
    if "export" in wanted:
        sha256 = export(run / "checkpoint.pt", data / "vocabulary.model", weights, args.kind)
        print(f"{weights.name}: {weights.stat().st_size / 1e6:.1f} MB, sha256 {sha256}")
    if "evaluate" in wanted:
        began = time.perf_counter()
        options = {**embedded.DEFAULTS, "candidates": args.candidates}
        augmenter = LLMAugmenter.from_options(model=weights, prompt=embedded.layout(), **options)
        report = evaluate(data / "held_out.json", augmenter, most=args.images)
        report["minutes"] = round((time.perf_counter() - began) / 60, 2)
        (args.work / "figures.json").write_text(
            json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        print(table(report))
    if "report" in wanted:
        write(args.work / "figures.json", run / "log.jsonl", args.work / "results")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

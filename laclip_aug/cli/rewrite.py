"""Rewrite captions and show what came of it, rejections and their reasons included.

examples:
  laclip-aug rewrite "a dog runs on the beach" --n 4
  laclip-aug rewrite "a dog runs on the beach" --model model.gguf --strategies human,mscoco
  laclip-aug rewrite "a dog runs on the beach" --augmenter eda --json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from laclip_aug.augmenter import Outcome
from laclip_aug.cli.augmenters import add_augmenter_arguments, augmenter_from
from laclip_aug.cli.numbers import check_counts
from laclip_aug.cli.streams import printable

_STRATEGIES = 4
_FEW = 16  # texts; from there on an engine has its usual size
_SHOWN = 8  # rejections; a small model draws dozens
_LONGEST = 300  # characters of a text that are printed


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Add the options of ``laclip-aug rewrite``."""
    parser.add_argument("captions", nargs="+", metavar="CAPTION", help="a caption; several may be given")
    parser.add_argument("--n", type=int, metavar="N", help="rewrites of each caption (default: one of each strategy)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed draws other texts (default: 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object per caption instead")
    add_augmenter_arguments(parser, argv)


def run(args: argparse.Namespace) -> int:
    """Print the rewrites of each caption, in the order given; 1 if one failed, which says nothing about the caption."""
    from laclip_aug.cache.keys import normalise

    check_counts(args, "n")
    args.option += _room_for(args)
    captions = [normalise(caption) for caption in args.captions]  # as a build does, to show what it makes
    with closing(augmenter_from(args)) as augmenter:
        n = len(augmenter.sources) if args.n is None else args.n
        outcomes = {outcome.caption: outcome for outcome in augmenter.outcomes(dict.fromkeys(captions), n, args.seed)}
    for number, (given, caption) in enumerate(zip(args.captions, captions, strict=True)):
        outcome = replace(outcomes[caption], caption=given)
        print(json.dumps(_as_json(outcome)) if args.json else ("\n" if number else "") + _as_text(outcome, n))
    failed = [outcome for outcome in outcomes.values() if outcome.failed]
    for outcome in failed:
        print(
            f"laclip-aug: {outcome.caption[:60]!r} failed, {printable(outcome.failed, 1000)}; the caption is not at "
            "fault: run the same command again to ask for it again",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _room_for(args: argparse.Namespace) -> list[str]:
    """Options for an engine with room for what is asked for: room to spare would first be cleared, for a third of a
    second. The texts do not depend on it, where they are reproducible.
    """
    texts = len(set(args.captions)) * (args.n or _STRATEGIES) * (getattr(args, "candidates", None) or 1)
    given = [item.partition("=")[0].strip().replace("-", "_") for item in args.option]
    local = args.augmenter == "llm" and not args.base_url and args.backend != "http"
    if not local or args.n_slots is not None or {"n_slots", "n_prefixes", "backend", "base_url"} & {*given}:
        return []
    return [f"n_slots={texts}", f"n_prefixes={texts}"] if 0 < texts < _FEW else []


def _as_json(outcome: Outcome) -> dict[str, object]:
    return {
        "caption": outcome.caption,
        "rewrites": [{"source": r.source, "text": r.text} for r in outcome.rewrites],
        "rejections": [{"source": r.source, "reason": r.reason, "text": r.text} for r in outcome.rejections],
        "tokens": outcome.tokens,
        "failed": outcome.failed or None,
    }


def _as_text(outcome: Outcome, n: int) -> str:
    width = max((len(r.source) for made in (outcome.rewrites, outcome.rejections) for r in made), default=0)
    lines = [printable(outcome.caption, _LONGEST)]
    lines += [f"  {r.source:<{width}}  {printable(r.text, _LONGEST)}" for r in outcome.rewrites]
    made, rejected = len(outcome.rewrites), len(outcome.rejections)
    counts = ", ".join(
        f"{reason} {count}" for reason, count in Counter(r.reason for r in outcome.rejections).most_common()
    )
    became = "it failed" if outcome.failed else f"{rejected} rejected: {counts}" if rejected else "none rejected"
    lines.append(f"{made} of {n} rewrites; {became}")
    shown = outcome.rejections[:_SHOWN]
    lines += [f"  {r.source:<{width}}  {r.reason}: {printable(r.text, _LONGEST)}".rstrip(" :") for r in shown]
    if rejected > _SHOWN:
        lines.append(f"  … and {rejected - _SHOWN} more rejections; --json prints them all")
    return "\n".join(lines)

"""Convert translation models, and look at a back-translation.

examples:
  laclip-aug translate convert SOURCE_DIR OUT_DIR --quantization int8
  laclip-aug translate text "a brown dog runs on the beach" --pivot de
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from laclip_aug.augmenter import CaptionAugmenter, augmenter_class, create_augmenter
from laclip_aug.cli.numbers import check_counts
from laclip_aug.cli.streams import printable


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """``translate convert`` and ``translate text``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    convert = actions.add_parser(
        "convert",
        help="convert a local Hugging Face or Marian folder for CTranslate2",
        description="Convert a downloaded translation model (OPUS-MT, Marian; NLLB and others with transformers "
        "installed) into the folder that --pivot takes.",
        allow_abbrev=False,
    )
    convert.add_argument("source_dir", type=Path, help="the downloaded model's folder")
    convert.add_argument("out_dir", type=Path, help="the folder to make")
    convert.add_argument("--quantization", default="int8", help="type of the stored weights (int8)")
    text = actions.add_parser(
        "text",
        help="back-translate captions given on the command line",
        description="Show what back-translation makes of captions, rejections and their reasons included.",
        allow_abbrev=False,
    )
    text.add_argument("captions", nargs="+", metavar="CAPTION")
    text.add_argument("--n", type=int, default=1, help="texts for each caption (1)")
    text.add_argument("--seed", type=int, default=0)
    if "text" in argv[:1]:
        before = {action.dest for action in text._actions}
        augmenter_class("back-translation").add_arguments(text)
        text.set_defaults(options=sorted(a.dest for a in text._actions if a.dest not in before))


def run(args: argparse.Namespace) -> int:
    """Run the chosen action."""
    if args.action == "convert":
        from laclip_aug.backtranslation.convert import convert

        out = convert(args.source_dir, args.out_dir, args.quantization)
        size = sum(file.stat().st_size for file in out.iterdir())
        print(f"{out}: {size / 1e6:.1f} MB; use it as --pivot NAME={out} (or NAME=THERE,BACK for two models)")
        return 0
    check_counts(args, "n")
    given = {name: getattr(args, name) for name in args.options if getattr(args, name) is not None}
    augmenter = create_augmenter("back-translation", **given)
    try:
        _show(augmenter, args.captions, args.n, args.seed)
    finally:
        augmenter.close()
    return 0


def _show(augmenter: CaptionAugmenter, captions: Sequence[str], n: int, seed: int) -> None:
    for outcome in augmenter.outcomes(captions, n, seed):
        print(printable(outcome.caption))
        for rewrite in outcome.rewrites:
            print(f"  {rewrite.source}: {printable(rewrite.text)}")
        for rejection in outcome.rejections:
            print(f"  {rejection.source}: rejected ({rejection.reason}): {printable(rejection.text)}")

"""Print the command line of one of the paper's training runs. It is a dry run: nothing is trained.

examples:
  laclip-aug recipe
  laclip-aug recipe cc12m --gpus 8 --with --train-data 'cc12m/{00000..01242}.tar' --text-aug laclip --text-aug-cache llm

What comes after --with is open_clip's and wins over the recipe. The line is checked with open_clip's own parser.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Add the options of ``laclip-aug recipe``."""
    parser.add_argument("name", nargs="?", help="which one (default: list them)")
    parser.add_argument("--gpus", type=int, metavar="N", help="over all machines of 8 (default: by the recipe)")
    parser.add_argument("--samples", type=int, metavar="N", help="images an epoch, if yours are not as many")
    parser.add_argument(
        "--with", dest="options", nargs=argparse.REMAINDER, default=[], help="all that follows goes to open_clip train"
    )


def run(args: argparse.Namespace) -> int:
    """Print the list, or the line; what is to be known of it goes to standard error."""
    from laclip_aug.cli.open_clip import check_line
    from laclip_aug.errors import ConfigurationError
    from laclip_aug.evaluation.recipes import load_recipe, recipe_names

    if args.name is None:
        for name in recipe_names():
            recipe = load_recipe(name)
            print(f"{name:14} {recipe.title}: {recipe.status}")
        return 0
    recipe = load_recipe(args.name)
    if (args.gpus or 1) < 1 or (args.samples or 1) < 1:
        raise ConfigurationError("--gpus and --samples must be at least 1")
    command = recipe.command(args.options, args.gpus, args.samples)
    check_line(command[command.index("train") + 1 :])
    print(f"{recipe.title}: {recipe.status}. Source: {recipe.source}.", file=sys.stderr)
    for name in ("departures", "unverified"):
        if text := getattr(recipe, name):
            print(f"{name}: {text}", file=sys.stderr)
    print(f"to judge it afterwards: eval zero-shot with --protocol {recipe.protocol}", file=sys.stderr)
    print(shlex.join(command))
    return 0

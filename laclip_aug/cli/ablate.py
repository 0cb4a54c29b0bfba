"""Compare ways to augment captions: train a grid of models, evaluate them, and show one table with deviations.

example, ablation.yaml:
  train:                                # options of open_clip train, without the dashes
    train-data: captions.tsv
    batch-size: 128
    epochs: 30
  evaluate:                             # laclip-aug eval, without the model
    - retrieval --data photos.tar --captions captions_val.tsv
  grid:
    model: [ViT-B-16, small.json]
    mode: [none, eda, laclip, laclip-mt]
    cache: {llm: rewrites, human: {directory: human, strategies: [h1, h2]}}
    texts: [1, 2, 4]                    # augmented texts per caption (default: all of the cache)
    text-encoder: {random: {}, bert: {hf_model_name: bert-base-uncased, frozen: true}}
    seed: [0, 1, 2]
  paper: cc12m                          # whose published figures stand beside (see laclip-aug recipe)

  laclip-aug ablate ablation.yaml --dry-run
  laclip-aug ablate ablation.yaml

Each run is a process of its own, on a GPU of its own. Killed at any point, the same command goes on: a finished run is
never made again, and a broken one resumes at its last whole epoch. More seeds or caches may be added to the file.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from laclip_aug.cli.numbers import check_counts


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Add the options of ``laclip-aug ablate``."""
    parser.add_argument("config", type=Path, metavar="CONFIG.yaml", help="what to compare")
    parser.add_argument("--out", type=Path, metavar="DIR", help="runs and results (default: the file's name, here)")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs side by side (default: one for each GPU)")
    parser.add_argument("--dry-run", action="store_true", help="print the command lines, and train nothing")


def run(args: argparse.Namespace) -> int:
    """Train, evaluate, and show the table; 1 if a run has failed."""
    from laclip_aug.cli import eval as evaluation
    from laclip_aug.cli.open_clip import check_line
    from laclip_aug.errors import ConfigurationError, LaclipError
    from laclip_aug.evaluation.ablation.config import read_ablation
    from laclip_aug.evaluation.ablation.study import Study

    check_counts(args, "jobs")
    ablation = read_ablation(args.config)
    study = Study(ablation, args.out or Path(ablation.name))
    to_train = study.commands() if args.dry_run else study.unfinished()
    for command in to_train:
        check_line(command[2:])
    for line in ablation.evaluate:  # now, and not after days of training
        try:
            evaluation.check_line(line, data=bool(to_train) and not args.dry_run)
        except LaclipError as error:
            raise ConfigurationError(f"{args.config.name}: evaluate: {shlex.join(line)}: {error}") from None
    if args.dry_run:
        print("\n".join(shlex.join(command) for command in study.commands()))
        return 0
    failed = study.run(args.jobs)
    print(study.report())
    return 1 if failed else 0

"""Build a cache of rewrites: each distinct caption of the input is augmented once.

examples:
  laclip-aug build captions.tsv --cache rewrites --augmenter eda --n 4
  laclip-aug build captions.tsv --cache rewrites --augmenter llm --model model.gguf --strategies chatgpt,bard
  laclip-aug build 'cc3m/{00000..00331}.tar' --cache rewrites --model model.gguf

  laclip-aug build captions.tsv --cache part-3 --shard 3/20
  laclip-aug build captions.tsv --cache rewrites --engine ray --address auto --gpus-per-worker 1
  laclip-aug build captions.tsv --cache rewrites --dry-run --price-per-hour 2.5

Killed at any point, the same command goes on where it stopped. Another configuration needs another directory.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from laclip_aug.cli.augmenters import add_augmenter_arguments, augmenter_from
from laclip_aug.cli.numbers import check_counts

if TYPE_CHECKING:
    from laclip_aug.augmenter import CaptionAugmenter
    from laclip_aug.cache.part import Part
    from laclip_aug.exchange.readers import InputOptions

SAMPLE = 400
"""Captions of a dry run."""


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Add the options of ``build`` and of the augmenter that ``argv`` names."""
    parser.add_argument(
        "input",
        nargs="+",
        metavar="INPUT",
        help="caption files: paths, globs, braces {00..41}, A::B, addresses",
    )
    parser.add_argument(
        "--cache", dest="directory", required=True, metavar="DIR", help="the cache to make or go on with"
    )
    parser.add_argument("--n", type=int, metavar="N", help="texts per caption (default: one per source or strategy)")
    parser.add_argument("--seed", type=int, default=0, help="texts are a function of (seed, caption) (default: 0)")
    add_input_arguments(parser)
    parser.add_argument(
        "--max-caption-chars",
        type=int,
        default=4096,
        metavar="N",
        help="longer captions are recorded without rewrites and counted as too-long (default: 4096)",
    )
    parser.add_argument(
        "--shard-rows", type=int, default=65536, metavar="N", help="captions per Parquet shard (default: 65536)"
    )
    parser.add_argument(
        "--allow-mixed",
        action="store_true",
        help="add to a cache that was built with another configuration; the manifest records both",
    )
    parser.add_argument(
        "--fold",
        type=float,
        metavar="0.98",
        help="give a caption that is nearly an earlier one (cosine of character n-grams; colours, numbers and negation "
        "equal) the rewrites of that one; from 0.98 to 1 (default: only identical captions share)",
    )
    add_cluster_arguments(parser)
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="build the I-th of N parts of the captions, from 0/N to (N-1)/N, each in a cache of its own and on any "
        "machine; laclip-aug cache merge puts them together",
    )
    parser.add_argument(
        "--dry-run",
        type=int,
        nargs="?",
        const=SAMPLE,
        metavar="N",
        help=f"make N captions ({SAMPLE}), more if that takes only seconds, store nothing, and say what time, disk and "
        "tokens all of them would take",
    )
    parser.add_argument(
        "--price-per-hour", type=float, metavar="PRICE", help="with --dry-run: of this machine, for the cost of all"
    )
    add_augmenter_arguments(parser, argv)


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which machines build."""
    group = parser.add_argument_group("many machines")
    group.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="where it is built: here, or by the workers of a Ray cluster, which share the file system "
        "(laclip-aug[ray])",
    )
    group.add_argument(
        "--address", metavar="HOST:PORT", help="ray: the cluster (default: RAY_ADDRESS, or this machine)"
    )
    group.add_argument(
        "--workers", type=int, metavar="N", help="ray: how many (default: what the GPUs allow; one a machine on CPUs)"
    )
    group.add_argument(
        "--gpus-per-worker", type=float, metavar="G", help="ray: GPUs of each worker, also parts of one (default: 0)"
    )


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how captions are read; they bear open_clip's names where it has them."""
    from laclip_aug.exchange.places import FORMATS
    from laclip_aug.exchange.readers import CAPTION_KEYS

    group = parser.add_argument_group("input")
    group.add_argument("--input-format", choices=FORMATS, help="default: by the file's name")
    group.add_argument(
        "--csv-separator", metavar="SEP", help="default: a tab, or a comma if the header has commas and no tab"
    )
    group.add_argument(
        "--csv-caption-key",
        "--caption-key",
        dest="caption_key",
        metavar="KEY",
        help=f"column of the captions (default: the first there is of {', '.join(CAPTION_KEYS)})",
    )
    group.add_argument(
        "--text-key",
        metavar="ENDING",
        help="webdataset: the ending of the members with the captions, or several by preference: 'txt;caption' "
        "(default: txt)",
    )
    group.add_argument(
        "--json-text-key",
        metavar="FIELD",
        help="webdataset: the field of .json members with the captions, or several by preference: 'a;b'",
    )
    group.add_argument(
        "--json-text-key-probs",
        type=float,
        nargs="+",
        metavar="P",
        help="webdataset: the trainer draws among these fields, so the captions in all of them are read",
    )
    group.add_argument(
        "--csv-img-key",
        metavar="KEY",
        help="column of the images, for cache filter --images and the CSV of cache export NAME-{source}.txt; elsewhere "
        "accepted so that open_clip's options can be pasted",
    )


def run(args: argparse.Namespace) -> int:
    """Build, show the report, and return 0, or 1 if some captions failed and are to be asked for again."""
    from laclip_aug.cache.build import build_cache
    from laclip_aug.cache.part import Part
    from laclip_aug.errors import ConfigurationError

    check_counts(args, "n", "max_caption_chars", "shard_rows", "workers")
    if args.price_per_hour is not None and args.dry_run is None:
        raise ConfigurationError("--price-per-hour goes with --dry-run; add it")
    if args.price_per_hour is not None and not 0 <= args.price_per_hour < float("inf"):
        raise ConfigurationError(f"--price-per-hour must be 0 or more, not {args.price_per_hour:g}")
    part = None if args.shard is None else Part.of(args.shard)
    if args.engine == "ray":
        return _on_ray(args)
    for option in ("address", "workers", "gpus_per_worker"):
        if getattr(args, option) is not None:
            raise ConfigurationError(f"--{option.replace('_', '-')} goes with --engine ray; add it")
    augmenter = augmenter_from(args)
    try:
        if args.dry_run is not None:
            return _dry_run(args, augmenter, part)
        report = build_cache(
            args.input,
            args.directory,
            augmenter,
            n=args.n,
            seed=args.seed,
            options=input_options(args),
            max_caption_chars=args.max_caption_chars,
            shard_rows=args.shard_rows,
            allow_mixed=args.allow_mixed,
            fold=args.fold,
            part=part,
        )
    finally:
        augmenter.close()
    print("\n".join(report.lines()))
    return 1 if report.failed else 0


def _on_ray(args: argparse.Namespace) -> int:
    import sys
    from contextlib import redirect_stdout
    from functools import partial

    from laclip_aug.cluster.build import build_on_cluster
    from laclip_aug.cluster.ray import RayCluster
    from laclip_aug.cluster.worker import Work
    from laclip_aug.errors import ConfigurationError
    from laclip_aug.exchange.addresses import local_directory

    for option in ("shard", "fold", "dry_run"):
        if getattr(args, option) is not None:
            raise ConfigurationError(f"--{option.replace('_', '-')} is not for --engine ray; leave out one of both")
    if args.gpus_per_worker is not None and not 0 <= args.gpus_per_worker < 1000:
        raise ConfigurationError(f"--gpus-per-worker must be 0 or more, not {args.gpus_per_worker}")
    # what Ray itself says of a worker that died goes to the log: standard output is the report's
    with redirect_stdout(sys.stderr), RayCluster(args.address, args.workers, args.gpus_per_worker or 0.0) as cluster:
        work = Work(
            tuple(args.input),
            str(local_directory(args.directory)),
            str(Path.cwd()),
            args.n,
            args.seed,
            input_options(args),
            args.max_caption_chars,
            args.shard_rows,
            args.allow_mixed,
        )
        report = build_on_cluster(cluster, partial(augmenter_from, args), work)
    print("\n".join(report.lines()))
    return 1 if report.run.failed else 0


def _dry_run(args: argparse.Namespace, augmenter: CaptionAugmenter, part: Part | None) -> int:
    from laclip_aug.cache.estimate import estimate
    from laclip_aug.exchange.addresses import local_directory

    found = estimate(
        args.input,
        local_directory(args.directory),
        augmenter,
        n=args.n,
        seed=args.seed,
        options=input_options(args),
        max_caption_chars=args.max_caption_chars,
        part=part,
        sample=args.dry_run,
    )
    print("\n".join(found.lines(args.price_per_hour)))
    return 0


def input_options(args: argparse.Namespace) -> InputOptions:
    """What the options of :func:`add_input_arguments` say; ``\\t`` stands for a tab, as typed in a shell."""
    from laclip_aug.exchange.readers import InputOptions
    from laclip_aug.exchange.tars import TextKeys

    separator = "\t" if args.csv_separator == "\\t" else args.csv_separator
    keys = TextKeys.of(args.text_key, args.json_text_key, args.json_text_key_probs)
    return InputOptions(args.input_format, separator, args.caption_key, keys)

"""``laclip-aug cache import``: its options, and what it runs."""

from __future__ import annotations

import argparse

from laclip_aug.cli.build import add_input_arguments, input_options


def add_import_arguments(importing: argparse.ArgumentParser) -> None:
    """Add the options of ``cache import``."""
    importing.add_argument(
        "input", nargs="+", metavar="INPUT", help="CSV, TSV, JSONL or Parquet files, or webdataset tars"
    )
    importing.add_argument(
        "--cache", dest="directory", required=True, metavar="DIR", help="the cache to make or add to"
    )
    importing.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="NAME",
        help="what made the texts; one per --rewrite-key (default: the key; human for --group-key and --list-key)",
    )
    form = importing.add_argument_group("form of the input (one of these)")
    form.add_argument(
        "--rewrite-key",
        action="append",
        default=[],
        metavar="KEY",
        help="column of rewrites (default: rewrites): a text, a list, or an object {SOURCE: TEXT or list}",
    )
    form.add_argument(
        "--group-key",
        metavar="KEY",
        help="rows in a row with the same value here caption one image: each gets the others as rewrites",
    )
    form.add_argument("--index-key", metavar="KEY", help="with --group-key: a number that orders the rows")
    form.add_argument("--list-key", metavar="KEY", help="column of lists: each text gets the others as rewrites")
    form.add_argument(
        "--image-key",
        metavar="KEY",
        help="with --rewrite-key: the texts are the image's, found by its key in this column, not by its caption; for "
        "loaders of your own",
    )
    form.add_argument(
        "--lines",
        action="append",
        default=[],
        metavar="SOURCE=FILE",
        help="LaCLIP's form: INPUT is a CSV or TSV path,caption without header, or a text file with a caption a line, "
        "and FILE has one rewrite a line",
    )
    importing.add_argument(
        "--captions",
        action="append",
        default=[],
        metavar="FILE",
        help="where INPUT has texts without captions: the files that have these, joined by a column of both",
    )
    importing.add_argument(
        "--join",
        metavar="KEY",
        help="with --captions: that column, or KEY=KEY_OF_THE_CAPTIONS (default: uid, sha256 or url)",
    )
    importing.add_argument(
        "--max-misaligned",
        type=float,
        default=0.0,
        metavar="PART",
        help="the part of the rows that may be found to have texts of other rows, such as 0.01 (default: 0)",
    )
    add_input_arguments(importing)


def run_import(args: argparse.Namespace) -> int:
    """Import, and print what came of it."""
    from laclip_aug.cache.ingest import import_cache
    from laclip_aug.exchange.import_form import ImportForm

    form = ImportForm(
        rewrite_keys=tuple(args.rewrite_key),
        group_key=args.group_key,
        index_key=args.index_key,
        list_key=args.list_key,
        lines=tuple(args.lines),
        captions=tuple(args.captions),
        join=args.join,
        sources=tuple(args.source),
        image_key=args.image_key,
    )
    report = import_cache(args.input, args.directory, form, input_options(args), args.max_misaligned)
    print("\n".join(report.lines()))
    return 0

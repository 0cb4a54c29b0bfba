"""The action ``export`` of ``laclip-aug cache``: records out, or texts beside somebody's own data."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from laclip_aug.cli.build import add_input_arguments, input_options


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``export``."""
    parser.add_argument(
        "output",
        metavar="OUTPUT",
        help="a file .jsonl, .parquet or .csv (one row a text); - is standard output (JSONL); a name without ending is "
        "a folder that load_dataset loads. With --for: a table of the same format, NAME-{source}.txt for LaCLIP's text "
        "files and their CSV, or a directory for tars",
    )
    parser.add_argument(
        "--for",
        dest="data",
        nargs="+",
        metavar="DATA",
        help="a table or tars of your own, in whose order the texts are written, each with its caption",
    )
    add_input_arguments(parser)


def run_export(args: argparse.Namespace) -> int:
    """Write what was asked for, and return 0, or 1 if some of it could not be."""
    from laclip_aug.cache.export import export_beside, export_records

    if args.data:
        said, whole = export_beside(Path(args.directory), args.output, args.data, input_options(args), args.csv_img_key)
        print("\n".join(said))
        return 0 if whole else 1
    number = export_records(Path(args.directory), args.output)
    print(f"{number} records in {args.output}", file=sys.stderr if args.output == "-" else sys.stdout)
    return 0

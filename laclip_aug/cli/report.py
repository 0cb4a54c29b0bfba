"""How good a cache is, on one page: counts, lengths, signals, rejections, words, and samples to read.

examples:
  laclip-aug report rewrites
  laclip-aug report rewrites --gate "truth>=0.5 novelty>=0.1" --out strict.html
  laclip-aug report rewrites --json > report.json

The page is one file without scripts, to be opened in any browser, kept or sent.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from laclip_aug.cli.numbers import check_counts


def add_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Add the options of ``laclip-aug report``."""
    parser.add_argument("directory", metavar="CACHE", help="the directory of the cache; a build may be under way")
    parser.add_argument("--out", metavar="FILE", help="where to write the page (default: CACHE-report.html, here)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead, or write them to --out")
    parser.add_argument(
        "--gate",
        metavar="SPEC",
        help="show this gate's lines; its signals are measured (default: the cache's own gate)",
    )
    parser.add_argument(
        "--sample", type=int, default=5000, metavar="N", help="captions that are measured, at random (default: 5000)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the sample (default: 0)")


def run(args: argparse.Namespace) -> int:
    """Write the page, or the JSON."""
    from laclip_aug.cache.page import check_page, page_of
    from laclip_aug.cache.report import report_of
    from laclip_aug.exchange.addresses import local_directory
    from laclip_aug.exchange.files import check_output, replace_file

    check_counts(args, "sample")
    directory = Path(local_directory(args.directory))
    name = directory.resolve().name
    page = None if args.json else Path(f"{name}-report.html")
    out = page if args.out is None else Path(args.out)
    if out is not None:
        check_output(out)
    if not args.json:
        check_page()
    report = report_of(directory, args.gate, args.sample, args.seed)
    if args.json:
        text = json.dumps(report, indent=1, ensure_ascii=True, allow_nan=False) + "\n"
    else:
        text = page_of(report, name)
    if out is None:
        print(text, end="")
        return 0
    replace_file(out, text.encode("utf-8"))
    print(f"{out}: {report['sample']['captions']} of {report['sample']['of']} captions measured")
    return 0

"""``laclip-aug cache filter``: a finished cache through a gate.

examples:
  laclip-aug cache filter rewrites --sweep
  laclip-aug cache filter rewrites --gate "sound>=0.75 truth>=0.2" --out sounder
  laclip-aug cache filter rewrites --gate "sound>=0.65 truth>=0.6 novelty>=0.1" --out stricter
  laclip-aug cache filter rewrites --gate "clip-gain(ViT-B-32:laion2b_s34b_b79k)>=-0.03" --images train.csv --out seen
  laclip-aug cache filter stricter --gate none --out rewrites-again

The gate decides on every text, those refused before too: what a signal refused comes back if the new gate does not ask
for that signal, or asks for less. To be stricter, name the old conditions and add to them. What its writer alone knows
of a text (likelihood, verdict, and sound, which joins them) is in the cache with each text, so that a gate may ask for
more of these too, without a new build. Caches of earlier versions have it of those texts only that were refused for it.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from laclip_aug.errors import ConfigurationError
from laclip_aug.quality.signals import meaning_of, signal_names

if TYPE_CHECKING:
    from laclip_aug.cache.filter import Images

SWEPT = "words>=0 kept>=0 tfidf>=0 truth>=0 novelty>=0 likelihood>=0 verdict>=0 sound>=0"
"""What ``--sweep`` measures if no gate is named; it shows what is known of any text."""


def add_filter_arguments(parser: argparse.ArgumentParser, full: bool) -> None:
    """Add the options; ``full`` lists the signals in the help, which loads their modules."""
    from laclip_aug.cli.build import add_input_arguments

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "\n".join((__doc__ or "").splitlines()[2:])
    if full:
        names = signal_names()
        parser.epilog = "signals:\n" + "\n".join(f"  {name:<15} {meaning_of(name)}" for name in names)
    parser.add_argument("--out", metavar="DIR", help="the cache to make; what is refused stays in it, out of use")
    parser.add_argument(
        "--gate",
        metavar="SPEC",
        help="conditions SIGNAL>=NUMBER or SIGNAL<=NUMBER, all to be met; default is what the cache was built with; "
        "none lets all pass and brings back what earlier filters refused",
    )
    parser.add_argument(
        "--sweep", action="store_true", help="make nothing; print the share of texts kept against each threshold"
    )
    parser.add_argument(
        "--images",
        action="append",
        metavar="INPUT",
        help="where the captions' images are, for clip and clip-gain: tables with their paths, or unpacked tars",
    )
    add_input_arguments(parser)


def run_filter(args: argparse.Namespace) -> int:
    """Filter, or sweep, and print what came of it."""
    from laclip_aug.cache.filter import filter_cache, sweep

    if args.sweep == bool(args.out):
        raise ConfigurationError("give --out DIR to make a cache, or --sweep to look at thresholds")
    images = partial(_images, args) if args.images else None
    if args.sweep:
        from laclip_aug.quality.sweep import lines

        swept = sweep(args.directory, args.gate or SWEPT, images)
        if not args.gate:
            swept = {side: found for side, found in swept.items() if found.counts or not found.unknown}
        print("\n".join(lines(swept)))
        return 0
    if args.gate is None:
        raise ConfigurationError("name the gate with --gate, for example --gate default; --sweep shows what it keeps")
    print("\n".join(filter_cache(args.directory, args.out, args.gate, images).lines()))
    return 0


def _images(args: argparse.Namespace) -> Images:
    from laclip_aug.cache.keys import caption_key
    from laclip_aug.cli.build import input_options
    from laclip_aug.exchange.images import ImagePlace, image_places

    found: dict[bytes, ImagePlace] = {}
    for caption, place in image_places(args.images, input_options(args), args.csv_img_key):
        found.setdefault(caption_key(caption), place)  # of several images with one caption the first stands for it
    if not found:
        raise ConfigurationError("no image was found beside a caption; check --images and --csv-img-key")
    return found

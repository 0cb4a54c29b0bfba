"""The parser of the ``--text-aug-*`` options.

Nothing here knows open_clip: the options are parsed first, and what is left over is the trainer's own command line.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any

from laclip_aug.errors import ConfigurationError, UnknownNameError
from laclip_aug.training.options import DEFAULT_POOL, TextAugOptions
from laclip_aug.training.values import key_value, listed, share, weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the ``--text-aug-*`` options to ``parser``; :func:`options_of` makes sense of what it reads."""
    group = parser.add_argument_group("text augmentation", "which text of an image to train on; only training changes")
    group.add_argument(
        "--text-aug",
        default="none",
        metavar="MODE",
        help="none: open_clip as it is (default). laclip: one text per image and step, drawn from the caption and its "
        "rewrites. laclip-mt: several texts per image and step. eda: word-level augmentation, made while loading or "
        "read from a cache. back-translation: read from a cache",
    )
    group.add_argument(
        "--text-aug-cache",
        action="append",
        default=[],
        metavar="DIR",
        help="the cache that laclip-aug build made; give it again for each further cache",
    )
    group.add_argument(
        "--text-aug-with",
        default=(),
        metavar="A,B",
        type=listed,
        help="augmenters that make texts while loading, beside the caches or without one: eda, sentences; one text of "
        "a caption, or as many as sentences:4 says",
    )
    group.add_argument(
        "--text-aug-weights",
        metavar="A=W,B=W",
        type=weights,
        help="how often texts of a source are drawn, such as original=1,chatgpt=0.5,eda=0.2: in proportion to its "
        "weight among the sources that a caption has texts of; 1 where none is given (default: each text as often)",
    )
    group.add_argument(
        "--text-aug-strategies",
        metavar="A,B",
        type=listed,
        help="use the texts of these strategies only, in this order (default: all of the cache)",
    )
    group.add_argument(
        "--text-aug-original-prob",
        type=float,
        metavar="P",
        help="how often the original caption is drawn (default: as often as each other text)",
    )
    group.add_argument(
        "--text-aug-num-texts",
        type=int,
        metavar="K",
        help="texts per image, the original included. laclip-mt: texts in each step (default: all). eda without a "
        f"cache: texts to draw from (default: {DEFAULT_POOL})",
    )
    group.add_argument("--text-aug-seed", type=int, default=0, metavar="N", help="default: 0")
    group.add_argument(
        "--text-aug-on-miss",
        default="error",
        metavar="{error,original}",
        help="a caption that is not in the cache stops the training (default), or is used as it is",
    )
    group.add_argument(
        "--text-aug-max-miss",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="captions that may miss the cache, such as 0.1%% or 0.001, and are then used as they are; more of them "
        "stop the training (default: 0)",
    )
    group.add_argument(
        "--text-aug-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a parameter of an augmenter that makes texts while loading; of several: NAME.KEY=VALUE",
    )
    group.add_argument(
        "--text-aug-mt-reduction",
        default="mean",
        metavar="{mean,paper}",
        help="divide the sum over K texts by K (default), or by K - 1 as the paper prints it",
    )
    group.add_argument(
        "--text-aug-mt-text-side",
        default="all",
        metavar="{all,sampled}",
        help="text-to-image loss for every text (default), or for one text per image",
    )
    group.add_argument(
        "--text-aug-mt-negatives",
        default="index",
        metavar="{index,all}",
        help="contrast an image with the texts at the same place (default, as the paper), or with all texts",
    )
    group.add_argument(
        "--text-aug-mt-mask-duplicates",
        action="store_true",
        help="do not count a text as a negative where it equals the positive",
    )
    group.add_argument(
        "--text-aug-linked",
        default=(),
        metavar="A,B",
        type=listed,
        help="change image and text together, also with --text-aug none: flip (left and right change places), gray "
        "(colour words go), crop (to the half that the text is then of); by default nothing",
    )
    group.add_argument(
        "--text-aug-trim",
        default="auto",
        metavar="{auto,on,off}",
        help="leave padding out of the text tower where that is exact: with augmented texts (default), always, never",
    )


def parse(arguments: Sequence[str]) -> tuple[TextAugOptions, list[str]]:
    """Split a command line into our options and the rest, which is returned in its order.

    Raises:
        UnknownNameError: an argument starts with ``--text-aug`` but is none of ours; suggests the nearest.
        ConfigurationError: a value is wrong.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    add_arguments(parser)
    known = [option for action in parser._actions for option in action.option_strings]
    try:
        namespace, rest = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise ConfigurationError(f"{error}; see open_clip train --help") from error
    for argument in rest:
        name = argument.split("=", 1)[0]
        if " " in name:
            continue  # a value, by argparse's own rule
        if name.replace("_", "-").startswith("--text-aug") or difflib.get_close_matches(
            name, ["--text-aug"], cutoff=0.9
        ):
            raise UnknownNameError("option", name, known)
    return options_of(namespace), rest


def options_of(namespace: argparse.Namespace) -> TextAugOptions:
    """The options in what a parser with :func:`add_arguments` read; other names in ``namespace`` do not matter.

    Raises:
        ConfigurationError: a value is wrong.
    """
    prefix = "text_aug_"
    values = {name[len(prefix) :]: value for name, value in vars(namespace).items() if name.startswith(prefix)}
    caches = values.pop("cache")
    values["cache"] = tuple(caches) if len(caches) > 1 else caches[0] if caches else None
    values["augmenters"], given = values.pop("with"), values.pop("option")
    augmenter_options: dict[str, Any] = {}
    for key, value in map(key_value, given):
        if key in augmenter_options:
            raise ConfigurationError(f"--text-aug-option {key} is given twice; keep one of them")
        augmenter_options[key] = value
    return TextAugOptions(mode=namespace.text_aug, augmenter_options=augmenter_options, **values)

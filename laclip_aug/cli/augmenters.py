"""How a command line names an augmenter and its options; shared by ``rewrite`` and ``build``.

Each registered kind adds its own options through ``CaptionAugmenter.add_arguments``, so ``--augmenter eda --help``
shows EDA's. A third-party kind needs no argparse code: ``--option key=value`` reaches any option it takes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from laclip_aug.augmenter import CaptionAugmenter, augmenter_class, augmenter_names, create_augmenter
from laclip_aug.errors import ConfigurationError


def add_augmenter_arguments(parser: argparse.ArgumentParser, argv: Sequence[str], default: str = "llm") -> None:
    """Add ``--augmenter``, ``--option`` and the options of the kind that ``argv`` names.

    Raises:
        UnknownNameError: ``argv`` names no registered kind; suggests the nearest.
    """
    group = parser.add_argument_group("augmenter")
    group.add_argument(
        "--augmenter",
        default=default,
        metavar="NAME",
        help=f"what makes the texts: {', '.join(augmenter_names())} (default: {default})",
    )
    group.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any option of the augmenter; VALUE is read as JSON where it can be, else as text",
    )
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--augmenter", nargs="?", default=default)
    name = first.parse_known_args(list(argv))[0].augmenter or default
    before = {action.dest for action in parser._actions}
    augmenter_class(name).add_arguments(parser)
    if not any(action.dest == "for_model" for action in parser._actions):
        group.add_argument(
            "--for-model",
            metavar="MODEL",
            help="the open_clip model that is to read the texts: none is longer than its context, in its own tokens; a "
            "name, a .json, hf-hub:REPO or local-dir:DIR, and :32 behind it for another length (default: CLIP's 77)",
        )
    if not any(action.dest == "gate" for action in parser._actions):
        group.add_argument(
            "--gate",
            dest="gate_behind",
            metavar="SPEC",
            help="what a text must reach, such as 'kept>=0.3'; the signals: laclip-aug cache filter --help",
        )
        before.add("gate_behind")
    parser.set_defaults(augmenter_defaults={a.dest: a.default for a in parser._actions if a.dest not in before})


def augmenter_from(args: argparse.Namespace) -> CaptionAugmenter:
    """The augmenter that parsed ``args`` describe; an option left at ``None`` keeps its default.

    Raises:
        ConfigurationError: an ``--option`` is no ``key=value``, or an option is given twice.
        UnknownNameError: the augmenter does not know an option.
    """
    defaults: dict[str, Any] = args.augmenter_defaults
    chosen = {dest: getattr(args, dest) for dest in defaults if getattr(args, dest) is not None}
    given = {dest for dest, value in chosen.items() if value != defaults[dest]}
    for item in args.option:
        key, equals, text = item.partition("=")
        key = key.strip().replace("-", "_")
        if not (equals and key):
            raise ConfigurationError(f"--option {item!r} is no key=value; write for example --option alpha_sr=0.2")
        if key in given:
            raise ConfigurationError(f"option {key!r} is given twice; keep one of them")
        given.add(key)
        try:
            chosen[key] = json.loads(text)
        except ValueError:
            chosen[key] = text
    augmenter = create_augmenter(args.augmenter, **chosen)
    if not (spec := getattr(args, "gate_behind", None)):
        return augmenter
    from laclip_aug.quality.gate import Gate
    from laclip_aug.quality.gated import GatedAugmenter

    return GatedAugmenter(augmenter, Gate(spec))

"""The ``--text-aug-*`` options: their parser, their validation, and the mistakes that they name.

Nothing here knows open_clip: the options are parsed first, and what is left over is the trainer's own command line.
"""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from shlex import quote
from typing import Any

from laclip_aug.errors import ConfigurationError, UnknownNameError
from laclip_aug.exchange.addresses import local_directory

MODES = ("none", "laclip", "laclip-mt", "eda", "back-translation")
ON_THE_FLY = ("eda",)
"""Modes that need no cache: quick enough to make the texts in a loader worker."""
LINKED = ("flip", "gray", "crop")
"""Changes of an image that its texts can follow."""
DEFAULT_POOL = 5
"""Texts that an on-the-fly mode draws from: the original and four others, as in the paper's comparison."""


@dataclass(frozen=True)
class TextAugOptions:
    """What text a model trains on, and with which loss; one field per ``--text-aug-*`` option.

    Raises:
        ConfigurationError: a value is out of range, or two options contradict each other.
    """

    mode: str = "none"
    cache: str | None = None
    strategies: tuple[str, ...] | None = None
    original_prob: float | None = None
    num_texts: int | None = None
    seed: int = 0
    on_miss: str = "error"
    max_miss: float = 0.0
    augmenter_options: dict[str, Any] = field(default_factory=dict)
    mt_reduction: str = "mean"
    mt_text_side: str = "all"
    mt_negatives: str = "index"
    mt_mask_duplicates: bool = False
    trim: str = "auto"
    linked: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _one_of("--text-aug", self.mode, MODES)
        _one_of("--text-aug-on-miss", self.on_miss, ("error", "original"))
        _one_of("--text-aug-mt-reduction", self.mt_reduction, ("mean", "paper"))
        _one_of("--text-aug-mt-text-side", self.mt_text_side, ("all", "sampled"))
        _one_of("--text-aug-mt-negatives", self.mt_negatives, ("index", "all"))
        _one_of("--text-aug-trim", self.trim, ("auto", "on", "off"))
        given = {
            "--text-aug-cache": self.cache is not None,
            "--text-aug-strategies": self.strategies is not None,
            "--text-aug-original-prob": self.original_prob is not None,
            "--text-aug-num-texts": self.num_texts is not None,
            "--text-aug-seed": self.seed != 0,
            "--text-aug-option": bool(self.augmenter_options),
            "--text-aug-on-miss": self.on_miss != "error",
            "--text-aug-max-miss": self.max_miss != 0,
            "--text-aug-mt-reduction": self.mt_reduction != "mean",
            "--text-aug-mt-text-side": self.mt_text_side != "all",
            "--text-aug-mt-negatives": self.mt_negatives != "index",
            "--text-aug-mt-mask-duplicates": self.mt_mask_duplicates,
        }
        for name in self.linked:
            _one_of("--text-aug-linked", name, LINKED)
        on_the_fly = self.mode in ON_THE_FLY and self.cache is None
        if self.mode == "none":
            given["--text-aug-seed"] &= not self.linked
            _refuse(given, "have no effect with --text-aug none; name a mode, such as --text-aug laclip", "--text-aug-")
        elif self.cache is None and not on_the_fly:
            raise ConfigurationError(
                f"--text-aug {self.mode} reads its texts from a cache; build one with: laclip-aug build CAPTIONS "
                f"--cache DIR, then add --text-aug-cache DIR"
            )
        if self.mode != "laclip-mt":
            _refuse(given, "need --text-aug laclip-mt", "--text-aug-mt-")
            if not on_the_fly:
                _refuse(given, "needs --text-aug laclip-mt, or eda without a cache", "--text-aug-num-texts")
        else:
            _refuse(given, "needs --text-aug laclip; laclip-mt always has the original", "--text-aug-original-prob")
        if on_the_fly:
            _refuse(given, f"need a cache; --text-aug {self.mode} makes its texts itself", "--text-aug-strategies")
            _refuse(given, f"need a cache; --text-aug {self.mode} misses nothing", "--text-aug-on-miss")
            _refuse(given, f"need a cache; --text-aug {self.mode} misses nothing", "--text-aug-max-miss")
        else:
            _refuse(given, "needs --text-aug eda without a cache, which makes its texts itself", "--text-aug-option")
        if self.original_prob is not None and not 0 <= self.original_prob <= 1:
            raise ConfigurationError(f"--text-aug-original-prob {self.original_prob} is not between 0 and 1")
        if not 0 <= self.max_miss <= 1:
            raise ConfigurationError(f"--text-aug-max-miss {100 * self.max_miss:g}% is not between 0% and 100%")
        if self.on_miss != "error":
            _refuse(given, "has no effect with --text-aug-on-miss original, which lets any miss", "--text-aug-max-miss")
        if self.num_texts is not None and self.num_texts < 1:
            raise ConfigurationError(f"--text-aug-num-texts {self.num_texts} is below 1; 1 is the original alone")
        if self.strategies is not None and (not self.strategies or len(set(self.strategies)) < len(self.strategies)):
            raise ConfigurationError("--text-aug-strategies must name at least one strategy, each of them once")
        if self.cache is not None and not local_directory(self.cache).is_dir():
            raise ConfigurationError(
                f"--text-aug-cache {self.cache}: no such directory; build it with: laclip-aug build CAPTIONS "
                f"--cache {quote(self.cache)}"
            )

    def as_namespace(self) -> dict[str, Any]:
        """The values under the names that the command line gives them, for the trainer's log of its parameters."""
        values = asdict(self)
        values["option"] = values.pop("augmenter_options")
        mode = values.pop("mode")
        return {"text_aug": mode} | {f"text_aug_{name}": value for name, value in values.items()}


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
        "--text-aug-cache", action="append", default=[], metavar="DIR", help="the cache that laclip-aug build made"
    )
    group.add_argument(
        "--text-aug-strategies",
        metavar="A,B",
        type=lambda text: tuple(part.strip() for part in text.split(",") if part.strip()),
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
        type=_share,
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
        help="a parameter of the augmenter, where --text-aug makes its texts itself",
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
        type=lambda text: tuple(part.strip() for part in text.split(",") if part.strip()),
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
    if len(caches) > 1:
        raise ConfigurationError(
            f"--text-aug-cache was given {len(caches)} times ({', '.join(caches)}), and training reads one cache; give "
            "one, or put the texts of all into one with laclip-aug cache export and cache import"
        )
    values["cache"] = caches[0] if caches else None
    augmenter_options = dict(_key_value(item) for item in values.pop("option"))
    return TextAugOptions(mode=namespace.text_aug, augmenter_options=augmenter_options, **values)


def _key_value(item: str) -> tuple[str, Any]:
    key, equals, text = item.partition("=")
    if not (equals and key.strip()):
        raise ConfigurationError(f"--text-aug-option {item!r} is no KEY=VALUE; write for example rate=0.2")
    try:
        return key.strip().replace("-", "_"), json.loads(text)
    except ValueError:
        return key.strip().replace("-", "_"), text


def _share(text: str) -> float:
    """``"0.1%"`` or ``"0.001"`` as a number."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; write for example 0.1% or 0.001") from None


def _one_of(option: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UnknownNameError(f"value of {option}:", value, choices)


def _refuse(given: dict[str, bool], why: str, prefix: str) -> None:
    wrong = [option for option, is_given in given.items() if is_given and option.startswith(prefix)]
    if wrong:
        raise ConfigurationError(f"{', '.join(wrong)}: {why}")

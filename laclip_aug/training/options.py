"""What the ``--text-aug-*`` options say, and the contradictions between them that are refused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from laclip_aug.errors import ConfigurationError, UnknownNameError
from laclip_aug.exchange.addresses import local_directory
from laclip_aug.training.values import counted

MODES = ("none", "laclip", "laclip-mt", "eda", "back-translation")
ON_THE_FLY = ("eda",)
"""Modes that need no cache: quick enough to make the texts in a loader worker."""
TOO_SLOW = ("llm", "back-translation", "cached")
"""Augmenters whose texts are made beforehand, into a cache."""
LINKED = ("flip", "gray", "crop")
"""Changes of an image that its texts can follow."""
DEFAULT_POOL = 5
"""Texts that an on-the-fly mode draws from: the original and four others, as in the paper's comparison."""


@dataclass(frozen=True)
class TextAugOptions:
    """What text a model trains on, and with which loss; one field per ``--text-aug-*`` option.

    ``cache`` may be several directories. ``augmenters`` are those of ``--text-aug-with``, such as ``"sentences:4"``;
    ``augmenter_options`` are theirs, by ``"NAME.KEY"``, or ``"KEY"`` where there is one augmenter.

    Raises:
        ConfigurationError: a value is out of range, or two options contradict each other.
    """

    mode: str = "none"
    cache: str | Path | Sequence[str | Path] | None = None
    augmenters: tuple[str, ...] = ()
    strategies: tuple[str, ...] | None = None
    original_prob: float | None = None
    weights: Mapping[str, float] | None = None
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
            "--text-aug-cache": bool(self.caches),
            "--text-aug-with": bool(self.augmenters),
            "--text-aug-strategies": self.strategies is not None,
            "--text-aug-original-prob": self.original_prob is not None,
            "--text-aug-weights": self.weights is not None,
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
        on_the_fly = self.mode in ON_THE_FLY and not self.caches
        if self.mode == "none":
            given["--text-aug-seed"] &= not self.linked
            _refuse(given, "have no effect with --text-aug none; name a mode, such as --text-aug laclip", "--text-aug-")
        elif not (self.caches or self.augmenters or on_the_fly):
            other = ", or have texts made while loading: --text-aug-with eda" if "laclip" in self.mode else ""
            raise ConfigurationError(
                f"--text-aug {self.mode} reads its texts from a cache; build one with: laclip-aug build CAPTIONS "
                f"--cache DIR, then add --text-aug-cache DIR{other}"
            )
        if "laclip" not in self.mode:
            _refuse(given, "needs --text-aug laclip or laclip-mt", "--text-aug-with")
        if self.mode != "laclip-mt":
            _refuse(given, "need --text-aug laclip-mt", "--text-aug-mt-")
            if not on_the_fly:
                _refuse(given, "needs --text-aug laclip-mt, or eda without a cache", "--text-aug-num-texts")
        else:
            _refuse(given, "needs --text-aug laclip; laclip-mt always has the original", "--text-aug-original-prob")
        if not self.caches:
            _refuse(given, "need a cache; here texts are made while loading", "--text-aug-strategies")
            _refuse(given, "need a cache; what is made while loading misses nothing", "--text-aug-on-miss")
            _refuse(given, "need a cache; what is made while loading misses nothing", "--text-aug-max-miss")
        if not (on_the_fly or self.augmenters):
            _refuse(given, "needs --text-aug-with, or eda without a cache: texts that are made", "--text-aug-option")
        if self.weights is not None:
            _refuse(given, "is the weight original= in --text-aug-weights; leave it out", "--text-aug-original-prob")
            if any(not 0 <= weight < math.inf for weight in self.weights.values()):
                raise ConfigurationError("--text-aug-weights must be numbers from 0")
            if self.mode == "laclip-mt" and self.weights.get("original") == 0:
                raise ConfigurationError("--text-aug-weights original=0: laclip-mt always has the original")
        _once("--text-aug-with", [counted(item)[0] for item in self.augmenters])
        _once("--text-aug-linked", self.linked)
        for name in self.made:
            if name in TOO_SLOW:
                raise ConfigurationError(
                    f"--text-aug-with {name} is too slow to make texts while loading; make them with laclip-aug build, "
                    "and read them with --text-aug-cache DIR"
                )
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
        for cache in self.caches:
            if not cache:
                raise ConfigurationError("--text-aug-cache names nothing; give the directory of a cache")
            if not local_directory(cache).is_dir():
                raise ConfigurationError(
                    f"--text-aug-cache {cache}: no such directory; build it with: laclip-aug build CAPTIONS "
                    f"--cache {quote(cache)}"
                )

    @property
    def caches(self) -> tuple[str, ...]:
        """The directories of ``cache``, in their order."""
        given = [] if self.cache is None else [self.cache] if isinstance(self.cache, str | Path) else self.cache
        return tuple(map(str, given))

    @property
    def made(self) -> dict[str, int]:
        """The augmenters that work while loading, with the number of texts that each makes of a caption."""
        if self.mode in ON_THE_FLY and not self.caches:
            return {self.mode: (DEFAULT_POOL if self.num_texts is None else self.num_texts) - 1}
        return dict(counted(item) for item in self.augmenters)

    def options_of(self, augmenter: str) -> dict[str, Any]:
        """The parameters of an augmenter that works while loading.

        Raises:
            UnknownNameError: a parameter is of none of them.
        """
        found = {}
        for key, value in self.augmenter_options.items():
            name, dot, parameter = key.rpartition(".")
            if not dot and len(self.made) > 1:
                raise ConfigurationError(
                    f"--text-aug-option {key}: there are several augmenters; write {augmenter}.{key}={value}"
                )
            if dot and name not in self.made:
                raise UnknownNameError("augmenter of --text-aug-option", name, tuple(self.made))
            if not dot or name == augmenter:
                found[parameter] = value
        return found

    def as_namespace(self) -> dict[str, Any]:
        """The values under the names that the command line gives them, for the trainer's log of its parameters."""
        values = asdict(self)
        values["option"], values["with"] = values.pop("augmenter_options"), values.pop("augmenters")
        mode = values.pop("mode")
        return {"text_aug": mode} | {f"text_aug_{name}": value for name, value in values.items()}


def _one_of(option: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UnknownNameError(f"value of {option}:", value, choices)


def _once(option: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"{option} names {name} twice; name it once")


def _refuse(given: dict[str, bool], why: str, prefix: str) -> None:
    wrong = [option for option, is_given in given.items() if is_given and option.startswith(prefix)]
    if wrong:
        raise ConfigurationError(f"{', '.join(wrong)}: {why}")

"""The contract of a caption augmenter, and the registry of names.

An augmenter turns captions into further texts that could caption the same image. Everything else in this
package (the cache builder, the training hook, the command line) knows this contract only, never one kind of it.

To add a kind, subclass :class:`CaptionAugmenter` and register it as an entry point of your package::

    [project.entry-points."laclip_aug.augmenters"]
    shout = "my_package:ShoutAugmenter"

``create_augmenter("shout")`` then works, and ``laclip-aug build --augmenter shout`` too. The kinds that ship with
this package are registered the same way.
"""

from __future__ import annotations

import argparse
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from itertools import islice
from typing import Any, NamedTuple

from laclip_aug.errors import ConfigurationError, UnknownNameError

ENTRY_POINT_GROUP = "laclip_aug.augmenters"


class Told(NamedTuple):
    """What its writer told of a text, so that gates can ask for it when the writer has gone; ``None`` is not known.

    ``likelihood`` is the mean log-probability of the text's tokens under the model that wrote it, in nats; ``verdict``
    is how likely that model finds the text true, 0 to 1.
    """

    likelihood: float | None = None
    verdict: float | None = None

    @classmethod
    def of(cls, likelihood: float | None, verdict: float | None) -> Told | None:
        """Both, or ``None`` where neither is known."""
        return None if likelihood is None and verdict is None else cls(likelihood, verdict)


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A text that was accepted. ``source`` says what made it: a strategy such as ``"chatgpt"``, or ``"eda"``.

    ``told`` is no part of what the text is: rewrites are equal if source and text are.
    """

    source: str
    text: str
    told: Told | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A text that was not accepted, with the name of the reason.

    If a gate refused it (``laclip_aug.quality.gate``), the reason is the signal's name, ``value`` is what the signal
    said, and ``place`` is where the text belongs among the caption's texts, so that another gate can bring it back.
    ``told`` is as in :class:`Rewrite`.
    """

    source: str
    reason: str
    text: str = ""
    value: float | None = None
    place: int | None = None
    told: Told | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that became of one caption.

    ``rewrites`` are in the order of the augmenter's ``sources``; ``rejections`` counts every refused attempt,
    those that a later attempt made good included; ``tokens`` is the number of tokens generated (0 without a model).

    ``failed``, if not empty, names why there is no result: the server refused, the engine died. It says nothing about
    the caption. A build counts and reports it, stores nothing, and its next run asks for the caption again.

    ``image``, if not empty, is the key of the caption's image: the texts are that image's alone, and other images with
    the same caption have others. A cache of such records is keyed by images.
    """

    caption: str
    rewrites: tuple[Rewrite, ...]
    rejections: tuple[Rejection, ...] = ()
    tokens: int = 0
    failed: str = ""
    image: str = ""


class CaptionAugmenter(ABC):
    """One interface over LLM rewriting, word-level augmentation, back-translation and a ready cache.

    ``name`` is the registered name. ``sources`` names the kinds of text made for each caption, in the order in which
    ``augment`` cycles through them: four strategies for the LLM, one entry for EDA.
    """

    name: str
    sources: tuple[str, ...]

    @abstractmethod
    def augment(self, captions: Sequence[str], n: int, seed: int) -> list[list[str]]:
        """``n`` texts for each caption, in the order of ``captions``.

        Args:
            captions: any texts; one may occur more than once.
            n: texts per caption, at least 0. Text ``j`` is made by ``sources[j % len(sources)]``.
            seed: texts are a function of (seed, caption) alone, not of the other captions nor of their order.

        Returns:
            ``len(captions)`` lists of exactly ``n`` texts. Where no text could be made, the caption itself stands in,
            as the paper's loader does; ``outcomes`` tells which.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """A string that differs whenever what the texts say could: model, prompts, sampling, checks.

        A cache keeps to one. What merely ran the model (an address, an engine's version, the number of attempts) is no
        part of it; it belongs in :meth:`provenance`.
        """

    def describe(self) -> dict[str, Any]:
        """All that a cache's manifest records about the kind of its texts; JSON types only."""
        return {"augmenter": self.name, "sources": list(self.sources)}

    def provenance(self) -> dict[str, Any]:
        """What each shard records of the run that made it: server address, engine version, attempts; JSON types only.

        Two runs that differ in this alone go on with the same cache. The package's own version is added by the cache.
        """
        return {}

    def outcomes(self, captions: Iterable[str], n: int, seed: int) -> Iterator[Outcome]:
        """One :class:`Outcome` per caption, in any order, read lazily from ``captions``.

        This form serves ``augment`` in slices of 256; augmenters that know why a text was rejected override it.
        A text equal to its caption is an ``unchanged`` rejection.
        """
        source = iter(captions)
        while chunk := list(islice(source, 256)):
            for caption, texts in zip(chunk, self.augment(chunk, n, seed), strict=True):
                made = [Rewrite(self.sources[j % len(self.sources)], text) for j, text in enumerate(texts)]
                yield Outcome(
                    caption,
                    rewrites=tuple(r for r in made if r.text != caption),
                    rejections=tuple(Rejection(r.source, "unchanged", r.text) for r in made if r.text == caption),
                )

    @classmethod
    def from_options(cls, **options: Any) -> CaptionAugmenter:
        """An augmenter from options by their names: what ``create_augmenter`` and the command line call.

        The default gives them to the constructor. A kind that groups its parameters overrides it.

        Raises:
            UnknownNameError: an option is none of the constructor's parameters; suggests the nearest.
            ConfigurationError: an option without a default is not given.
        """
        parameters = inspect.signature(cls).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            for option in options:
                if option not in parameters:
                    raise UnknownNameError(f"option of augmenter {cls.name!r}", option, parameters)
        catching = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        needed = [name for name, p in parameters.items() if p.default is p.empty and p.kind not in catching]
        for name in needed:
            if name not in options:
                raise ConfigurationError(
                    f"the augmenter {cls.name!r} needs the option {name!r}; give it by that name, on a command line as "
                    f"--option {name}=VALUE"
                )
        return cls(**options)

    @classmethod  # noqa: B027 (to be overridden, or not)
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add this kind's command-line options. Each ``dest`` must be an option that :meth:`from_options` takes."""

    def close(self) -> None:  # noqa: B027 (to be overridden, or not)
        """Free what the augmenter holds (a model, a file). The default holds nothing."""


def texts_of(outcomes: Iterable[Outcome], captions: Sequence[str], n: int, sources: Sequence[str]) -> list[list[str]]:
    """``augment``'s answer from ``outcomes``: in the order of ``captions``, missing places filled with the caption.

    Text ``j`` of a caption is the next unused rewrite of ``sources[j % len(sources)]``.
    """
    by_caption = {outcome.caption: outcome for outcome in outcomes}
    answer = []
    for caption in captions:
        pools = {source: [r.text for r in by_caption[caption].rewrites if r.source == source] for source in sources}
        iterators = {source: iter(pool) for source, pool in pools.items()}
        answer.append([next(iterators[sources[j % len(sources)]], caption) for j in range(n)])
    return answer


def augmenter_names() -> list[str]:
    """The registered names, sorted."""
    return sorted({entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)})


def augmenter_class(name: str) -> type[CaptionAugmenter]:
    """The class registered under ``name``; loads its module.

    Raises:
        UnknownNameError: nothing is registered under ``name``; suggests the nearest.
        ConfigurationError: two packages register it, or what they register is no ``CaptionAugmenter``.
    """
    found = {entry.value: entry for entry in entry_points(group=ENTRY_POINT_GROUP) if entry.name == name}
    if not found:
        raise UnknownNameError("augmenter", name, augmenter_names())
    if len(found) > 1:
        raise ConfigurationError(
            f"augmenter {name!r} is registered more than once ({', '.join(sorted(found))}); uninstall one package"
        )
    loaded = next(iter(found.values())).load()
    if not (isinstance(loaded, type) and issubclass(loaded, CaptionAugmenter)):
        raise ConfigurationError(f"augmenter {name!r} names {loaded!r}, which is no CaptionAugmenter; fix its package")
    return loaded


def create_augmenter(name: str, **options: Any) -> CaptionAugmenter:
    """The augmenter registered under ``name``, made with ``options``.

    Raises:
        UnknownNameError: ``name`` is not registered, or it does not know an option; suggests the nearest.
        ConfigurationError: the kind needs an option that is not given.
        MissingExtraError: the kind needs an optional dependency.
    """
    return augmenter_class(name).from_options(**options)

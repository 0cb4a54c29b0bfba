"""Signals: numbers that tell whether a text is true to its caption, each under a name.

A signal is a function ``(caption, text) -> float``, or a subclass of :class:`Signal` where many pairs at once are
cheaper or a model is needed. Either is registered as an entry point; those that ship with this package are, too::

    [project.entry-points."laclip_aug.signals"]
    shared-letters = "my_package:shared_letters"

``shared-letters>=0.5`` is then a condition that a gate knows (:mod:`laclip_aug.quality.gate`). The first line of the
docstring is what ``cache filter --signals`` prints as the meaning.
"""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar

from laclip_aug.augmenter import Told
from laclip_aug.errors import ConfigurationError, UnknownNameError
from laclip_aug.quality.cleaning import as_clip_reads

ENTRY_POINT_GROUP = "laclip_aug.signals"

UNKNOWN = float("nan")
"""What a signal answers where it cannot be measured, such as a likelihood that nobody kept."""

_AT_ONCE = 2048  # whole batches of the encoder and of entailment, whose padding changes the last digits
_read = lru_cache(maxsize=1 << 12)(as_clip_reads)  # a caption stands beside each of its texts
_REFERENCE = re.compile(r"([a-z][a-z0-9-]*)(?:\((.+)\))?")


@dataclass(frozen=True, slots=True)
class TextPair:
    """A text that may stand for a caption, with what else is known of the two.

    ``log_likelihood`` is the mean log-probability of the text's tokens, in nats, under the model that wrote it.
    ``image`` reads the encoded file of the caption's image. ``verdict`` is how likely that model finds the text true,
    ``sound`` what the signal of that name said of a text of which the other two were not kept.
    """

    caption: str
    text: str
    log_likelihood: float | None = None
    image: Callable[[], bytes] | None = None
    verdict: float | None = None
    sound: float | None = None

    @classmethod
    def recalled(
        cls,
        caption: str,
        text: str,
        reason: str = "",
        value: float | None = None,
        image: Callable[[], bytes] | None = None,
        told: Told | None = None,
    ) -> TextPair:
        """A pair with what its writer ``told`` of it, both texts as CLIP reads them.

        The writer reads the caption so too: a gate says the same of a text as it is made and of one in a cache, where
        captions stand as they came. Early caches did not keep what was told: what the writer alone knew is known there
        where it was the ``reason`` for a refusal, of that ``value``.
        """
        kept = told or Told()
        likelihood, verdict, sound = (value if reason == name else None for name in ("likelihood", "verdict", "sound"))
        return cls(
            _read(caption),
            as_clip_reads(text),
            likelihood if kept.likelihood is None else kept.likelihood,
            image,
            verdict if kept.verdict is None else kept.verdict,
            sound,
        )


class Signal(ABC):
    """One number for each pair; higher is better, or as its first line says.

    ``needs`` tells what it looks at besides the pair: ``""``, ``"texts"`` (the other pairs of the call, such as all of
    a shard) or ``"images"``.
    """

    needs: ClassVar[str] = ""

    def load(self) -> None:  # noqa: B027 (to be overridden, or not)
        """Load now what measuring would load; nobody loads a large model to be told that it has no images."""

    def learn(self, captions: Iterable[str]) -> None:  # noqa: B027 (to be overridden, or not)
        """Look at all captions of a corpus, once and before anything is measured."""

    def describe(self) -> str:
        """What but the name and this package's vocabulary decides the numbers, such as a hash of fitted weights."""
        return ""

    @abstractmethod
    def measure(self, pairs: Sequence[TextPair]) -> list[float]:
        """The numbers of ``pairs``, some thousand unless it needs ``"texts"``; ``UNKNOWN`` where there is none."""

    def in_parts(self, pairs: Sequence[TextPair]) -> Iterator[list[float]]:
        """The same of any number of ``pairs``, part after part; all at once if it needs ``"texts"``."""
        size = max(1, len(pairs)) if self.needs == "texts" else _AT_ONCE
        for start in range(0, len(pairs), size):
            yield self.measure(pairs[start : start + size])


class _Function(Signal):
    """A plain function as a signal."""

    def __init__(self, function: Callable[[str, str], float]) -> None:
        self._function = function

    def measure(self, pairs: Sequence[TextPair]) -> list[float]:
        return [float(self._function(pair.caption, pair.text)) for pair in pairs]


def signal_names() -> list[str]:
    """The registered names, sorted."""
    return sorted(_registered())


def meaning_of(name: str) -> str:
    """What a registered signal says, in one line."""
    return (inspect.getdoc(_registered()[name].load()) or "").split("\n")[0]


def split_reference(reference: str) -> tuple[str, str]:
    """``"clip(ViT-B-32)"`` is ``("clip", "ViT-B-32")``, ``"words"`` is ``("words", "")``.

    Raises:
        ConfigurationError: it is neither.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ConfigurationError(f"{reference!r} names no signal; write NAME or NAME(MODEL), such as words")
    return match[1], match[2] or ""


def create_signal(reference: str) -> Signal:
    """The signal that ``reference`` names, with the model in parentheses if it has one.

    Raises:
        UnknownNameError: nothing is registered under the name; suggests the nearest.
        ConfigurationError: a model is given to a signal that takes none, or the entry point is no signal.
        MissingExtraError: the signal needs an optional dependency.
    """
    name, model = split_reference(reference)
    known = _registered()
    if name not in known:
        raise UnknownNameError("signal", name, known)
    loaded = known[name].load()
    is_class = isinstance(loaded, type) and issubclass(loaded, Signal)
    if not is_class and not inspect.isfunction(loaded):
        raise ConfigurationError(f"signal {name!r} names {loaded!r}, neither a function nor a Signal; fix its package")
    if model and not (is_class and inspect.signature(loaded).parameters):
        raise ConfigurationError(f"signal {name!r} takes no model; write {name} without ({model})")
    if not is_class:
        return _Function(loaded)
    found: Signal = loaded(model) if model else loaded()
    return found


def _registered() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise ConfigurationError(
                f"signal {entry.name!r} is registered twice ({other.value}, {entry.value}); uninstall one package"
            )
    return found

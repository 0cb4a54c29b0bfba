"""Gates: which texts may stand for their captions, as conditions on signals.

``"words>=0.2 tfidf>=0.4"`` keeps a text if its ``words`` is at least 0.2 and its ``tfidf`` at least 0.4. Conditions are
asked in their order: the first that a text fails is the reason for its refusal, and what comes after is not
measured for it, so cheap signals belong before costly ones. A model goes in parentheses, as in
``clip(ViT-B-32:openai)>=0.2``. A number that is not known (a likelihood that nobody kept, an image that is not at hand)
refuses nothing, so that a signal of the writer's own numbers wants one beside it that is always known. What a writer
tells of its texts goes with them into the cache, of the accepted and of those that a gate refused, and any later gate
may ask for it. Of texts of caches from before that, only the number that a text was refused for is known.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from laclip_aug.errors import ConfigurationError
from laclip_aug.quality.signals import Signal, TextPair, create_signal, split_reference
from laclip_aug.quality.stems import content_hash

_CONDITION = re.compile(
    r"\s*,?\s*([^\s(<>=,]+(?:\([^()]*\))?)\s*(>=|<=)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)(?![\w.])"
)
RELATED = "kept>=0.3 tfidf>=0.2"
"""Keeps a text that is about what its caption is about, and refuses one of another caption; for writers that can be
trusted with the rest. Figures: ``benchmarks/results/quality.md``."""

Noted = Callable[[float], None]
"""Told of each part of a work that is done, as a share of the whole."""

_DIGITS = 4  # values are compared and kept as they are shown, so that a later gate decides alike


@dataclass(frozen=True, slots=True)
class Condition:
    """A bound on a signal: ``at_least`` for ``>=``, else ``<=``."""

    reference: str
    at_least: bool
    bound: float

    @property
    def name(self) -> str:
        """The signal's name, without a model."""
        return split_reference(self.reference)[0]

    def holds(self, value: float) -> bool:
        """Whether ``value`` is on the right side; an unknown one is."""
        return math.isnan(value) or (value >= self.bound if self.at_least else value <= self.bound)

    @property
    def side(self) -> str:
        """The condition without its bound, ``"words>="``."""
        return f"{self.reference}{'>=' if self.at_least else '<='}"

    def __str__(self) -> str:
        return f"{self.side}{self.bound:g}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a gate refused a text: the name of the signal, and its value."""

    signal: str
    value: float


class Gate:
    """The conditions of ``spec``; an empty one lets everything pass.

    ``unknown`` counts, by signal, the numbers that were asked for and are not known.

    Raises:
        ConfigurationError: ``spec`` is no list of conditions.
        UnknownNameError: it names a signal that is not registered; suggests the nearest.
    """

    def __init__(self, spec: str) -> None:
        self.conditions = conditions_of(spec)
        self.unknown: Counter[str] = Counter()
        self._signals = {c.reference: create_signal(c.reference) for c in self.conditions}

    def __str__(self) -> str:
        return " ".join(map(str, self.conditions))

    def describe(self) -> dict[str, Any]:
        """What can change its decisions, for a manifest: the conditions, hashes of the vocabulary and of weights."""
        fitted = {name: told for name, signal in self._signals.items() if (told := signal.describe())}
        weights = {"weights": fitted} if fitted else {}
        return {"spec": str(self), "vocabulary": content_hash(), **weights} if self else {"spec": "none"}

    def __bool__(self) -> bool:
        return bool(self.conditions)

    def without_corpus(self) -> Gate:
        """This gate, if it can judge a text as soon as it is made.

        Raises:
            ConfigurationError: a signal needs other texts or images.
        """
        for condition in self.conditions:
            if needs := self._signals[condition.reference].needs:
                raise ConfigurationError(
                    f"{condition.name} needs {needs}, which are not at hand while texts are made; "
                    "laclip-aug cache filter has them"
                )
        return self

    @property
    def signals(self) -> dict[str, Signal]:
        """Reference → signal, in the order of the conditions."""
        return dict(self._signals)

    def load(self) -> None:
        """Load what the signals measure with, so that what is wrong with it is said before there is other work."""
        for signal in self._signals.values():
            signal.load()

    def learn(self, captions: Iterable[str]) -> None:
        """Let the signals look at a corpus's captions, read once for each that would."""
        for signal in self._signals.values():
            if type(signal).learn is not Signal.learn:
                signal.learn(captions)

    def judge(self, pairs: Sequence[TextPair], noted: Noted = lambda part: None) -> list[Refusal | None]:
        """For each pair the first condition that it fails, or None; ``noted`` is told of each part of the work done."""
        refusals: list[Refusal | None] = [None] * len(pairs)
        left, steps = list(range(len(pairs))), len(self.conditions)
        if not steps:
            noted(1.0)
        for condition in self.conditions:
            signal = self._signals[condition.reference]
            values = measured(signal, [pairs[i] for i in left], lambda part: noted(part / steps))
            self.unknown[condition.name] += sum(map(math.isnan, values))
            passed = []
            for i, value in zip(left, values, strict=True):
                if condition.holds(value):
                    passed.append(i)
                else:
                    refusals[i] = Refusal(condition.name, value)
            left = passed
        return refusals


def measured(signal: Signal, pairs: Sequence[TextPair], noted: Noted = lambda part: None) -> list[float]:
    """The numbers of ``pairs``, rounded as a gate compares them; ``noted`` is told of each part, of 1, that is done.

    Part after part: a shard has hundreds of thousands of texts, and a model takes minutes for them.
    """
    if not pairs:
        noted(1.0)
    found: list[float] = []
    for values in signal.in_parts(pairs):
        found += [round(value, _DIGITS) for value in values]
        noted(len(values) / len(pairs))
    return found


def conditions_of(spec: str) -> tuple[Condition, ...]:
    """The conditions in ``spec``, separated by blanks or commas; of ``none`` there are none.

    Raises:
        ConfigurationError: what is there is no condition.
    """
    found, at = [], 0
    text = "" if spec.strip() == "none" else spec.strip()
    while at < len(text):
        match = _CONDITION.match(text, at)
        if match is None:
            raise ConfigurationError(
                f"{text[at:].strip()!r} in the gate {spec!r} is no condition; write SIGNAL>=NUMBER or "
                'SIGNAL<=NUMBER, such as "words>=0.2 tfidf>=0.4"'
            )
        found.append(Condition(match[1], match[2] == ">=", float(match[3])))
        at = match.end()
    return tuple(found)

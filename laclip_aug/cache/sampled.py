"""The texts of a report's sample, with what is known of each; and those of them that people are shown."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from laclip_aug.augmenter import Outcome, Told
from laclip_aug.cache.format import INPUT_SOURCE
from laclip_aug.quality.signals import TextPair
from laclip_aug.quality.wording import score

_SHOWN, _EXAMPLES = 10, 3
_CHARACTERS = 600


@dataclass
class Text:
    """A text of the sample, with what is known of it; ``reason`` is empty if it was accepted.

    ``recorded`` is the value for which a gate refused it.
    """

    caption: str
    source: str
    text: str
    reason: str = ""
    recorded: float | None = None
    told: Told | None = None
    values: dict[str, float] = field(default_factory=dict)

    @property
    def pair(self) -> TextPair:
        """As signals take it."""
        return TextPair.recalled(self.caption, self.text, self.reason, self.recorded, told=self.told)

    @property
    def score(self) -> float:
        """How faithful and how new it is, in one: what a build chooses by."""
        return score(self.caption, self.text)


def accepted_texts(records: Iterable[Outcome]) -> list[Text]:
    """The rewrites of ``records``."""
    return [Text(r.caption, t.source, t.text, told=t.told) for r in records for t in r.rewrites]


def refused_texts(records: Sequence[Outcome], names: set[str]) -> list[Text]:
    """The texts that a gate refused: they have a place, or one of its conditions, ``names``, as their reason."""
    return [
        Text(record.caption, r.source, r.text, r.reason, r.value, r.told)
        for record in records
        for r in record.rejections
        if r.text and r.source != INPUT_SOURCE and (r.place is not None or r.reason in names)
    ]


def samples_of(accepted: Sequence[Text], seed: int) -> dict[str, list[dict[str, Any]]]:
    """Texts of different captions: with the best score, least likely true, and at random."""
    mixed = list(accepted)
    random.Random(seed).shuffle(mixed)
    return {
        "best": _first(mixed, lambda text: -text.score),
        "worst": _first(mixed, lambda text: text.values["truth"]),
        "random": _first(mixed, lambda text: 0.0),
    }


def _first(texts: Sequence[Text], order: Callable[[Text], float]) -> list[dict[str, Any]]:
    found: dict[str, Text] = {}
    for text in sorted(texts, key=order):
        found.setdefault(text.caption, text)
        if len(found) == _SHOWN:
            break
    return [shown(text) for text in found.values()]


def examples_of(records: Sequence[Outcome], reasons: Iterable[str]) -> dict[str, list[Text]]:
    """Refused texts of a few captions for each of ``reasons``, which are all there are; in their order."""
    found: dict[str, dict[str, Text]] = {reason: {} for reason in reasons}
    for record in records:
        for r in record.rejections:
            if r.source != INPUT_SOURCE and r.text and len(found[r.reason]) < _EXAMPLES:
                text = Text(record.caption, r.source, r.text, r.reason, r.value, r.told)
                found[r.reason].setdefault(record.caption, text)
    return {reason: list(own.values()) for reason, own in found.items() if own}


def shown(text: Text) -> dict[str, Any]:
    """A text as JSON types, its signals to three decimals; one that is unknown is None."""
    values = {name: None if math.isnan(value) else round(value, 3) for name, value in text.values.items()}
    return {"caption": _cut(text.caption), "source": text.source, "text": _cut(text.text), "signals": values}


def _cut(text: str) -> str:
    return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 1] + "…"

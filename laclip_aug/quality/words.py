"""Signals that compare the two texts word by word; no model, tens of thousands of pairs a second."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

from laclip_aug.quality.signals import UNKNOWN, Signal, TextPair
from laclip_aug.quality.stems import Vocabulary, counted, shipped, stems_of, words_of

PERSONS = frozenset({"man", "woman", "boy", "girl"})


def words(caption: str, text: str) -> float:
    """How much of the caption's content is in the text, and nothing else; 1 is all, -1.3 and less nothing.

    ``words = kept - 1.3 invented - 0.4 stranger - 0.5 repeated``. ``kept`` is the share of the caption's content stems
    that the text has, ``invented`` the share of the text's that the caption does not have, both weighted by rarity.
    ``stranger`` is 1 if the text names a man, woman, boy or girl and the caption does not, ``repeated`` is 1 if the
    text says a content word more often than the caption and more than once.

    >>> words("two dogs run on grass", "on the grass, two dogs are running")
    1.0
    """
    before, after = _counts(caption), _counts(text)
    share, invented = shares(caption, text)
    found = share - 1.3 * invented
    if any(stem in PERSONS and stem not in before for stem in after):
        found -= 0.4
    if any(count > 1 and count > before.get(stem, 0) for stem, count in after.items()):
        found -= 0.5
    return found


def shares(caption: str, text: str) -> tuple[float, float]:
    """Kept and invented, as in :func:`words`: each from 0 to 1."""
    before, after = _rarities(caption), _rarities(text)
    shared = sum([weight for stem, weight in after.items() if stem in before])
    source, made = sum(before.values()), sum(after.values())
    return (shared / source if source else 1.0), (1 - shared / made if made else 1.0)


def kept(caption: str, text: str) -> float:
    """Share of the caption's content words that the text has, weighted by rarity, 0 to 1; new words cost nothing.

    >>> kept("two dogs run", "a brown dog and another one, running on a beach") > 0.5
    True
    """
    return shares(caption, text)[0]


def novelty(caption: str, text: str) -> float:
    """How new the wording is: 1 less the share of words that both texts have, of all that either has.

    >>> novelty("a brown dog", "the brown dog")
    0.5
    """
    before, after = set(words_of(caption)), set(words_of(text))
    together = before | after
    return 1 - len(before & after) / len(together) if together else 0.0


class Tfidf(Signal):
    """Cosine of the two texts' TF-IDF vectors over stems, 0 to 1; rarities from the corpus where there is one."""

    def __init__(self) -> None:
        self._vocabulary: Vocabulary | None = None
        self._norm = lru_cache(maxsize=1 << 14)(self._norm_of)

    def learn(self, captions: Iterable[str]) -> None:
        """Take the rarities from ``captions``."""
        self._vocabulary = counted(captions)
        self._norm.cache_clear()

    def measure(self, pairs: Sequence[TextPair]) -> list[float]:
        """The cosine of each pair; 0 if either has no content word."""
        rarity = (self._vocabulary or shipped()).rarity
        found = []
        for pair in pairs:
            before, after = _counts(pair.caption), _counts(pair.text)
            norms = self._norm(pair.caption) * self._norm(pair.text)
            dot = sum([count * before[stem] * rarity[stem] ** 2 for stem, count in after.items() if stem in before])
            found.append(dot / norms if norms else 0.0)
        return found

    def _norm_of(self, text: str) -> float:
        rarity = (self._vocabulary or shipped()).rarity
        return math.sqrt(sum([(count * rarity[stem]) ** 2 for stem, count in _counts(text).items()]))


class Likelihood(Signal):
    """The writing model's own mean log-likelihood of the text, in nats a token; free where it made the text."""

    def measure(self, pairs: Sequence[TextPair]) -> list[float]:
        """The numbers that the pairs carry."""
        return [UNKNOWN if pair.log_likelihood is None else pair.log_likelihood for pair in pairs]


class Verdict(Signal):
    """How likely the writing model itself finds the text true, 0 to 1, if it learned to say; free where it wrote it."""

    def measure(self, pairs: Sequence[TextPair]) -> list[float]:
        """The numbers that the pairs carry."""
        return [UNKNOWN if pair.verdict is None else pair.verdict for pair in pairs]


@lru_cache(maxsize=1 << 14)
def _counts(text: str) -> Counter[str]:
    return Counter(stems_of(text))


@lru_cache(maxsize=1 << 14)
def _rarities(text: str) -> dict[str, float]:
    rarity = shipped().rarity
    return {stem: rarity[stem] for stem in stems_of(text)}

"""Words, what they are like and where they stand in one: how likely a text is true to its caption, by a logistic model.

The weights in ``truth.json`` were fitted to rewrites judged by eye (``benchmarks/quality/fit.py``; how well it tells
them apart is in ``benchmarks/results/quality.md``). It needs no model: what words are like comes from the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from laclip_aug.quality.logistic import Logistic
from laclip_aug.quality.signals import Signal, TextPair
from laclip_aug.quality.stems import shipped, stems_of, words_of
from laclip_aug.quality.words import words

FILE = Path(__file__).parent / "truth.json"


class Truth(Signal):
    """Probability that the text is true to its caption, 0 to 1, by words kept and the likeness of new ones."""

    def describe(self) -> str:
        """Which weights."""
        return _model().content_hash

    def measure(self, pairs: Sequence[TextPair]) -> list[float]:
        """The probability for each pair."""
        return _model().probabilities([features(pair.caption, pair.text) for pair in pairs])


def features(caption: str, text: str) -> dict[str, float]:
    """What the model looks at, each about from -2 to 1.

    ``words`` is the signal of that name. The likeness of a content word of the text is 1 if the caption has it, else
    its greatest cosine with one of the caption's: ``likeness`` is the mean, ``worst`` that of the two least.
    ``phrases`` is the share of the text's neighbouring words, small ones too, that are neighbours in the caption: what
    stands beside, in or on what.
    """
    likeness = sorted(_likeness(stems_of(text), stems_of(caption)))
    there, made = set(pairwise(words_of(caption))), list(pairwise(words_of(text)))
    return {
        "words": words(caption, text),
        "likeness": _mean(likeness),
        "worst": _mean(likeness[:2]),
        "phrases": sum(pair in there for pair in made) / len(made) if made else 0.0,
    }


def _likeness(words: Sequence[str], others: Sequence[str]) -> list[float]:
    """For each distinct stem of ``words`` 1 if it is among ``others``, else the greatest cosine with one of them."""
    vocabulary, there = shipped(), set(others)
    new = [stem for stem in dict.fromkeys(words) if stem not in there]
    found = [1.0] * (len(set(words)) - len(new))
    known = [row for stem in there if (row := vocabulary.rows.get(stem)) is not None]
    for stem in new:
        row = vocabulary.rows.get(stem)
        if row is None or not known:
            found.append(0.0)
        else:
            found.append(float((vocabulary.vectors[known] @ vocabulary.vectors[row]).max()))
    return found


def _mean(values: Sequence[float]) -> float:
    """The mean; 1 of none, since nothing then lacks a match."""
    return sum(values) / len(values) if values else 1.0


@lru_cache(maxsize=1)
def _model() -> Logistic:
    return Logistic(FILE)

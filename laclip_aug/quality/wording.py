"""Picks among candidates of a small model: keep what the caption says, in other words.

A small model invents and drops things, so several candidates are drawn and the best is kept. Faithfulness rewards the
caption's content words that are still there and punishes new ones; the score adds new wording up to a bound:

    faithfulness = kept − 1.3·invented − 0.4·strangers − 0.5·repeated − garbled
    score        = faithfulness + 2.2·min(novelty, 0.75) + 0.2·log-likelihood

``strangers`` is 1 if the rewrite names a man, woman, boy or girl whom the caption does not, else 0;
``repeated`` is 1 if it says a content word more often than the caption and more than once;
``garbled`` is 1 if a new word is in no list of words of captions, as "airlinerers" is not. ``kept`` and
``invented`` are shares of content by weight: words compared by crude stem, synonyms of photo captions as one, rare
words (long ones, names) above the words that half of all captions hold.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from functools import lru_cache
from pathlib import Path

_WORD = re.compile(r"[^\W_]+")
_FUNCTION = frozenset(
    "a an the of on in at to for from with by and or as is are was were be been being it its this that these those "
    "he she they his her their there here while which who whose some into onto over up out off has have had very next "
    "near one what other another photo picture image".split()
)
_COMMON = frozenset(
    "man woman person peopl group boy girl child young stand sit walk wear hold look play rid top side front back "
    "larg small shirt street background water blue red white black green yellow brown two three four".split()
)
_ALIKE = {
    word: group[0]
    for group in (
        line.split()
        for line in """
        man men guy guys male males gentleman gentlemen
        woman women lady ladies female females
        boy boys
        girl girls
        child children kid kids youngster youngsters
        people persons individuals
        person individual someone
        dog dogs puppy canine
        bike bikes bicycle bicycles
        motorcycle motorcycles motorbike motorbikes
        street road roadway
        sofa couch
        big large huge
        small little tiny
        ocean sea
        beach shore
        stone rock stones rocks
        airplane plane aircraft jet airplanes planes
        jump jumps jumping leap leaps leaping
        ride rides riding rode
        sit sits sitting seated sat
        stand stands standing stood
        run runs running
        lie lies lying lays laying
        hold holds holding held
        hat cap
        jacket coat
        tv television
        """.strip().splitlines()
    )
    for word in group
}
_PERSONS = {"man", "woman", "boy", "girl"}
_COMMON_WEIGHT = 0.4
_FORMULA = 5  # to be raised with any change of the formula or of its word lists
_WORDS = Path(__file__).parent / "words.txt"
_NOVELTY_WEIGHT, _NOVELTY_BOUND = 2.2, 0.75
_LIKELIHOOD_WEIGHT = 0.2


def score(caption: str, rewrite: str, log_likelihood: float = 0.0) -> float:
    """How good ``rewrite`` is as a rewrite of ``caption``; at most 2.65, higher is better.

    ``log_likelihood`` is the model's own, in nats a token: what it finds odd itself is mostly bad English.

    >>> score("two dogs run on grass", "two dogs running on the grass") > score("two dogs run on grass", "a cat")
    True
    """
    before, after = set(_WORD.findall(caption.casefold())), set(_WORD.findall(rewrite.casefold()))
    together = before | after
    novelty = 1 - len(before & after) / len(together) if together else 0.0
    found = faithfulness(caption, rewrite) + _NOVELTY_WEIGHT * min(novelty, _NOVELTY_BOUND)
    return found + _LIKELIHOOD_WEIGHT * log_likelihood


def sense(word: str) -> str:
    """One word for all that mean the same in captions: ``puppy`` and ``dogs`` are ``dog``."""
    return _ALIKE.get(word, word)


def faithfulness(caption: str, rewrite: str) -> float:
    """How much of ``caption`` is in ``rewrite``, and nothing else; 1 is all. Captions of one photo by two people reach
    about -0.6 in the median, so a bound suits a model that is asked to keep what is said.

    >>> faithfulness("two dogs run on grass", "on the grass, two dogs are running")
    1.0
    """
    before, after = _WORD.findall(caption.casefold()), _WORD.findall(rewrite.casefold())
    there, counts = Counter(_stems(before)), Counter(_stems(after))
    source, made = frozenset(there), frozenset(counts)
    shared = _weight(source & made)
    kept = shared / _weight(source) if source else 1.0
    invented = 1 - shared / _weight(made) if made else 1.0
    strangers = bool(made & _PERSONS - source)
    garbled = any(word.isalpha() and word not in _known() for word in set(after) - set(before))
    repeated = any(count > max(1, there[stem]) for stem, count in counts.items())
    return kept - 1.3 * invented - 0.4 * strangers - 0.5 * repeated - garbled


def identity() -> str:
    """Differs whenever :func:`score` may choose otherwise: the formula's version and a hash of the known words."""
    return f"{_FORMULA}-{hashlib.sha256(_WORDS.read_bytes()).hexdigest()[:16]}"


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    """Words that occur three times or more in the captions that the embedded rewriter was trained on."""
    return frozenset(_WORDS.read_text(encoding="ascii").split())


def _stems(words: list[str]) -> list[str]:
    return [_stem(_ALIKE.get(word, word)) for word in words if word not in _FUNCTION]


def _weight(stems: frozenset[str]) -> float:
    return sum(_COMMON_WEIGHT if stem in _COMMON else 1 + 0.1 * min(len(stem), 6) for stem in stems)


def _stem(word: str) -> str:
    """``dogs`` and ``dog``, ``walking`` and ``walks`` share a stem; crude and fast."""
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word[:6]

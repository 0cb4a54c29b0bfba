"""Near pairs among human captions: (source, target) that say the same in other words.

Two captions of one image share 40% of their content; a model trained on all such pairs learns to invent. Kept are
pairs whose target says hardly anything that the source does not, and keeps what is rare in the source: shares are
weighted by idf. Colours, numbers, negation and the people named must be equal.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nltk.stem import PorterStemmer

from laclip_aug.quality.attributes import attributes

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
STOP = frozenset(
    """a an the of in on at to with and or is are was were be being been his her its their this that these those there
    it he she they them him who which while as by for from into onto up down over out off near next front top behind
    beside under above below through across along around inside outside between some very has have having had do does
    one other another each also just both all so than then but if photo picture image view shot it's background
    where what when s""".split()
)
_SAME = {
    word: line.split()[0]
    for line in """
    man guy gentleman male
    woman lady female
    child kid youngster
    baby infant toddler
    people person individual someone
    group bunch crowd
    dog puppy pup
    cat kitten kitty
    bicycle bike
    motorcycle motorbike
    car automobile
    airplane plane aircraft jet airliner
    boat ship vessel
    street road
    sofa couch
    television tv
    phone cellphone
    ocean sea
    field meadow
    house home
    large big huge giant
    small little tiny
    close closeup
    stand standing stands
    sit sits sitting seated sat
    lie lies lying lay lays laying
    ride rides riding rider
    run runs running
    hold holds holding carry carries carrying
    eat eats eating
    play plays playing
    jump leap
    look stare gaze watch
    fly flies flying flight
    bathroom restroom
    dish plate
    meal food
    several many multiple various
    sidewalk pavement
    pose posing posed
    """.strip().splitlines()
    for word in line.split()
}
_PEOPLE = {
    word: kind
    for kind, own in {
        "man": "man men guy guys male gentleman gentlemen boy boys he his him father husband",
        "woman": "woman women lady ladies female girl girls she her mother wife",
        "young": "boy boys girl girls child children kid kids baby babies toddler infant",
    }.items()
    for word in own.split()
}
_porter = PorterStemmer()


def words(text: str) -> list[str]:
    """Lower-case words."""
    return _WORD.findall(text.lower())


def concepts(text: str) -> frozenset[str]:
    """Content words as stems, synonyms folded: ``"A lady is riding"`` -> ``{"woman", "ride"}``."""
    return frozenset(_SAME.get(w) or _SAME.get(s := _porter.stem(w), s) for w in words(text) if w not in STOP)


@dataclass(frozen=True)
class Near:
    """Bounds. ``precision``: idf share of the target that is in the source, ``recall``: vice versa."""

    precision: float
    recall: float
    novelty: float  # 1 - overlap of words, at least


SIBLING = Near(0.7, 0.6, 0.4)
STRANGER = Near(0.85, 0.75, 0.4)


class Captions:
    """Captions with what is needed to compare two of them."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.concepts = [concepts(text) for text in texts]
        self.words = [frozenset(words(text)) for text in texts]
        self.attributes = [attributes(text) for text in texts]
        self.people = [frozenset(_PEOPLE[w] for w in own if w in _PEOPLE) for own in self.words]
        counts = Counter(c for own in self.concepts for c in own)
        self.idf = {c: math.log(len(texts) / n) for c, n in counts.items()}

    def weight(self, found: frozenset[str]) -> float:
        return sum(self.idf[c] for c in found)

    def near(self, source: int, target: int, bounds: Near) -> bool:
        """Whether ``target`` may stand for ``source``."""
        s, t = self.concepts[source], self.concepts[target]
        if not s or not t or self.attributes[source] != self.attributes[target]:
            return False
        if not self.people[target] <= self.people[source]:
            return False
        shared = self.weight(s & t)
        if shared < bounds.precision * self.weight(t) or shared < bounds.recall * self.weight(s):
            return False
        a, b = self.words[source], self.words[target]
        return len(a & b) <= (1 - bounds.novelty) * len(a | b) and 4 <= len(self.texts[target].split()) <= 30

    def siblings(self, images: Sequence[Sequence[int]]) -> Iterator[tuple[int, int]]:
        """Near pairs within each image."""
        for own in images:
            yield from ((a, b) for a in own for b in own if a != b and self.near(a, b, SIBLING))

    def strangers(self, most: int = 3) -> Iterator[tuple[int, int]]:
        """Near pairs over all captions, at most ``most`` for a source: photos of the same kind of scene.

        Candidates share the source's two rarest concepts.
        """
        index: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number, own in enumerate(self.concepts):
            rare = sorted(own, key=lambda c: (-self.idf[c], c))[:4]
            for i, first in enumerate(rare):
                for second in rare[i + 1 :]:
                    index[first, second].append(number)
        for source, own in enumerate(self.concepts):
            rare = sorted(own, key=lambda c: (-self.idf[c], c))
            if len(rare) < 2:
                continue
            found = [t for t in index[rare[0], rare[1]][:400] if t != source and self.near(source, t, STRANGER)]
            found.sort(key=lambda t: -self.weight(self.concepts[t] & own) / self.weight(self.concepts[t] | own))
            yield from ((source, t) for t in found[:most])

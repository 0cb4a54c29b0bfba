"""Content words of captions by crude stem, with how rare each is and what it is like.

``vocabulary.npz`` ships with the package: of each stem of photo and web captions the number of captions that have it,
and a short vector (a sentence encoder's mean output for the word in context, reduced). Stems that it does not hold are
as rare as can be and like nothing else. ``benchmarks/quality/vocabulary.py`` makes the file.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from laclip_aug.quality.letters import RULE, composed, run

FILE = Path(__file__).parent / "vocabulary.npz"

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_ASCII_WORD = re.compile(r"[^\W_]+")
_WORD = re.compile(f"[{_UNSPACED}]|" + run(rf"[^\W_{_UNSPACED}]"))
FUNCTION_WORDS = frozenset(
    "a an the of on in at to for from with by and or as is are was were be been being it its this that these those "
    "he she they his her their there here while which who whose some into onto over up out off has have had very next "
    "near one what other another photo picture image".split()
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


@dataclass(frozen=True)
class Vocabulary:
    """What is known of stems: ``documents`` captions in all, ``counts`` of them hold each stem; ``vectors`` ``[n, D]``,
    of unit length, at the places in ``rows``.
    """

    documents: int
    counts: Mapping[str, int]
    rows: Mapping[str, int]
    vectors: npt.NDArray[np.float32]

    @cached_property
    def rarity(self) -> Mapping[str, float]:
        """Stem → its inverse document frequency, ``log((1 + documents) / (1 + count))``, whatever the stem."""
        return _Rarities(self)


class _Rarities(dict[str, float]):
    """Reckoned when a stem is met first: a text's words are asked for again and again. What no caption has is as rare
    as can be, and not kept.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self._documents, self._counts = vocabulary.documents, vocabulary.counts

    def __missing__(self, stem: str) -> float:
        count = self._counts.get(stem, 0)
        found = math.log((1 + self._documents) / (1 + count))
        if count:
            self[stem] = found
        return found


@lru_cache(maxsize=1)
def shipped() -> Vocabulary:
    """The vocabulary that ships with the package."""
    with np.load(FILE, allow_pickle=False) as file:
        stems = file["stems"].tobytes().decode("utf-8").split("\n")
        counts = dict(zip(stems, file["counts"].tolist(), strict=True))
        vectors = file["vectors"].astype(np.float32)
        documents = int(file["documents"])
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return Vocabulary(documents, counts, {stem: row for row, stem in enumerate(stems)}, vectors)


@lru_cache(maxsize=1)
def content_hash() -> str:
    """The first half of the SHA-256 of the shipped vocabulary's file and of the rule of words, in hexadecimal."""
    return hashlib.sha256(FILE.read_bytes() + b"%d" % RULE).hexdigest()[:16]


def counted(captions: Iterable[str]) -> Vocabulary:
    """The document frequencies of ``captions``, without vectors."""
    counts: Counter[str] = Counter()
    documents = 0
    for caption in captions:
        documents += 1
        counts.update(set(stems_of(caption)))
    return Vocabulary(documents, counts, {}, np.zeros((0, 1), np.float32))


def words_of(text: str) -> list[str]:
    """The words, case folded, with their marks; a letter of a script that is written without spaces is a word."""
    plain = composed(text)
    return (_ASCII_WORD if plain.isascii() else _WORD).findall(plain)


@lru_cache(maxsize=1 << 14)
def stems_of(text: str) -> tuple[str, ...]:
    """The stems of the content words, in their order: ``"The guys are walking"`` is ``("man", "walk")``."""
    return tuple([stem(word) for word in words_of(text) if word not in FUNCTION_WORDS])


def sense(word: str) -> str:
    """One word for all that mean the same in captions: ``puppy`` and ``dogs`` are ``dog``."""
    return _ALIKE.get(word, word)


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """``dogs`` and ``dog``, ``walking`` and ``walks``, ``guy`` and ``men`` share a stem; crude and fast."""
    word = sense(word)
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word[:6]

"""False texts made from sound ones, as small rewriters get them wrong: told from sound ones they teach to read.

Nouns change places, a word comes from another text, a word is misspelt, and seven kinds more (``KINDS``). A few come
out true by chance ("a cup beside a plate" with "near"), so a verdict on them should weigh less than one by a reader.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from laclip_aug.eda.wordnet import WordNetMissingError, read_corpus

_NEW_PREPOSITIONS = (
    "on", "in", "under", "over", "behind", "next to", "in front of", "near", "above", "with", "without", "at", "from",
    "by", "inside", "outside", "beside", "around", "to", "against", "below",
)  # fmt: skip
_PREPOSITIONS = frozenset(
    """on in under over behind near above with without at from by inside outside beside around to against below of for
    into through along""".split()
)
_FUNCTION_WORDS = _PREPOSITIONS | frozenset(
    """a an the and or is are was were be being been as it its his her their there this that these those who which he
    she they some two three one has have had not no""".split()
)
_DROPPED = frozenset("of in on at to with is are from".split())
_VERBS = (
    "holding", "riding", "eating", "watching", "wearing", "standing", "sitting", "playing", "looking", "throwing",
    "carrying",
)  # fmt: skip
_LETTERS = "aeiourstnlmkgbdp"
_WORD = re.compile(r"[\w'-]+")


class Words(NamedTuple):
    """Which words are what, in lower case."""

    nouns: frozenset[str]
    adjectives: frozenset[str]

    def is_noun(self, token: str) -> bool:
        """Whether a word may be a noun, one or many; marks around it do not matter."""
        word = _plain(token)
        if word in _FUNCTION_WORDS or len(word) < 3 or word.endswith("ing"):
            return False
        return word in self.nouns or (word.endswith("s") and word[:-1] in self.nouns)

    def is_adjective(self, token: str) -> bool:
        """Whether a word may be an adjective; marks around it do not matter."""
        word = _plain(token)
        return word in self.adjectives and word not in _FUNCTION_WORDS


def wordnet_words() -> Words:
    """The single nouns and adjectives of WordNet, which has to be installed for nltk.

    Raises:
        WordNetMissingError: it is not.
    """
    try:
        corpus = read_corpus()
    except WordNetMissingError as error:
        raise WordNetMissingError(
            f"{error}; install it with: python -m nltk.downloader wordnet (NLTK_DATA names the directory)"
        ) from error

    def lemmas(file: str) -> frozenset[str]:
        lines = corpus[file].decode("utf-8", "replace").splitlines()
        found = (line.split()[0] for line in lines if not line.startswith(" "))  # the licence does
        return frozenset(lemma for lemma in found if "_" not in lemma)

    return Words(lemmas("index.noun"), lemmas("index.adj"))


@dataclass(frozen=True)
class _Text:
    """``plain`` are the tokens in lower case and without marks, ``nouns`` and ``adjectives`` places in them.

    The adjectives are those that stand before a noun.
    """

    caption: str
    tokens: list[str]
    plain: list[str]
    nouns: list[int]
    adjectives: list[int]
    donors: Sequence[str]

    def with_word(self, place: int, word: str) -> list[str]:
        """The tokens, with another word at ``place`` between the same marks."""
        return self.with_token(place, _WORD.sub(lambda _: word, self.tokens[place], count=1))

    def with_token(self, place: int, *tokens: str) -> list[str]:
        """The tokens, with others, or none, for that at ``place``."""
        return [*self.tokens[:place], *tokens, *self.tokens[place + 1 :]]


def corrupt(caption: str, text: str, rng: random.Random, words: Words, donors: Sequence[str]) -> tuple[str, str] | None:
    """A kind, and what it makes of a rewrite ``text``; None if the text has no place for the kind that was drawn.

    ``donors`` are nouns of other texts, as often as they should be drawn. What comes out differs from ``text`` in more
    than case and a full stop.
    """
    tokens = text.split(" ")
    plain = [_plain(token) for token in tokens]
    nouns = [place for place, token in enumerate(tokens) if words.is_noun(token)]
    adjectives = [noun - 1 for noun in nouns if noun and words.is_adjective(tokens[noun - 1])]
    kind = rng.choices(list(KINDS), [often for often, _ in KINDS.values()])[0]
    made = KINDS[kind][1](_Text(caption, tokens, plain, nouns, adjectives, donors), rng)
    found = " ".join(made or tokens)
    return None if found.lower().strip(" .") == text.lower().strip(" .") else (kind, found)


def _plain(token: str) -> str:
    return re.sub(r"\W", "", token.lower())


def _swapped(text: _Text, rng: random.Random) -> list[str] | None:
    """Two nouns change places, but not two of a list: there it would say the same."""
    if len(text.nouns) < 2:
        return None
    one, other = sorted(rng.sample(text.nouns, 2))
    listed = {"and", "or"} & set(text.plain[one:other]) or any("," in token for token in text.tokens[one:other])
    if other - one < 2 or text.plain[one] == text.plain[other] or listed:
        return None
    first, second = (re.sub(r"[^\w'-]", "", text.tokens[place]).lower() for place in (one, other))
    tokens = text.with_word(other, first)
    tokens[one] = text.with_word(one, second if one else second.capitalize())[one]
    return tokens


def _preposition(text: _Text, rng: random.Random) -> list[str] | None:
    places = [place for place, word in enumerate(text.plain) if word in _PREPOSITIONS - {"of", "for"}]
    if not places:
        return None
    place = rng.choice(places)
    new = rng.choice([word for word in _NEW_PREPOSITIONS if word != text.plain[place]])
    return text.with_token(place, new if place else new.capitalize())


def _foreign(text: _Text, rng: random.Random) -> list[str] | None:
    """A noun of another text, which the caption does not have."""
    if not text.nouns or not text.donors:
        return None
    place, new = rng.choice(text.nouns), rng.choice(text.donors)
    return None if new in text.caption.lower() else text.with_word(place, new)


def _dropped(text: _Text, rng: random.Random) -> list[str] | None:
    places = [place for place, word in enumerate(text.plain) if word in _DROPPED]
    return text.with_token(rng.choice(places)) if places else None


def _doubled(text: _Text, rng: random.Random) -> list[str] | None:
    """Some noun of the text stands once more, before a noun."""
    if not text.nouns:
        return None
    place = rng.choice(text.nouns)
    return text.with_token(place, text.plain[rng.choice(text.nouns)], text.tokens[place])


def _adjective(text: _Text, rng: random.Random) -> list[str] | None:
    """An adjective moves to another noun."""
    if not text.adjectives:
        return None
    place = rng.choice(text.adjectives)
    others = [noun for noun in text.nouns if abs(noun - place) > 2]
    if not others:
        return None
    to = rng.choice(others)
    tokens = text.with_token(place)
    tokens.insert(to - (to > place), text.plain[place])
    return tokens


def _misspelt(text: _Text, rng: random.Random) -> list[str] | None:
    """A name, if there is one: another letter, one less, one more, or two that change places."""
    places = [place for place, word in enumerate(text.plain) if len(word) > 4 and word.isalpha()]
    names = [place for place in places if place and text.tokens[place][0].isupper()]
    if not places:
        return None
    place = rng.choice(names or places)
    found = re.search("[A-Za-z]+", text.tokens[place])
    word = found.group() if found else ""
    if len(word) < 3:
        return None  # "T-shirt"
    at, how, letter = rng.randrange(1, len(word) - 1), rng.randrange(4), rng.choice(_LETTERS)
    rest = (letter + word[at + 1 :], word[at + 1 :], letter + word[at:], word[at + 1] + word[at] + word[at + 2 :])[how]
    return text.with_token(place, text.tokens[place].replace(word, word[:at] + rest, 1))


def _neighbours(text: _Text, rng: random.Random) -> list[str] | None:
    """Two words change places, but the first stays."""
    if len(text.tokens) < 3:
        return None
    place = rng.randrange(1, len(text.tokens) - 1)
    if text.plain[place] == text.plain[place + 1]:
        return None
    return [*text.tokens[:place], text.tokens[place + 1], text.tokens[place], *text.tokens[place + 2 :]]


def _phrases(text: _Text, rng: random.Random) -> list[str] | None:
    """What stands before the first preposition changes places with what follows it, or the next two phrases do."""
    places = [place for place, word in enumerate(text.plain) if place and word in _PREPOSITIONS]
    if len(places) < 2:
        return None
    first, second = places[:2]
    start, phrase, rest = text.tokens[:first], text.tokens[first:second], text.tokens[second:]
    return start + rest + phrase if rng.random() < 0.3 else phrase[1:] + phrase[:1] + start + rest


def _verb(text: _Text, rng: random.Random) -> list[str] | None:
    places = [place for place, word in enumerate(text.plain) if word.endswith("ing") and len(word) > 5]
    if not places:
        return None
    place, new = rng.choice(places), rng.choice(_VERBS)
    return None if new == text.plain[place] else text.with_token(place, new)


KINDS: Mapping[str, tuple[int, Callable[[_Text, random.Random], list[str] | None]]] = {
    "swapped": (6, _swapped),
    "preposition": (3, _preposition),
    "foreign": (3, _foreign),
    "dropped": (2, _dropped),
    "doubled": (1, _doubled),
    "adjective": (2, _adjective),
    "misspelt": (2, _misspelt),
    "neighbours": (2, _neighbours),
    "phrases": (2, _phrases),
    "verb": (1, _verb),
}
"""How often each is drawn, of 24, and what makes it."""

"""Word transplants: a word of the source and of its target is replaced in both by a word from elsewhere.

"A dog runs on grass" => "A dog is running on the grass" becomes "A viaduct runs on grass" => "A viaduct is running on
the grass": the sentence's meaning no longer helps, so the word has to be copied. Rare words, names, colours and
numbers need that, and no number of real pairs shows enough of them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable

from benchmarks.caption_adapter.near import STOP
from benchmarks.caption_adapter.rows import Pair

_WORD = re.compile(r"[A-Za-z]+")
_COLOURS = "red blue green yellow orange purple pink brown black white gray beige silver".split()
_NUMBERS = "two three four five six seven eight nine ten eleven twelve".split()
_FRAME = STOP | frozenset("man woman men women people person boy girl group child children".split())


class Donors:
    """Words to put in, by how they end, each as likely as any other, so that rare ones are the rule."""

    def __init__(self, texts: Iterable[str]) -> None:
        found: dict[str, set[str]] = {}
        for text in texts:
            for place, word in enumerate(_WORD.findall(text)):
                if len(word) >= 3 and (word.islower() or (place and word.istitle())) and word.lower() not in _FRAME:
                    found.setdefault(_kind(word), set()).add(word)
        self.words = {kind: sorted(own) for kind, own in found.items()}

    def like(self, word: str, rng: random.Random) -> str:
        """A word to stand where ``word`` stood."""
        for closed in (_COLOURS, _NUMBERS):
            if word in closed:
                return rng.choice(closed)
        if word.isdigit():
            return str(rng.randrange(2, 10 ** min(len(word) + 1, 4)))
        return rng.choice(self.words.get(_kind(word)) or [word])


def _kind(word: str) -> str:
    return next((e for e in ("ing", "ed", "ly", "s") if word.endswith(e) and len(word) > len(e) + 2), "")


def transplant(pair: Pair, donors: Donors, rng: random.Random) -> Pair:
    """``pair`` with one word, common to the caption and all its texts, replaced in all; as it is if there is none."""
    sides = [pair.caption, *(text for _, text in pair.texts)]
    common = set.intersection(*({w.lower() for w in re.findall(r"[A-Za-z]{3,}|\d+", s)} for s in sides)) - _FRAME
    if not common:
        return pair
    old = rng.choice(sorted(common))
    new = donors.like(old, rng)
    pattern = re.compile(rf"(?<![\w'’-])(?:\b(an?) )?({old})(?![\w'’])", re.I)
    caption, *texts = (pattern.sub(lambda m: _fit(m, new), side) for side in sides)
    return Pair(caption, tuple((s, t) for (s, _), t in zip(pair.texts, texts, strict=True)))


def _fit(match: re.Match[str], new: str) -> str:
    article = match[1] or ""
    if article:
        return f"{article[0]}{'n' if new[0].lower() in 'aeiou' else ''} {new}"
    return new[:1].upper() + new[1:] if match[2][:1].isupper() else new

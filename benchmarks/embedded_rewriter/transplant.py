"""Word transplants: a word of the source and of its target is replaced in both by a word from elsewhere.

"A dog runs on grass" → "A dog is running on the grass" becomes "A viaduct runs on grass" → "A viaduct is running on
the grass": what the sentence means no longer helps, so the word has to be copied, in a natural frame. That is what rare
words, names, colours and numbers of a caption need, and no number of real pairs shows enough of them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence

from benchmarks.embedded_rewriter.words import STOP

_WORD = re.compile(r"[A-Za-z]+")
_COLOURS = "red blue green yellow orange purple pink brown black white gray grey teal maroon beige silver".split()
_NUMBERS = "two three four five six seven eight nine ten eleven twelve".split()
_FRAME = STOP | frozenset("man woman men women people person boy girl group child children there".split())


class Donors:
    """Words to put in, by how they end, each word as likely as any other, so that rare ones are the rule."""

    def __init__(self, texts: Iterable[str]) -> None:
        words: dict[str, set[str]] = {}
        names: set[str] = set()
        for text in texts:
            found = _WORD.findall(text)
            for place, word in enumerate(found):
                if len(word) >= 3 and word.islower() and word not in _FRAME:
                    words.setdefault(_ending(word), set()).add(word)
                elif place and len(word) >= 3 and word.istitle():
                    names.add(word)
        self.words = {ending: sorted(found) for ending, found in words.items()}
        self.names = sorted(names)

    def like(self, word: str, rng: random.Random) -> str:
        """A word to stand where ``word`` stood."""
        for closed in (_COLOURS, _NUMBERS):
            if word in closed:
                return rng.choice(closed)
        if word.isdigit():
            return str(rng.randrange(2, 10 ** min(len(word) + 1, 4)))
        if self.names and _ending(word) == "" and rng.random() < 0.15:
            return rng.choice(self.names)
        return rng.choice(self.words.get(_ending(word)) or [word])


def _ending(word: str) -> str:
    return next((e for e in ("ing", "ed", "ly", "s") if word.endswith(e) and len(word) > len(e) + 2), "")


def transplant(
    source: str, targets: Sequence[tuple[str, str]], donors: Donors, rng: random.Random, most: int = 2
) -> tuple[str, list[tuple[str, str]]]:
    """Replace up to ``most`` words of ``source`` in it and in its targets ``(strategy, text)``.

    A target that lacks a chosen word is left out; without a word in common all comes back as it was.
    """
    words = {w.lower() for w in re.findall(r"[A-Za-z]{3,}|\d+", source)} - _FRAME
    inside = [{w.lower() for w in re.findall(r"[A-Za-z]{3,}|\d+", text)} for _, text in targets]
    kept = list(targets)
    for _ in range(rng.randint(1, most)):
        common = sorted(word for word in words if any(word in found for found in inside))
        if not common:
            break
        old = rng.choice(common)
        new = donors.like(old, rng)
        words.discard(old)
        pattern = re.compile(rf"(?<![\w'’-])(?:\b(an?) )?({old})(?![\w])", re.I)
        chosen = [i for i, found in enumerate(inside) if old in found]
        source = pattern.sub(lambda m, new=new: _fit(m, new), source)
        kept = [(kept[i][0], pattern.sub(lambda m, new=new: _fit(m, new), kept[i][1])) for i in chosen]
        inside = [inside[i] for i in chosen]
    return source, kept


def _fit(match: re.Match[str], new: str) -> str:
    article = match[1] or ""
    if article:
        article = article[0] + ("n" if new[0].lower() in "aeiou" else "") + " "
    elif match[2][:1].isupper():
        new = new[:1].upper() + new[1:]
    return article + new

"""Word forms counted in the captions themselves: which words take an article, which verb forms belong together.

Alt-texts leave out articles ("boy grooming his horse"); a rule that puts them in has to know that "boy" takes one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.embedded_rewriter.words import STOP

_WORD = re.compile(r"[a-z]+")
_NOT_SUBJECTS = STOP | frozenset("close lot front back top side inside outside view shot kind type".split())


@dataclass(frozen=True)
class Forms:
    """``singular``: words that follow an article in a quarter of their places or more; ``plural``: words that end in s
    and follow a number or "some" now and then; ``progressive``: ``{"poses": "posing"}``."""

    singular: frozenset[str]
    plural: frozenset[str]
    progressive: dict[str, str]


def count(texts: Iterable[str]) -> Forms:
    """Count in ``texts``, upper case folded."""
    seen: Counter[str] = Counter()
    after_article: Counter[str] = Counter()
    after_many: Counter[str] = Counter()
    progressive: Counter[str] = Counter()
    for text in texts:
        found = _WORD.findall(text.lower())
        seen.update(found)
        for before, word in pairwise(found):
            if before in ("a", "an"):
                after_article[word] += 1
            elif before in ("two", "three", "four", "some", "several", "many"):
                after_many[word] += 1
            elif before in ("is", "are") and word.endswith("ing"):
                progressive[word] += 1
    singular = {
        word
        for word, n in after_article.items()
        if n >= 4 and n >= 0.25 * seen[word] and not word.endswith(("ing", "ed")) and word not in _NOT_SUBJECTS
    }
    plural = {
        word
        for word, n in after_many.items()
        if n >= 2 and n >= 0.03 * seen[word] and word.endswith("s") and not word.endswith("ss")
    }
    verbs = {}
    for word, n in progressive.items():
        stem = word[:-3]
        bases = [stem, stem + "e", stem[:-1] if len(stem) > 2 and stem[-1] == stem[-2] else stem]
        thirds = [base + ending for base in bases for ending in ("s", "es") if seen[base + ending] >= 3]
        if n >= 3 and thirds:
            verbs[max(thirds, key=lambda third: seen[third])] = word
    return Forms(frozenset(singular), frozenset(plural - set(verbs)), verbs)

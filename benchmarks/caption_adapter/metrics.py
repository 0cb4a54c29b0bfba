"""What a rewrite should be: pure functions over texts, with word lists of their own.

Nothing here is used by the rewriter, so that it is not judged by its own yardstick.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
COLOUR_WORDS = frozenset(
    "red green blue yellow orange purple pink brown black white gray grey beige tan golden gold silver teal maroon "
    "violet turquoise navy".split()
)
NUMBER_WORDS = frozenset("two three four five six seven eight nine ten eleven twelve dozen hundred thousand".split())
_SAME = {"grey": "gray", "golden": "gold"}


def tokens(text: str) -> list[str]:
    """Lower-case words and numbers."""
    return _WORD.findall(text.lower())


def recall_of(queries: Sequence[str], wanted: Sequence[int], documents: Sequence[Sequence[str]]) -> float:
    """Recall at 1: the share of queries whose nearest document by TF-IDF cosine is the one wanted.

    A document is all texts of one image; idf is of the documents. Ties count by the share of the tied.
    """
    vectorizer = TfidfVectorizer(tokenizer=tokens, token_pattern=None, lowercase=False)
    matrix = vectorizer.fit_transform([" ".join(texts) for texts in documents])
    scores = (vectorizer.transform(queries) @ matrix.T).toarray()
    own = scores[np.arange(len(queries)), np.asarray(wanted)]
    better = (scores > own[:, None] + 1e-9).sum(1)
    tied = (np.abs(scores - own[:, None]) <= 1e-9).sum(1)
    return float(np.mean((better == 0) / tied))


def novelty(source: str, text: str) -> float:
    """1 - Jaccard overlap of the two texts' word sets. ``("a dog", "a cat")`` is 2/3."""
    a, b = set(tokens(source)), set(tokens(text))
    return 1 - len(a & b) / len(a | b) if a | b else 0.0


def visible(text: str) -> frozenset[str]:
    """Colours and numbers named: ``"Two grey cats, 3 dogs"`` is ``{"two", "gray", "3"}``."""
    return frozenset(
        _SAME.get(t, t) for t in tokens(text) if t in COLOUR_WORDS or t in NUMBER_WORDS or (t.isdigit() and t != "1")
    )


def names(text: str) -> frozenset[str]:
    """Words with a capital that do not begin a sentence, lower-cased: a stand-in for named entities."""
    found = re.findall(r"(?<![.!?])\s([A-Z][^\W\d_]+)", text)
    return frozenset(word.lower() for word in found)


def shares(pairs: Iterable[tuple[str, str]]) -> dict[str, float]:
    """Shares over (source, text) pairs.

    ``identical``: same words; ``changed``: a colour or number added or swapped for another; ``lost``: one missing;
    ``names_kept``: of all names in the sources; ``negation_changed``.
    """
    total = identical = changed = lost = negation = kept = named = 0
    for source, text in pairs:
        a, b = visible(source), visible(text)
        total += 1
        identical += tokens(source) == tokens(text)
        changed += bool(b - a)
        lost += bool(a - b)
        negation += bool({"no", "not", "without"} & set(tokens(source))) != bool(
            {"no", "not", "without"} & set(tokens(text))
        )
        wanted = names(source)
        named += len(wanted)
        kept += len(wanted & set(tokens(text)))
    n = max(total, 1)
    return {
        "identical": identical / n,
        "changed": changed / n,
        "lost": lost / n,
        "negation_changed": negation / n,
        "names_kept": kept / named if named else 1.0,
    }


def distinct(groups: Iterable[Sequence[str]]) -> float:
    """Mean number of different texts (by words) among those of one caption."""
    counts = [len({tuple(tokens(text)) for text in texts}) for texts in groups]
    return sum(counts) / max(len(counts), 1)

"""Denoising pairs: a human caption is disturbed, and the model learns to give back the human's wording.

The disturbances keep what is said (content words, numbers, colours, names) and change how: words trade places with
others of their kind, the verb changes form, a phrase moves to the front, function words go, a lead-in is added.
So the target is always fluent text of a person, and every rare word of the source has to be copied.
"""

from __future__ import annotations

import random
import re

from benchmarks.embedded_rewriter.words import GROUPS

_EXCHANGE: dict[str, list[str]] = {}
for _group in GROUPS:
    for _word in _group:
        _EXCHANGE.setdefault(_word, []).extend(w for w in _group if w != _word)
_PHRASES = re.compile(r"\b(" + "|".join(sorted(map(re.escape, _EXCHANGE), key=len, reverse=True)) + r")\b")
_LEADS = (
    "A photo of", "There is", "An image of", "This is", "A picture of", "A view of", "We see", "A close up of",
    "In this picture,", "It shows", "Here is", "A shot of",
)  # fmt: skip
_PLACE = re.compile(r"\s(?=(?:in|on|at|near|by|with|while|next to|in front of|under|behind|through|during|for|from)\s)")
_DROP = frozenset("a an the is are of his her their its some that and".split())
_AUXILIARY = re.compile(r"\b(is|are) (\w+ing)\b")
_PROGRESSIVE = re.compile(r"^((?:An?|The|Two|Three|Four|Five|Some|Several)(?: \w+){1,3}?) (\w+ing)\b")


def _lower_first(text: str) -> str:
    first = text.split(" ", 1)[0]
    return text if len(first) > 1 and first.isupper() else text[:1].lower() + text[1:]


def exchange(text: str, rng: random.Random, rate: float) -> str:
    """Words trade places with others of their group."""

    def other(match: re.Match[str]) -> str:
        return rng.choice(_EXCHANGE[match[0]]) if rng.random() < rate else match[0]

    return _PHRASES.sub(other, text)


def reorder(text: str, rng: random.Random) -> str:
    """The last phrase of place or company moves to the front, or two of them swap."""
    body = text.rstrip(".")
    parts = _PLACE.split(body)
    if len(parts) < 2:
        return text
    if len(parts) > 2 and rng.random() < 0.5:
        i = rng.randrange(1, len(parts) - 1)
        parts[i], parts[i + 1] = parts[i + 1], parts[i]
        return " ".join(parts)
    last = parts.pop()
    return f"{last[:1].upper()}{last[1:]}{rng.choice([',', ''])} {_lower_first(' '.join(parts))}"


def verb(text: str, rng: random.Random) -> str:
    """``is running`` becomes ``running`` or the other way round."""
    if _AUXILIARY.search(text):
        return _AUXILIARY.sub(lambda m: m[2], text, count=1)
    plural = re.match(r"(Two|Three|Four|Five|Some|Several|\w+s )", text) is not None
    return _PROGRESSIVE.sub(lambda m: f"{m[1]} {'are' if plural else 'is'} {m[2]}", text, count=1)


def drop(text: str, rng: random.Random, rate: float) -> str:
    """Function words go."""
    return " ".join(w for w in text.split(" ") if w.lower() not in _DROP or rng.random() > rate)


def shuffle(text: str, rng: random.Random, reach: float) -> str:
    """Words move by about ``reach`` places."""
    found = text.rstrip(".").split(" ")
    order = sorted(range(len(found)), key=lambda i: i + rng.uniform(0, reach))
    return " ".join(found[i] for i in order)


def disturb(text: str, rng: random.Random) -> tuple[str, str]:
    """A disturbed form of ``text`` and the kind of its strongest disturbance: ``order``, ``short`` or ``words``."""
    out, kind = text, "words"
    if rng.random() < 0.85:
        out = exchange(out, rng, rng.choice((0.3, 0.6)))
    if rng.random() < 0.4:
        out = verb(out, rng)
    draw = rng.random()
    if draw < 0.40:
        moved = reorder(out, rng)
        out, kind = moved, "order" if moved != out else kind
    elif draw < 0.50:
        out, kind = shuffle(out, rng, 3.0), "order"
    if rng.random() < 0.3:
        out, kind = drop(out, rng, 0.6), "short" if kind == "words" else kind
    if rng.random() < 0.15:
        out = f"{rng.choice(_LEADS)} {_lower_first(out)}"
    if rng.random() < 0.3:
        out = out.rstrip(".")
    if rng.random() < 0.25:
        out = out.lower()
    return out, kind

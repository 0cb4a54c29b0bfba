"""Picks among candidates of a small model: keep what the caption says, in other words.

A small model invents and drops things, so several candidates are drawn and the best is kept:

    score = words + 2.2·min(novelty, 0.75) + 0.2·log-likelihood

``words`` and ``novelty`` are the signals of these names (:mod:`laclip_aug.quality.words`).
"""

from __future__ import annotations

from laclip_aug.quality.stems import content_hash
from laclip_aug.quality.words import novelty, words

_FORMULA = 7  # to be raised with any change of the formula, or of what stems are
_NOVELTY_WEIGHT, _NOVELTY_BOUND = 2.2, 0.75
_LIKELIHOOD_WEIGHT = 0.2


def score(caption: str, rewrite: str, log_likelihood: float = 0.0) -> float:
    """How good ``rewrite`` is as a rewrite of ``caption``; at most 2.65, higher is better.

    ``log_likelihood`` is the model's own, in nats a token: what it finds odd itself is mostly bad English.

    >>> score("two dogs run on grass", "two dogs running on the grass") > score("two dogs run on grass", "a cat")
    True
    """
    found = words(caption, rewrite) + _NOVELTY_WEIGHT * min(novelty(caption, rewrite), _NOVELTY_BOUND)
    return found + _LIKELIHOOD_WEIGHT * log_likelihood


def identity() -> str:
    """Differs whenever :func:`score` may choose otherwise: the formula's version and a hash of the vocabulary."""
    return f"{_FORMULA}-{content_hash()}"

"""The exact temperature → top-p draw, without sorting the vocabulary.

With e = exp((z − max z) / T), top-p keeps a token when the mass of all tokens with a larger e is below p·Σe. Tokens
with equal e are kept or dropped together. All that are kept have e ≥ c, for any c such that the tokens of e ≥ c have
that mass together. These are few at the temperatures in use, and only they are sorted (a sort of 32,000 takes 0.7 to
2 ms).

Randomness is counter-based: a draw is a function of (seed, position in the completion), not of the slot, the batch or
the number of draws made before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from laclip_aug.errors import ConfigurationError
from laclip_aug.generation.backend import Sampling
from laclip_aug.seeding import derive

_BLOCK = 256
_BOUNDS = (1e-2, 1e-4, 0.0)
"""Weights, of a likeliest token's 1, from which on what top-p keeps is looked for."""
_NOTHING = 1e-6
"""The part of the mass that counts as none when known texts are taken out."""


class Drawn(NamedTuple):
    """A token, the natural logarithm of its probability under the model, whatever temperature it was drawn at, and the
    probability that it had of being drawn.
    """

    token: int
    log_probability: float
    probability: float


def check(sampling: Sampling) -> None:
    """Refuse values that no draw can be made with.

    Raises:
        ConfigurationError: temperature is neither 0 nor at least 0.001, top-p not in (0, 1], or the token limit is 0.
    """
    if sampling.temperature != 0 and not (math.isfinite(sampling.temperature) and sampling.temperature >= 1e-3):
        raise ConfigurationError(f"temperature is {sampling.temperature}; use 0 (greedy) or a number from 0.001 up")
    if not 0 < sampling.top_p <= 1:
        raise ConfigurationError(f"top-p is {sampling.top_p}; use a number above 0 and at most 1 (1 keeps every token)")
    if sampling.max_new_tokens < 1:
        raise ConfigurationError(f"max_new_tokens is {sampling.max_new_tokens}; use at least 1")


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) that is a function of its arguments alone."""
    return float(derive("draw", seed, position) >> 11) * 2.0**-53


def draw(
    logits: npt.NDArray[np.float32],
    sampling: Sampling,
    seed: int,
    position: int,
    thinned: Mapping[int, float] | None = None,
) -> Drawn | None:
    """The next token of a completion.

    Args:
        logits: ``[V]``, the model's scores of the next token; left unchanged. ``-inf`` excludes a token.
        sampling: temperature (0 takes the largest logit, the first of equals) and top-p.
        seed: the job's seed.
        position: the number of tokens already drawn for the job.
        thinned: by token, what its probability is multiplied with before the draw. Nothing is, if next to nothing
            would be left. The probability that is told is that before.

    Returns:
        A token id in ``[0, V)`` with its probabilities; None if the logits have no finite maximum: no draw can be
        made.
    """
    top = int(logits.argmax())
    peak = float(logits[top])
    if not math.isfinite(peak):
        return None
    scores = np.subtract(logits, np.float32(peak))
    norm = math.log(float(np.exp(scores).sum()))
    if sampling.temperature == 0:
        return Drawn(top, -norm, 1.0)
    weights = np.multiply(scores, np.float32(1 / sampling.temperature))
    np.exp(weights, out=weights)
    kept = np.flatnonzero(weights >= _least_kept(weights, sampling.top_p)) if sampling.top_p < 1 else None
    masses = weights if kept is None else weights[kept]
    whole, left = float(masses.sum(dtype=np.float64)), masses
    if thinned:
        left = masses.copy()
        for token, part in thinned.items():
            left[token if kept is None else kept == token] *= np.float32(part)
        left = left if float(left.sum(dtype=np.float64)) > _NOTHING * whole else masses
    place = _place(left, uniform(seed, position))
    token = place if kept is None else int(kept[place])
    return Drawn(token, float(scores[token]) - norm, float(weights[token]) / whole)


def _least_kept(weights: npt.NDArray[np.float32], top_p: float) -> float:
    """The smallest weight that top-p keeps."""
    limit = top_p * float(weights.sum(dtype=np.float64))
    for bound in _BOUNDS:
        some = weights[weights >= bound]
        mass = float(some.sum(dtype=np.float64))
        if mass >= limit:
            break
    some = -np.sort(-some)
    return float(some[_place(some, min(1.0, limit / mass))])


def _place(masses: npt.NDArray[np.float32], part: float) -> int:
    """The first place up to which ``masses`` have more than ``part`` of their sum.

    By blocks: one cumulative sum over a whole vocabulary would cost more than all else.
    """
    if len(masses) <= _BLOCK:
        ends = np.cumsum(masses, dtype=np.float64)
        return min(int(np.searchsorted(ends, part * ends[-1], side="right")), len(masses) - 1)
    blocks = np.cumsum(np.add.reduceat(masses, np.arange(0, len(masses), _BLOCK)), dtype=np.float64)
    point = part * float(blocks[-1])
    block = min(int(np.searchsorted(blocks, point, side="right")), len(blocks) - 1)
    inside = masses[block * _BLOCK : (block + 1) * _BLOCK]
    before = float(blocks[block - 1]) if block else 0.0
    index = int(np.searchsorted(np.cumsum(inside, dtype=np.float64), point - before, side="right"))
    if index >= len(inside):  # rounding at the block's end: its last token with any weight
        index = int(np.flatnonzero(inside)[-1]) if inside.any() else 0
    return block * _BLOCK + index

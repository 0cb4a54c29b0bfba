"""The exact temperature → top-p draw, without sorting the vocabulary.

With e = exp((z − max z) / T), top-p keeps a token when the mass of all tokens with a larger e is below p·Σe. Instead of
finding that set by a sort (0.7 to 2 ms at 32,000 tokens), draw a token from all of e and accept it if it is in the set;
else draw again. Conditioned on acceptance the token has exactly the top-p distribution. The set has mass at least p, so
1/p draws are expected at most.

Tokens with equal e are kept or dropped together.

Randomness is counter-based: a draw is a function of (seed, position in the completion), not of the slot, the batch or
the number of draws made before.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from laclip_aug.errors import ConfigurationError
from laclip_aug.generation.backend import Sampling
from laclip_aug.seeding import derive

_BLOCK = 256
_TRIES = 16


class Drawn(NamedTuple):
    """A token and the natural logarithm of its probability under the model, whatever temperature it was drawn at."""

    token: int
    log_probability: float


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


def uniform(seed: int, position: int, attempt: int) -> float:
    """A number in [0, 1) that is a function of its arguments alone."""
    return float(derive("draw", seed, position, attempt) >> 11) * 2.0**-53


def draw(logits: npt.NDArray[np.float32], sampling: Sampling, seed: int, position: int) -> Drawn | None:
    """The next token of a completion.

    Args:
        logits: ``[V]``, the model's scores of the next token; left unchanged. ``-inf`` excludes a token.
        sampling: temperature (0 takes the largest logit, the first of equals) and top-p.
        seed: the job's seed.
        position: the number of tokens already drawn for the job.

    Returns:
        A token id in ``[0, V)`` and its log-probability; None if the logits have no finite maximum: no draw can be
        made.
    """
    top = int(logits.argmax())
    peak = float(logits[top])
    if not math.isfinite(peak):
        return None
    scores = np.subtract(logits, np.float32(peak))
    norm = math.log(float(np.exp(scores).sum()))
    if sampling.temperature == 0:
        return Drawn(top, -norm)
    weights = np.multiply(scores, np.float32(1 / sampling.temperature))
    np.exp(weights, out=weights)
    blocks = _block_sums(weights)
    total = float(blocks[-1])
    limit = sampling.top_p * total
    for attempt in range(_TRIES):
        token = _inverse(weights, blocks, uniform(seed, position, attempt) * total)
        if sampling.top_p == 1 or token == top:
            return Drawn(token, float(scores[token]) - norm)
        if float(weights[weights > weights[token]].sum(dtype=np.float64)) < limit:
            return Drawn(token, float(scores[token]) - norm)
    # A small p refuses often: after a few tries the set is found by a sort, once. Still the exact distribution.
    order = np.argsort(-weights, kind="stable")
    heavier = np.cumsum(weights[order], dtype=np.float64)
    mass_above = np.concatenate(([0.0], heavier[:-1]))
    kept = int(np.searchsorted(mass_above, limit, side="left"))
    while kept < len(order) and weights[order[kept]] == weights[order[kept - 1]]:
        kept += 1
    point = uniform(seed, position, _TRIES) * float(heavier[kept - 1])
    token = int(order[min(int(np.searchsorted(heavier[:kept], point, side="right")), kept - 1)])
    return Drawn(token, float(scores[token]) - norm)


def _block_sums(weights: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Cumulative sums at the block ends: one cumulative sum over the whole vocabulary would cost more than the exp."""
    starts = np.arange(0, len(weights), _BLOCK)
    return np.cumsum(np.add.reduceat(weights, starts), dtype=np.float64)


def _inverse(weights: npt.NDArray[np.float32], blocks: npt.NDArray[Any], point: float) -> int:
    """The token whose stretch of the cumulative sum holds ``point``."""
    block = min(int(np.searchsorted(blocks, point, side="right")), len(blocks) - 1)
    inside = weights[block * _BLOCK : (block + 1) * _BLOCK]
    before = float(blocks[block - 1]) if block else 0.0
    index = int(np.searchsorted(np.cumsum(inside, dtype=np.float64), point - before, side="right"))
    if index >= len(inside):  # rounding at the block's end: its last token with any weight
        index = int(np.flatnonzero(inside)[-1]) if inside.any() else 0
    return block * _BLOCK + index

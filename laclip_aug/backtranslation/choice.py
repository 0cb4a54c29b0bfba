"""Which of a caption's several pivot translations are translated back.

Sampling inside the engine would depend on the batch and on the engine's age, so a caption's texts would too. Here the
engine always searches (beam search, which is deterministic) and the draw is made among its results.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from laclip_aug.backtranslation.translator import Translation
from laclip_aug.seeding import generator


def ranked(candidates: Sequence[Translation], temperature: float, *key: int | str) -> list[Translation]:
    """``candidates`` in the order in which they are to be used: a permutation that depends on ``key`` alone.

    At temperature 0 they keep their order, best first. Above it they are drawn without replacement, each with a
    probability proportional to ``exp(score / temperature)`` among those left, by the Gumbel-top-k identity: sorting by
    ``score / T - log(-log(u))`` with ``u`` uniform is such a draw. Source: Kool, van Hoof and Welling 2019, section 2.
    """
    if temperature == 0:
        return list(candidates)
    rng = generator("back-translation", *key)
    noisy = []
    for candidate in candidates:
        uniform = max(rng.random(), 1e-300)
        noisy.append(candidate.score / temperature - math.log(-math.log(uniform)))
    order = sorted(range(len(candidates)), key=lambda i: -noisy[i])
    return [candidates[i] for i in order]

"""All that is known of a text as it is written, in one number: is it true, and in sound English?

A logistic model of what its writer tells of it (its verdict, if it learned to judge, and its likelihood), of what
``truth`` looks at, and of how it is put together. The weights were fitted to texts of the embedded rewriter, and are
for it alone; how well it tells them apart is in ``benchmarks/results/quality.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import Path

from laclip_aug.quality import truth
from laclip_aug.quality.logistic import Logistic
from laclip_aug.quality.signals import UNKNOWN, Signal, TextPair
from laclip_aug.quality.stems import words_of

FILE = Path(__file__).parent / "sound.json"
PREPOSITIONS = frozenset("after as at before by during for from in into near of on over to under with".split())
_MOST = 8.0  # of log-odds: beyond that a verdict is no surer
_WORDS = 200  # that are matched up, which takes time with the product of their numbers


class Sound(Signal):
    """How likely the text is true and in sound English, 0 to 1, by the embedded rewriter's own numbers and `truth`."""

    def describe(self) -> str:
        """Which weights."""
        return _model().content_hash

    def measure(self, pairs: Sequence[TextPair]) -> list[float]:
        """The probabilities; what a cache kept of a text whose writer has gone, unknown where it kept none."""
        found = [UNKNOWN if pair.sound is None else pair.sound for pair in pairs]
        told = [i for i, pair in enumerate(pairs) if pair.verdict is not None and pair.log_likelihood is not None]
        rows = [features(pairs[i]) for i in told]
        for i, probability in zip(told, _model().probabilities(rows), strict=True):
            found[i] = probability
        return found


def features(pair: TextPair) -> dict[str, float]:
    """The verdict in log-odds, the likelihood, what ``truth`` looks at, and three numbers of the text's make.

    ``stretches`` is in how many pieces the caption's wording is taken over, for each word of the text;
    ``prepositions`` and ``commas`` how many the text has that the caption has not, in fives, five at most. They suit
    this writer, which puts old words together anew; of a person's free wording they would think too little.

    Raises:
        TypeError: the pair carries no verdict or no likelihood.
    """
    if pair.verdict is None or pair.log_likelihood is None:
        raise TypeError("a pair without its writer's verdict and likelihood has no such features")
    sure = 1 / (1 + math.exp(-_MOST))
    verdict = min(max(pair.verdict, 1 - sure), sure)
    own = {"verdict": math.log(verdict / (1 - verdict)), "likelihood": pair.log_likelihood}
    return own | truth.features(pair.caption, pair.text) | _make(pair.caption, pair.text)


def _make(caption: str, text: str) -> dict[str, float]:
    before, after = words_of(caption), words_of(text)
    blocks = SequenceMatcher(None, before[:_WORDS], after[:_WORDS], autojunk=False).get_matching_blocks()
    new = PREPOSITIONS.difference(before)
    return {
        "stretches": (len(blocks) - 1) / len(after) if after else 0.0,  # the last block is empty, and always there
        "prepositions": min(1.0, sum(word in new for word in after) / 5),
        "commas": min(1.0, max(0, text.count(",") - caption.count(",")) / 5),
    }


@lru_cache(maxsize=1)
def _model() -> Logistic:
    return Logistic(FILE)

"""In-context examples that are most like the caption, in place of a few fixed prompts.

Of a strategy's pairs those whose captions are nearest to the caption's are shown, by cosine of character n-grams
(:mod:`laclip_aug.quality.neighbours`) and faiss (after Liu et al. 2022, "What Makes Good In-Context Examples for
GPT-3?"). Captions then share no prefix, so that a whole prompt is read for nearly each of them: with 16 pairs a
strategy there are 3,360 prompts. ``benchmarks/results/quality.md`` has what that costs, and that a small
model gained nothing by it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from laclip_aug.generation.backend import Job
from laclip_aug.quality.neighbours import DIMENSIONS, Embedding, library
from laclip_aug.rewrite.examples import Pair
from laclip_aug.rewrite.prompt import SHOTS, InContextPrompt, sha256_of, shown_caption

_NEAREST = 12
"""Pairs that are ranked; further attempts and further texts of a strategy see those that come next."""
_KNOWN = 1 << 14


class NearestPrompt(InContextPrompt):
    """The paper's layout with the three pairs most like the caption, the nearest last, next to the caption.

    A variant is the three places of the pairs in their strategy, as one number.

    Args:
        pairs: the meta-input-output pairs of each strategy; with more of them, nearer ones are found.
        chat: word the same as a user's message to an instruct model.

    Raises:
        ConfigurationError: as :class:`InContextPrompt`.
        MissingExtraError: faiss or scikit-learn is not installed.
    """

    def __init__(self, pairs: Mapping[str, Sequence[Pair]], chat: bool = False) -> None:
        super().__init__(pairs, variants=1, chat=chat)
        faiss = library()
        self._pairs = {strategy: tuple(own) for strategy, own in pairs.items()}
        self._embed = Embedding()
        self._indices: dict[str, Any] = {}
        for strategy, own in self._pairs.items():
            self._indices[strategy] = faiss.IndexFlatIP(DIMENSIONS)
            self._indices[strategy].add(self._embed([pair.caption for pair in own]))
        self._ranked = lru_cache(maxsize=_KNOWN)(self._ranking)

    def variant(self, strategy: str, caption: str, place: int, attempt: int) -> int:
        """The three nearest; for text or attempt ``k`` of a strategy those that come ``k`` places later."""
        ranked = self._ranked(strategy, shown_caption(caption))
        first = place // len(self.strategies) + attempt
        number = 0
        for near in reversed(range(first, first + SHOTS)):
            number = number * len(self._pairs[strategy]) + ranked[near % len(ranked)]
        return number

    def examples(self, strategy: str, variant: int) -> tuple[Pair, ...]:
        """The three pairs that ``variant`` stands for."""
        own = self._pairs[strategy]
        places = []
        for _ in range(SHOTS):
            variant, place = divmod(variant, len(own))
            places.append(place)
        return tuple([own[place] for place in reversed(places)])

    def job(self, strategy: str, variant: int, shown: str, seed: int, tag: Hashable) -> Job:
        """The completion to ask for; ``shown`` comes from ``shown_caption``."""
        prefix = self.prefix(self.examples(strategy, variant))
        return Job(prefix, self._lead, shown, self._tail, seed, tag, chat=self.chat)

    def describe(self) -> dict[str, Any]:
        """Layout and a hash of all pairs, for a manifest."""
        parts = [[strategy, [[p.caption, p.rewrite] for p in own]] for strategy, own in self._pairs.items()]
        return {
            "layout": "chat" if self.chat else "in-context",
            "variants": "nearest",
            "prompt_sha256": sha256_of([parts, self.prefix(()), self._lead, self._tail, self.chat]),
        }

    def _ranking(self, strategy: str, shown: str) -> list[int]:
        """Places of the nearest pairs, best first."""
        index = self._indices[strategy]
        _, near = index.search(self._embed([shown]), min(_NEAREST, index.ntotal))
        return [int(place) for place in near[0]]

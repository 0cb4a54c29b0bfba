"""Which texts of a caption to train on: a function of (seed, epoch, caption, image) and of nothing else.

LaCLIP (Fan et al. 2023, section 3.2) draws one text uniformly from the original caption and its M rewrites; LaCLIP-MT
(section 5) uses all M + 1 in each step. Both are here, over anything that can look up rewrites: a cache or an
augmenter. No global random state is read, so loader workers, batch order and restarts change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Protocol

from laclip_aug.augmenter import CaptionAugmenter, Rewrite
from laclip_aug.cache.keys import normalise
from laclip_aug.errors import CacheMissError, ConfigurationError, UnknownNameError
from laclip_aug.quality.checks import is_short
from laclip_aug.seeding import derive, generator

ORIGINAL = "original"
"""The source of a text that is the caption itself."""
_Key = tuple[int | str | bytes, ...]


class RewriteLookup(Protocol):
    """Where rewrites come from: a cache, or an augmenter through :class:`AugmenterLookup`."""

    @property
    def sources(self) -> Sequence[str]:
        """The kinds of text, in their fixed order."""

    def get(self, caption: str) -> Sequence[Rewrite] | None:
        """The rewrites of ``caption``, possibly none; ``None`` where the caption is unknown."""


class AugmenterLookup:
    """Rewrites that an augmenter makes when they are asked for: ``n`` per caption, new ones in each epoch."""

    def __init__(self, augmenter: CaptionAugmenter, n: int, seed: int) -> None:
        self.augmenter = augmenter
        self.n = n
        self.seed = seed
        self.sources: Sequence[str] = augmenter.sources

    def get(self, caption: str, epoch: int = 0) -> tuple[Rewrite, ...]:
        """``n`` texts at most, a function of (seed, epoch, caption); one that equals the caption is left out."""
        (texts,) = self.augmenter.augment([caption], self.n, derive(self.seed, epoch))
        sources = self.sources
        return tuple(Rewrite(sources[j % len(sources)], text) for j, text in enumerate(texts) if text != caption)


@dataclass(frozen=True, slots=True)
class Draw:
    """The texts of one caption in one epoch, and where each came from.

    ``short`` counts texts of fewer than two words, for which the original stands in; ``missed`` says that the lookup
    did not know the caption.
    """

    texts: tuple[str, ...]
    sources: tuple[str, ...]
    short: int = 0
    missed: bool = False


class TextSampler:
    """Draws the training texts of a caption.

    With ``multi`` false (LaCLIP), one text: uniformly from the original and the rewrites that there are, or the
    original with probability ``original_prob`` and a uniform rewrite else. With ``multi`` true (LaCLIP-MT),
    ``num_texts`` texts, the original first: the original and the rewrites in the order of ``strategies``, repeated from
    the start where there are fewer than ``pool``. Below ``pool``, the texts to use are drawn anew in each epoch, and
    none is there twice while another is free.

    Args:
        lookup: the rewrites.
        multi: LaCLIP-MT instead of LaCLIP.
        pool: texts per caption, the original included; what ``num_texts`` defaults to. By default one per strategy
            and the original.
        num_texts: texts per image and step in LaCLIP-MT.
        strategies: the sources to use, in this order; all of the lookup's by default.
        original_prob: probability of the original in LaCLIP.
        seed: everything drawn is a function of (seed, epoch, caption), and of the image's key where it is known.
        on_miss: ``"error"`` or ``"original"``, for a caption that the lookup does not know.

    Raises:
        UnknownNameError: a strategy is none of the lookup's sources.
        ConfigurationError: ``num_texts`` is over ``pool``, or below 1.
    """

    def __init__(
        self,
        lookup: RewriteLookup,
        *,
        multi: bool = False,
        pool: int | None = None,
        num_texts: int | None = None,
        strategies: Sequence[str] | None = None,
        original_prob: float | None = None,
        seed: int = 0,
        on_miss: str = "error",
    ) -> None:
        for strategy in strategies or ():
            if strategy not in lookup.sources:
                raise UnknownNameError("strategy", strategy, lookup.sources)
        self.lookup = lookup
        self.multi = multi
        self.strategies = tuple(lookup.sources if strategies is None else strategies)
        self.pool = len(self.strategies) + 1 if pool is None else pool
        self.num_texts = (num_texts or self.pool) if multi else 1
        if num_texts is not None and not 1 <= num_texts <= self.pool:
            raise ConfigurationError(
                f"{num_texts} texts per image asked for, but there are {self.pool} for each caption, the original "
                f"included; ask for 1 to {self.pool}"
            )
        self.original_prob = original_prob
        self.seed = seed
        self.on_miss = on_miss
        self._rank: Mapping[str, int] = {strategy: place for place, strategy in enumerate(self.strategies)}

    @property
    def changes_texts(self) -> bool:
        """False if every draw is the caption alone: one text per image in LaCLIP-MT, or an empty cache."""
        empty = isinstance(self.lookup, Sized) and len(self.lookup) == 0
        return self.num_texts > 1 or not (self.multi or empty)

    def texts(self, caption: str, epoch: int, image: bytes = b"") -> tuple[str, ...]:
        """The ``num_texts`` texts of ``caption`` in ``epoch``, for the image of that key."""
        return self.draw(caption, epoch, image).texts

    def draw(self, caption: str, epoch: int, image: bytes = b"") -> Draw:
        """The ``num_texts`` texts of ``caption`` in ``epoch``, with their sources.

        ``image`` is the key of the caption's image (:func:`laclip_aug.training.pairing.image_key`). Without it, images
        that share a caption share its draw.

        Raises:
            CacheMissError: the lookup does not know ``caption`` and ``on_miss`` is ``"error"``.
        """
        if self.multi and self.num_texts == 1:
            return Draw((caption,), (ORIGINAL,))
        lookup = self.lookup
        found = lookup.get(caption, epoch) if isinstance(lookup, AugmenterLookup) else lookup.get(caption)
        if found is None:
            if self.on_miss == "error":
                raise CacheMissError(
                    f"no rewrites of {caption[:200]!r} in the cache; add them with laclip-aug build on the training "
                    "captions, or train with --text-aug-on-miss original"
                )
            return Draw((caption,) * self.num_texts, (ORIGINAL,) * self.num_texts, missed=True)
        rewrites = [rewrite for rewrite in found if rewrite.source in self._rank]
        rewrites.sort(key=lambda rewrite: self._rank[rewrite.source])
        original = Rewrite(ORIGINAL, caption)
        # files of different kinds differ in white space around a caption
        key: _Key = (self.seed, epoch, normalise(caption), *([image] if image else []))
        chosen = self._slots(original, rewrites, key) if self.multi else [self._one(original, rewrites, key)]
        texts, sources, short = [], [], 0
        for rewrite in chosen:
            if is_short(rewrite.text):
                short += rewrite is not original
                rewrite = original
            texts.append(rewrite.text)
            sources.append(rewrite.source)
        return Draw(tuple(texts), tuple(sources), short)

    def _one(self, original: Rewrite, rewrites: list[Rewrite], key: _Key) -> Rewrite:
        if not rewrites:
            return original
        draw = derive(*key)
        if self.original_prob is None:
            return [original, *rewrites][draw % (1 + len(rewrites))]
        if draw < self.original_prob * 2**64:
            return original
        return rewrites[derive(*key, "rewrite") % len(rewrites)]

    def _slots(self, original: Rewrite, rewrites: list[Rewrite], key: _Key) -> list[Rewrite]:
        if self.num_texts >= self.pool:
            return list(islice(cycle([original, *rewrites]), self.num_texts))
        seen = {original.text}
        others = [r for r in rewrites if not (is_short(r.text) or r.text in seen or seen.add(r.text))]  # type: ignore[func-returns-value]
        if len(others) < self.num_texts:
            return list(islice(cycle([original, *others]), self.num_texts))
        draw = generator(*key)
        return [original, *(others[place] for place in sorted(draw.sample(range(len(others)), self.num_texts - 1)))]

"""Which texts of a caption to train on: a function of (seed, epoch, caption, image) and of nothing else.

LaCLIP (Fan et al. 2023, section 3.2) draws one text uniformly from the original caption and its M rewrites; LaCLIP-MT
(section 5) uses all M + 1 in each step. Both are here, over anything that can look up rewrites, caches and augmenters,
and with a weight for each source of texts. No global random state is read, so loader workers, batch order and restarts
change nothing.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import accumulate, cycle, islice

from laclip_aug.augmenter import Rewrite
from laclip_aug.cache.keys import normalise
from laclip_aug.errors import CacheMissError, ConfigurationError, UnknownNameError
from laclip_aug.quality.checks import is_short
from laclip_aug.seeding import derive, generator
from laclip_aug.training.sources import ORIGINAL, AugmenterLookup, RewriteLookup, is_by_image, names_of, place_of

_Key = tuple[int | str | bytes, ...]


@dataclass(frozen=True, slots=True)
class Draw:
    """The texts of one caption in one epoch, and where each came from.

    ``short`` counts texts of fewer than two words, for which the original stands in; ``missed`` is the
    number of lookups that did not know the caption.
    """

    texts: tuple[str, ...]
    sources: tuple[str, ...]
    short: int = 0
    missed: int = 0


class TextSampler:
    """Draws the training texts of a caption.

    With ``multi`` false (LaCLIP), one text: uniformly from the original and the rewrites that there are. With ``multi``
    true (LaCLIP-MT), ``num_texts`` texts, the original first: the original and the rewrites in the order of
    ``strategies``, repeated from the start where there are fewer than ``pool``. Below ``pool``, the texts to use are
    drawn anew in each epoch, and none is there twice while another is free.

    With ``weights``, what is drawn next is of a source with a probability in proportion to its weight, among the
    sources that have a text left for the caption, and any of that source's texts.

    Args:
        lookups: the rewrites; of several, all that any has for a caption.
        multi: LaCLIP-MT instead of LaCLIP.
        pool: texts per caption, the original included; what ``num_texts`` defaults to. By default one per strategy
            and the original.
        num_texts: texts per image and step in LaCLIP-MT.
        strategies: the sources to use, in this order; all of the lookups' by default. They are named as
            :func:`~laclip_aug.training.sources.names_of` says.
        original_prob: probability of the original in LaCLIP, whatever the number of rewrites.
        weights: by source, ``"original"`` among them; 1 for a source that is not there, 0 leaves one out.
        seed: everything drawn is a function of (seed, epoch, caption), and of the image's key where it is known.
        on_miss: ``"error"`` or ``"original"``, for a caption that a lookup does not know, which is then drawn without.

    Raises:
        UnknownNameError: a strategy, or a source with a weight, is none of the lookups'.
        ConfigurationError: ``num_texts`` is over ``pool``, or below 1; two lookups cannot be told apart; ``weights``
            leave nothing, or are of a source that is not among ``strategies``.
    """

    def __init__(
        self,
        *lookups: RewriteLookup,
        multi: bool = False,
        pool: int | None = None,
        num_texts: int | None = None,
        strategies: Sequence[str] | None = None,
        original_prob: float | None = None,
        weights: Mapping[str, float] | None = None,
        seed: int = 0,
        on_miss: str = "error",
    ) -> None:
        names = names_of(lookups)
        there_are = [name for one in names for name in one.values()]
        for strategy in strategies or ():
            if strategy not in there_are:
                raise UnknownNameError("strategy", strategy, there_are)
        for source, weight in (weights or {}).items():
            if source not in (ORIGINAL, *there_are):
                raise UnknownNameError("source of texts with a weight:", source, (ORIGINAL, *there_are))
            if weight and strategies is not None and source not in (ORIGINAL, *strategies):
                raise ConfigurationError(
                    f"{source} has a weight and is not chosen: the strategies are {', '.join(strategies)}; name it "
                    "among them, or leave out its weight"
                )
        chosen = there_are if strategies is None else strategies
        self.lookups = lookups
        self.multi = multi
        self.strategies = tuple(name for name in chosen if weights is None or weights.get(name, 1) > 0)
        if weights is not None and weights.get(ORIGINAL, 1) == 0 and not self.strategies:
            raise ConfigurationError("the weights leave no text to draw; give a source more than 0")
        self.pool = len(self.strategies) + 1 if pool is None else pool
        self.num_texts = (num_texts or self.pool) if multi else 1
        if num_texts is not None and not 1 <= num_texts <= self.pool:
            raise ConfigurationError(
                f"{num_texts} texts per image asked for, but there are {self.pool} for each caption, the original "
                f"included; ask for 1 to {self.pool}"
            )
        self.original_prob = original_prob
        self.weights = weights
        self.seed = seed
        self.on_miss = on_miss
        self._rank: Mapping[str, int] = {strategy: place for place, strategy in enumerate(self.strategies)}
        self._names = [{source: name for source, name in one.items() if name in self._rank} for one in names]

    @property
    def changes_texts(self) -> bool:
        """False if every draw is the caption alone: one text per image in LaCLIP-MT, or empty caches."""
        empty = all(isinstance(lookup, Sized) and len(lookup) == 0 for lookup in self.lookups)
        return self.num_texts > 1 or not (self.multi or empty)

    @property
    def caches(self) -> list[tuple[RewriteLookup, list[str]]]:
        """The lookups that may miss a caption, each with its sources that are used, by its own names for them."""
        both = zip(self.lookups, self._names, strict=True)
        return [(lookup, list(names)) for lookup, names in both if not isinstance(lookup, AugmenterLookup)]

    def texts(self, caption: str, epoch: int, image: bytes = b"") -> tuple[str, ...]:
        """The ``num_texts`` texts of ``caption`` in ``epoch``, for the image of that key."""
        return self.draw(caption, epoch, image).texts

    def draw(self, caption: str, epoch: int, image: bytes = b"", key: str | None = None) -> Draw:
        """The ``num_texts`` texts of ``caption`` in ``epoch``, with their sources.

        ``image`` is the key of the caption's image (:func:`laclip_aug.training.pairing.image_key`), and ``key`` the one
        under which a cache that is keyed by images knows it, empty if it has none. Without both, images that share a
        caption share its draw.

        Raises:
            ConfigurationError: a cache is keyed by images, and there is no ``key``.
            CacheMissError: a lookup does not know ``caption`` and ``on_miss`` is ``"error"``.
        """
        if self.multi and self.num_texts == 1:
            return Draw((caption,), (ORIGINAL,))
        image = image or (key or "").encode("utf-8", "surrogatepass")
        rewrites, missed = self._found(caption, epoch, image, key)
        original = Rewrite(ORIGINAL, caption)
        # files of different kinds differ in white space around a caption
        by: _Key = (self.seed, epoch, normalise(caption), *([image] if image else []))
        if not rewrites:
            chosen = [original] * self.num_texts
        elif self.multi:
            chosen = self._slots(original, rewrites, by)
        else:
            chosen = _drawn([original, *rewrites], self._weights_of(original, rewrites), 1, by)
        texts, sources, short = [], [], 0
        for rewrite in chosen:
            if is_short(rewrite.text):
                short += rewrite is not original
                rewrite = original
            texts.append(rewrite.text)
            sources.append(rewrite.source)
        return Draw(tuple(texts), tuple(sources), short, missed)

    def _found(self, caption: str, epoch: int, image: bytes, key: str | None) -> tuple[list[Rewrite], int]:
        """What the lookups have for ``caption``, in the order of ``strategies``; and how many do not know it."""
        rewrites: list[Rewrite] = []
        missed = 0
        for lookup, names in zip(self.lookups, self._names, strict=True):
            by_image = is_by_image(lookup)
            if isinstance(lookup, AugmenterLookup):
                found: Sequence[Rewrite] | None = lookup.get(caption, epoch, image)
            elif by_image:
                found = None if key == "" else lookup.get(caption, key or "")  # type: ignore[call-arg]
            else:
                found = lookup.get(caption)
            if found is None:
                if self.on_miss == "error" and by_image:
                    raise CacheMissError(
                        f"no rewrites of the image {(key or '')[:200]!r} in the cache {place_of(lookup)}; import its "
                        "row, or let the original stand in with on_miss='original'"
                    )
                if self.on_miss == "error":
                    raise CacheMissError(
                        f"no rewrites of {caption[:200]!r} in the cache {place_of(lookup)}; add them with laclip-aug "
                        "build on the training captions, or train with --text-aug-on-miss original "
                        "(on_miss='original' in a loop of your own)"
                    )
                missed += 1
                continue
            for rewrite in found:
                if (name := names.get(rewrite.source)) is not None:
                    rewrites.append(rewrite if name == rewrite.source else Rewrite(name, rewrite.text, rewrite.told))
        rewrites.sort(key=lambda rewrite: self._rank[rewrite.source])
        return rewrites, missed

    def _weights_of(self, original: Rewrite, rewrites: Sequence[Rewrite]) -> list[float]:
        """The weights of the original and of each of ``rewrites``."""
        if self.weights is not None:
            share = Counter(rewrite.source for rewrite in rewrites)
            given = self.weights.get
            return [given(ORIGINAL, 1.0), *(given(r.source, 1.0) / share[r.source] for r in rewrites)]
        if self.original_prob is not None:
            return [self.original_prob, *[(1 - self.original_prob) / len(rewrites)] * len(rewrites)]
        return [1.0] * (1 + len(rewrites))

    def _slots(self, original: Rewrite, rewrites: list[Rewrite], key: _Key) -> list[Rewrite]:
        if self.num_texts >= self.pool:
            return list(islice(cycle([original, *rewrites]), self.num_texts))
        seen = {original.text}
        others = [r for r in rewrites if not (is_short(r.text) or r.text in seen or seen.add(r.text))]  # type: ignore[func-returns-value]
        if len(others) < self.num_texts:
            return list(islice(cycle([original, *others]), self.num_texts))
        return [original, *_drawn(others, self._weights_of(original, others)[1:], self.num_texts - 1, key)]


def _drawn(texts: Sequence[Rewrite], weights: Sequence[float], n: int, key: _Key) -> list[Rewrite]:
    """``n`` of ``texts`` in their order, drawn one after another by ``weights``, none twice; a function of ``key``."""
    if n == 1:
        upto = list(accumulate(weights))
        return [texts[bisect(upto, (derive(*key) >> 11) / 2**53 * upto[-1], hi=len(texts) - 1)]]
    draw = generator(*key)
    # a race: of waiting times that are exponential at the rates of the weights, the first n are such a draw
    waits = [(draw.expovariate(weight), place) for place, weight in enumerate(weights)]
    return [texts[place] for place in sorted(place for _, place in sorted(waits)[:n])]

"""Where texts come from: caches, and augmenters that work while loading; and what each kind of text is called.

Several of them can serve one run. A kind of text keeps the name that its cache or augmenter gives it, such as
``chatgpt``; where two have the same, both are told apart by their place: ``rewrites/chatgpt``, ``imported/chatgpt``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from laclip_aug.augmenter import CaptionAugmenter, Rewrite
from laclip_aug.errors import ConfigurationError
from laclip_aug.seeding import derive

ORIGINAL = "original"
"""The source of a text that is the caption itself."""


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

    def get(self, caption: str, epoch: int = 0, image: bytes = b"") -> tuple[Rewrite, ...]:
        """``n`` texts at most, a function of (seed, epoch, caption, image); one equal to the caption is left out."""
        drawn = derive(self.seed, epoch, image) if image else derive(self.seed, epoch)
        (texts,) = self.augmenter.augment([caption], self.n, drawn)
        sources = self.sources
        return tuple(Rewrite(sources[j % len(sources)], text) for j, text in enumerate(texts) if text != caption)


def is_by_image(lookup: RewriteLookup) -> bool:
    """Whether a lookup is a cache that finds rewrites by the keys of images, which it is asked for beside captions."""
    return bool(getattr(lookup, "by_image", False))


def place_of(lookup: RewriteLookup) -> str:
    """What a lookup is called: a cache's directory without those above it, or the augmenter's name."""
    if isinstance(lookup, AugmenterLookup):
        return lookup.augmenter.name
    directory = getattr(lookup, "directory", None)
    return type(lookup).__name__.lower() if directory is None else str(directory.resolve().name)


def names_of(lookups: Sequence[RewriteLookup]) -> list[Mapping[str, str]]:
    """For each of ``lookups``, the name of each of its sources in a run that has them all.

    Raises:
        ConfigurationError: two of the same place have the same source.
    """
    shared = Counter(source for lookup in lookups for source in set(lookup.sources))
    shared[ORIGINAL] += 1  # the caption itself
    found: list[Mapping[str, str]] = [
        {s: s if shared[s] == 1 else f"{place_of(lookup)}/{s}" for s in dict.fromkeys(lookup.sources)}
        for lookup in lookups
    ]
    for name, times in Counter(name for names in found for name in names.values()).items():
        if times > 1:
            raise ConfigurationError(
                f"two sources of texts are called {name}; give one of the caches' directories another name, or leave "
                "one out if they are the same"
            )
    return found

"""The sampler that options describe, and what tells its texts from others'."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from laclip_aug.augmenter import Rewrite, create_augmenter
from laclip_aug.errors import ConfigurationError
from laclip_aug.training.options import TextAugOptions
from laclip_aug.training.sampling import TextSampler
from laclip_aug.training.sources import AugmenterLookup, RewriteLookup, names_of, place_of


class _NoRewrites:
    """Knows every caption, and no rewrite of any."""

    sources: Sequence[str] = ()

    def __len__(self) -> int:
        return 0

    def get(self, caption: str) -> Sequence[Rewrite]:
        return ()


def sampler_for(options: TextAugOptions) -> TextSampler:
    """The sampler that ``options`` describe, over caches and augmenters that work while loading.

    Raises:
        ConfigurationError: the options do not fit what there is.
        CacheError: a cache cannot be read.
    """
    if options.mode == "none":  # linked augmentation alone
        return TextSampler(_NoRewrites(), multi=True, seed=options.seed)
    from laclip_aug.cache.lookup import CaptionCache

    caches = [CaptionCache(directory) for directory in options.caches]
    makers = [
        AugmenterLookup(create_augmenter(name, **options.options_of(name)), number, options.seed)
        for name, number in options.made.items()
    ]
    names = names_of([*caches, *makers])
    chosen = {name for one in names for name in one.values()} if options.strategies is None else options.strategies
    pool = 1 + sum(
        cache.most([source for source, name in own.items() if name in chosen and not _is_out(name, options)])
        for cache, own in zip(caches, names, strict=False)
    )
    pool += sum(
        maker.n
        for maker, own in zip(makers, names[len(caches) :], strict=True)
        if any(name in chosen and not _is_out(name, options) for name in own.values())
    )
    multi = options.mode == "laclip-mt"
    sampler = TextSampler(
        *caches,
        *makers,
        multi=multi,
        pool=pool,
        num_texts=options.num_texts if multi else None,
        strategies=options.strategies,
        original_prob=options.original_prob,
        weights=options.weights,
        seed=options.seed,
        on_miss="original" if options.max_miss else options.on_miss,
    )
    if multi and options.weights and any(options.weights.values()) and sampler.num_texts == pool:
        raise ConfigurationError(
            f"--text-aug-weights choose nothing where all {pool} texts of a caption are taken; take fewer, such as "
            f"--text-aug-num-texts {max(1, pool - 1)}"
        )
    return sampler


def _is_out(name: str, options: TextAugOptions) -> bool:
    return options.weights is not None and options.weights.get(name) == 0


def origin(sampler: TextSampler) -> dict[str, str]:
    """What made the texts, as ``texts``, and a hash that differs where they could: ``fingerprint``."""
    found = [_origin(lookup) for lookup in sampler.lookups]
    if len(found) == 1:
        (fingerprint, about) = found[0]
        return {"fingerprint": fingerprint, "texts": json.dumps(about, default=str)}
    together = hashlib.sha256("\n".join(fingerprint for fingerprint, _ in found).encode()).hexdigest()[:32]
    names = [place_of(lookup) for lookup in sampler.lookups]
    texts = [{"from": name, **about} for name, (_, about) in zip(names, found, strict=True)]
    return {"fingerprint": together, "texts": json.dumps(texts, default=str)}


def _origin(lookup: RewriteLookup) -> tuple[str, dict[str, Any]]:
    if isinstance(lookup, AugmenterLookup):
        return lookup.augmenter.fingerprint(), lookup.augmenter.describe()
    fingerprint = getattr(lookup, "fingerprint", None)
    about = {"captions": len(lookup), "sources": list(lookup.sources)}  # type: ignore[arg-type]
    return fingerprint() if callable(fingerprint) else "", about

"""The sampler that options describe, and what tells its texts from others'."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from laclip_aug.augmenter import Rewrite, create_augmenter
from laclip_aug.training.options import DEFAULT_POOL, TextAugOptions
from laclip_aug.training.sampling import AugmenterLookup, TextSampler


class _NoRewrites:
    """Knows every caption, and no rewrite of any."""

    sources: Sequence[str] = ()

    def __len__(self) -> int:
        return 0

    def get(self, caption: str) -> Sequence[Rewrite]:
        return ()


def sampler_for(options: TextAugOptions) -> TextSampler:
    """The sampler that ``options`` describe, over a cache or over an augmenter that works while loading."""
    shared: dict[str, Any] = {"seed": options.seed, "original_prob": options.original_prob}
    if options.mode == "none":  # linked augmentation alone
        return TextSampler(_NoRewrites(), multi=True, seed=options.seed)
    if options.cache is None:
        pool = DEFAULT_POOL if options.num_texts is None else options.num_texts
        augmenter = create_augmenter(options.mode, **options.augmenter_options)
        return TextSampler(AugmenterLookup(augmenter, pool - 1, options.seed), pool=pool, **shared)
    from laclip_aug.cache.lookup import CaptionCache

    cache = CaptionCache(options.cache)
    return TextSampler(
        cache,
        multi=options.mode == "laclip-mt",
        pool=1 + cache.most(cache.sources if options.strategies is None else options.strategies),
        num_texts=options.num_texts,
        strategies=options.strategies,
        on_miss="original" if options.max_miss else options.on_miss,
        **shared,
    )


def origin(sampler: TextSampler) -> dict[str, str]:
    """What made the texts, as ``texts``, and a hash that differs where they could: ``fingerprint``."""
    if isinstance(sampler.lookup, AugmenterLookup):
        augmenter = sampler.lookup.augmenter
        return {"fingerprint": augmenter.fingerprint(), "texts": json.dumps(augmenter.describe(), default=str)}
    fingerprint = getattr(sampler.lookup, "fingerprint", None)
    about = {"captions": len(sampler.lookup), "sources": list(sampler.lookup.sources)}  # type: ignore[arg-type]
    return {"fingerprint": fingerprint() if callable(fingerprint) else "", "texts": json.dumps(about)}

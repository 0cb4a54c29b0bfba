"""laclip-aug: text augmentation for CLIP training.

Importing this package loads none of torch, open_clip or llama_cpp and changes nothing; the public names below are
loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from laclip_aug.version import __version__

if TYPE_CHECKING:
    from laclip_aug.augmenter import CaptionAugmenter, Outcome, Rejection, Rewrite, augmenter_names, create_augmenter
    from laclip_aug.cache.build import build_cache
    from laclip_aug.cache.lookup import CaptionCache
    from laclip_aug.errors import LaclipError

_HOMES = {
    "CaptionCache": "laclip_aug.cache.lookup",
    "build_cache": "laclip_aug.cache.build",
    "CaptionAugmenter": "laclip_aug.augmenter",
    "LaclipError": "laclip_aug.errors",
    "Outcome": "laclip_aug.augmenter",
    "Rejection": "laclip_aug.augmenter",
    "Rewrite": "laclip_aug.augmenter",
    "augmenter_names": "laclip_aug.augmenter",
    "create_augmenter": "laclip_aug.augmenter",
}

__all__ = [
    "CaptionAugmenter",
    "CaptionCache",
    "LaclipError",
    "Outcome",
    "Rejection",
    "Rewrite",
    "__version__",
    "augmenter_names",
    "build_cache",
    "create_augmenter",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])

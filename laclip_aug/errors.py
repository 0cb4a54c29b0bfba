"""Every error this package raises on purpose.

::

    LaclipError
    ├── ConfigurationError (ValueError)      an option, or a combination of options, is wrong
    │   └── UnknownNameError                 a name that is not registered; suggests the nearest
    ├── MissingExtraError (ImportError)      an optional dependency is absent; names the pip command
    ├── InputError (ValueError)              a caption file cannot be read, or is not what it was said to be
    ├── ModelError                           a model file or a generation engine cannot be used
    │   └── BackendError                     a remote generation server failed for good
    ├── CacheError
    │   ├── CacheFormatError                 not a cache, or one of another format version
    │   ├── CacheMismatchError               the cache was built with another configuration
    │   ├── CacheCorruptError                a file of the cache is damaged
    │   └── CacheMissError (KeyError)        a caption is not in the cache
    └── UnsupportedOpenClipError             the installed open_clip lacks a seam that the hook needs

Each message says what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LaclipError(Exception):
    """Base of all errors of this package."""


class ConfigurationError(LaclipError, ValueError):
    """An option, or a combination of options, is wrong."""


class UnknownNameError(ConfigurationError):
    """A name that is not known, with the nearest known ones.

    ``UnknownNameError("augmenter", "edaa", ["eda", "llm"])`` reads
    ``unknown augmenter 'edaa'; did you mean 'eda'? (known: eda, llm)``.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        super().__init__(f"unknown {kind} {name!r}{hint} (known: {', '.join(names) or 'none'})")


class MissingExtraError(LaclipError, ImportError):
    """An optional dependency is not installed.

    ``MissingExtraError("llm", "llama_cpp")`` names the pip command that installs it.
    """

    def __init__(self, extra: str, module: str) -> None:
        super().__init__(f"this needs the module {module!r}; install it with: pip install 'laclip-aug[{extra}]'")
        self.extra = extra


class InputError(LaclipError, ValueError):
    """A caption file cannot be read, or is not what it was said to be."""


class ModelError(LaclipError):
    """A model file or a generation engine cannot be used."""


class BackendError(ModelError):
    """A remote generation server failed for good, after its retries."""


class CacheError(LaclipError):
    """Base of the errors about a rewrite cache."""


class CacheFormatError(CacheError):
    """The directory is no cache, or one of another format version."""


class CacheMismatchError(CacheError):
    """The cache was built with another configuration than the one asked for."""


class CacheCorruptError(CacheError):
    """A file of the cache is damaged."""


class CacheMissError(CacheError, KeyError):
    """A caption is not in the cache."""

    __str__ = Exception.__str__  # KeyError would quote the sentence


class UnsupportedOpenClipError(LaclipError):
    """The installed open_clip lacks a seam that the hook needs."""

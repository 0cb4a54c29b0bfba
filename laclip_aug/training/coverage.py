"""How much of the training data the cache covers, found on a sample before training starts.

A cache built from another file, or with another caption column, would otherwise show after hours, or not at all.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import Any

from laclip_aug.errors import CacheMissError, InputError
from laclip_aug.exchange.addresses import is_address, scheme_of, through_a_pipe
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.places import about_directory
from laclip_aug.exchange.tars import TextKeys, tar_captions
from laclip_aug.seeding import generator
from laclip_aug.training.sampling import RewriteLookup

SAMPLE_SIZE = 1000
_MAX_SHARDS = 4  # opened at the start, possibly over a network


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of ``sampled`` captions, ``found`` are in the cache with ``rewrites`` texts in all; ``missing`` names some."""

    sampled: int
    found: int
    rewrites: int
    missing: tuple[str, ...]

    def __str__(self) -> str:
        share = 100 * self.found / max(1, self.sampled)
        return (
            f"text augmentation: {self.found} of {self.sampled} sampled training captions ({share:.1f}%) are in the "
            f"cache, with {self.rewrites / max(1, self.found):.2f} rewrites each"
        )


def measure(lookup: RewriteLookup, captions: Iterable[str]) -> Coverage:
    """Look every caption up."""
    sampled = found = rewrites = 0
    missing: list[str] = []
    for caption in captions:
        sampled += 1
        texts = lookup.get(caption)
        if texts is None:
            missing.append(caption)
        else:
            found += 1
            rewrites += len(texts)
    return Coverage(sampled, found, rewrites, tuple(missing[:3]))


def check(coverage: Coverage, data: str, cache: str, on_miss: str, keys: TextKeys | None = None) -> None:
    """Log the coverage; refuse to start where a missing caption would stop the training later.

    Raises:
        CacheMissError: sampled captions are missing and ``on_miss`` is ``"error"``.
    """
    if coverage.found == coverage.sampled:
        logging.info("%s", coverage)
        return
    examples = ", ".join(repr(caption[:80]) for caption in coverage.missing)
    advice = (
        f"not in it, for example: {examples}. To add what is missing: laclip-aug build {quote(data)} "
        f"--cache {quote(cache)}{'' if keys is None else keys.typed()}, with the options that the cache was built with"
    )
    if on_miss == "error":
        raise CacheMissError(
            f"{coverage}; {advice}, or train with --text-aug-on-miss original (under another --name, as the log of "
            "this run is open by now)"
        )
    logging.warning("%s; %s", coverage, advice)


def keys_of(args: Namespace) -> TextKeys:
    """Where the trainer's samples have their captions. open_clip 4 has options for it; before, it is ``txt``."""
    return TextKeys.of(*(getattr(args, key, None) for key in ("text_key", "json_text_key", "json_text_key_probs")))


def training_captions(
    dataset: Any, shards: str | None, seed: int, limit: int = SAMPLE_SIZE, keys: TextKeys | None = None
) -> list[str]:
    """At most ``limit`` captions of the training data, drawn by ``seed`` and without touching the loader.

    A CSV dataset has its captions in memory. Of webdataset shards, ``limit`` captions are read from the beginnings
    of a few, where ``keys`` says; what cannot be read is warned of, as the trainer goes on without it.

    Raises:
        InputError: the shards are a directory, or addresses that webdataset does not open: the trainer would wait
            for samples without end.
    """
    captions: Sequence[Any] | None = getattr(dataset, "captions", None)
    if captions is not None:
        places = generator(seed, "coverage").sample(range(len(captions)), min(limit, len(captions)))
        return [str(captions[place]) for place in places]
    if isinstance(caption := getattr(dataset, "caption", None), str):
        return [caption]
    if shards is None:
        return []
    import webdataset

    urls = [url for part in shards.split("::") for url in webdataset.shardlists.expand_urls(part)]
    for url in urls:
        _refuse_unopened(url)
    chosen = generator(seed, "coverage").sample(urls, min(_MAX_SHARDS, len(urls)))
    share = -(-limit // max(1, len(chosen)))
    log = InputLog()
    found = [caption for url in chosen for _, caption in islice(tar_captions(url, log, keys), share)][:limit]
    for line in log.lines():
        logging.warning("text augmentation: of %s, a sample of the shards, %s", ", ".join(chosen), line)
    return found


def _refuse_unopened(url: str) -> None:
    """Raise an InputError if open_clip's webdataset loader can open no ``url`` of this kind."""
    from webdataset.gopen import gopen_schemes, rewrite_url

    if Path(url).is_dir():
        raise InputError(about_directory(url, for_trainer=True))
    scheme = scheme_of(rewrite_url(url))
    if is_address(url) and scheme not in ("", "file", *gopen_schemes):
        raise InputError(f"open_clip's loader opens no {scheme}: addresses; {through_a_pipe(url)}")

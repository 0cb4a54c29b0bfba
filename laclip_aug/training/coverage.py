"""How much of the training data the cache covers, found on a sample before training starts.

A cache built from another file, or with another caption column, would otherwise show after hours, or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from laclip_aug.errors import CacheMissError
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


def check(coverage: Coverage, data: str, cache: str, on_miss: str) -> None:
    """Log the coverage; refuse to start where a missing caption would stop the training later.

    Raises:
        CacheMissError: sampled captions are missing and ``on_miss`` is ``"error"``.
    """
    if coverage.found == coverage.sampled:
        logging.info("%s", coverage)
        return
    examples = ", ".join(repr(caption[:80]) for caption in coverage.missing)
    advice = (
        f"not in it, for example: {examples}. To add what is missing: laclip-aug build {data} --cache {cache}, with "
        "the options that the cache was built with"
    )
    if on_miss == "error":
        raise CacheMissError(
            f"{coverage}; {advice}, or train with --text-aug-on-miss original (under another --name, as the log of "
            "this run is open by now)"
        )
    logging.warning("%s; %s", coverage, advice)


def training_captions(dataset: Any, shards: str | None, seed: int, limit: int = SAMPLE_SIZE) -> list[str]:
    """At most ``limit`` captions of the training data, drawn by ``seed`` and without touching the loader.

    A CSV dataset has its captions in memory. Of webdataset shards, ``limit`` captions are read from the beginnings
    of a few.
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
    chosen = generator(seed, "coverage").sample(urls, min(_MAX_SHARDS, len(urls)))
    share = -(-limit // max(1, len(chosen)))
    return [caption for url in chosen for caption in islice(_shard_captions(url), share)][:limit]


def _shard_captions(url: str) -> Iterator[str]:
    from webdataset import tariterators

    def report(error: Exception) -> bool:
        logging.warning("text augmentation: %s cannot be read to the end (%r); the trainer goes on too", url, error)
        return True

    streams = tariterators.url_opener([{"url": url}], handler=report)
    for member in tariterators.tar_file_expander(streams, handler=report):
        extension = tariterators.base_plus_ext(member.get("fname", ""))[1] or ""
        if extension.lower() == "txt":
            try:
                yield member["data"].decode("utf-8")
            except UnicodeDecodeError:
                continue  # the trainer drops such a sample too, with a warning

"""Look at single records of a cache, finished or not; reads the shards only."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from laclip_aug.augmenter import Outcome
from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.keys import caption_key
from laclip_aug.cache.shards import read_keys, read_rows, read_shard


def records(directory: Path) -> Iterator[Outcome]:
    """Every record, in the order of shards and keys."""
    shards = read_manifest(directory).shards
    return (record for shard in shards for _, record in read_shard(directory, shard))


def find(directory: Path, caption: str) -> Outcome | None:
    """The record of ``caption`` with its rejections, or ``None``. Reads all keys, 16 bytes a caption."""
    wanted = caption_key(caption)
    for shard in read_manifest(directory).shards:
        for number, key in enumerate(read_keys(directory, shard)):
            if key == wanted:
                return next(read_rows(directory, shard, [number]))
    return None


def head(directory: Path, count: int) -> list[Outcome]:
    """The first ``count`` records in the order of shards and keys."""
    found: list[Outcome] = []
    for shard in read_manifest(directory).shards:
        found += read_rows(directory, shard, range(min(count - len(found), shard.rows)))
        if len(found) >= count:
            break
    return found


def sample(directory: Path, count: int, seed: int) -> list[Outcome]:
    """``count`` records drawn without replacement, in the order of shards and keys; all of them if there are fewer."""
    shards = read_manifest(directory).shards
    total = sum(shard.rows for shard in shards)
    chosen = sorted(random.Random(seed).sample(range(total), min(count, total)))
    found: list[Outcome] = []
    for shard, end in zip(shards, accumulate(shard.rows for shard in shards), strict=True):
        start = end - shard.rows
        found += read_rows(directory, shard, [number - start for number in chosen if start <= number < end])
    return found

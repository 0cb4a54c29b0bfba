"""Verify a cache: every shard against the manifest, every lookup entry against the shards."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tqdm import tqdm

from laclip_aug.cache.format import Counts, Manifest, Shard, read_manifest
from laclip_aug.cache.keys import KeySet, caption_key
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.shards import read_keys, read_shard, sha256_of
from laclip_aug.cache.writer import count
from laclip_aug.errors import CacheCorruptError, CacheError


def verify_cache(directory: str | Path, progress: bool | None = None) -> tuple[list[str], list[str]]:
    """(what is damaged, what is merely unfinished) in the cache, each a sentence; two empty lists mean all is well.

    Costs one reading of everything, and 16 to 32 bytes of memory per caption.

    Raises:
        CacheFormatError, CacheCorruptError: the manifest itself cannot be read.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    damage: list[str] = []
    unfinished = [
        f"{path.name} holds captions of a build that has not finished; run the same build again to go on"
        for path in sorted(directory.glob("journal-*"))
    ]
    lookup = _open_lookup(directory, manifest, damage, unfinished)
    keys, counts = KeySet(), Counts()
    total = sum(shard.rows for shard in manifest.shards)
    with tqdm(total=total, desc="verify", unit=" captions", disable=None if progress is None else not progress) as bar:
        for shard in manifest.shards:
            try:
                _verify_shard(directory, shard, keys, counts, lookup, damage, bar)
            except CacheCorruptError as error:
                damage.append(str(error))
    if not damage and counts != manifest.counts:
        damage.append("the counts in the manifest are not those of the shards; restore manifest.json from a copy")
    return damage, unfinished


def _open_lookup(directory: Path, manifest: Manifest, damage: list[str], unfinished: list[str]) -> CaptionCache | None:
    if not manifest.complete:
        unfinished.append(
            "there is no lookup of all the shards; finish the build, or run: laclip-aug cache compile " + str(directory)
        )
        return None
    try:
        lookup = CaptionCache(directory, check=True)
    except CacheError as error:
        damage.append(str(error))
        return None
    if len(lookup) != sum(shard.rows for shard in manifest.shards):
        damage.append(f"the lookup has {len(lookup)} captions, the shards have another number; compile it again")
    return lookup


def _verify_shard(
    directory: Path,
    shard: Shard,
    keys: KeySet,
    counts: Counts,
    lookup: CaptionCache | None,
    damage: list[str],
    bar: Any,
) -> None:
    path = directory / shard.name
    if not path.exists():
        raise CacheCorruptError(f"{path} is missing; restore it from a copy, or build the cache anew")
    if sha256_of(path) != shard.sha256:
        raise CacheCorruptError(f"{path} is damaged (its sha256 is another); restore it from a copy, or build anew")
    faults: Counter[str] = Counter()
    for fresh in _in_slabs(keys, list(read_keys(directory, shard))):
        faults["captions that another shard holds too"] += not fresh
    before = b""
    for key, record in read_shard(directory, shard):
        faults["keys that are not their caption's"] += key != caption_key(record.caption)
        faults["rows out of order"] += key <= before
        before = key
        if lookup is not None:
            faults["captions whose lookup entry differs"] += lookup.get(record.caption) != record.rewrites
        count(counts, [record])
        bar.update()
    damage.extend(f"{path}: {number} {fault}; restore it from a copy" for fault, number in faults.items() if number)


def _in_slabs(keys: KeySet, wanted: list[bytes]) -> list[bool]:
    return [fresh for at in range(0, len(wanted), 65536) for fresh in keys.add_new(wanted[at : at + 65536])]

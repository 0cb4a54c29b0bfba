"""Verify a cache: every shard against the manifest, every look-up entry against the shards, the journal by itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from shlex import quote

from laclip_aug.cache.bar import Bar
from laclip_aug.cache.browse import snapshot
from laclip_aug.cache.compile import is_sound, origin_of
from laclip_aug.cache.format import UNFINISHED, Counts, Manifest, Shard
from laclip_aug.cache.keys import KeySet, record_key
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.shards import advice, read_shard
from laclip_aug.errors import CacheError
from laclip_aug.exchange.addresses import local_directory


def verify_cache(directory: str | Path, progress: bool | None = None) -> tuple[list[str], list[str]]:
    """(what is damaged, what is merely unfinished) in the cache, each a sentence; two empty lists mean all is well.

    Costs one reading of everything, and 16 to 32 bytes of memory per caption.

    Raises:
        CacheFormatError, CacheCorruptError: the manifest itself cannot be read.
    """
    directory = local_directory(directory)
    now = snapshot(directory)
    manifest = now.manifest
    damage: list[str] = list(now.journal.damage)
    unfinished = [*now.journal.left_out, *_unfinished(directory, manifest, now.journal.size, now.journal.torn)]
    damage += _strangers(directory, manifest)
    lookup = _open_lookup(directory, manifest, damage)
    keys = KeySet()
    total = sum(shard.rows for shard in manifest.shards)
    with Bar("verify", total, progress) as bar:
        for number, shard in enumerate(manifest.shards):
            compiled = bool(manifest.tables) and number < manifest.tables[-1].end
            try:
                _verify_shard(directory, shard, keys, lookup if compiled else None, damage, bar)
            except CacheError as error:
                damage.append(str(error))
    for record, fresh in zip(
        now.pending, keys.add_new([record_key(r.caption, r.image) for r in now.pending]), strict=True
    ):
        if not fresh:
            damage.append(f"the journal has {record.caption[:60]!r}, which is stored already; {advice(directory)}")
    return damage, unfinished


def _unfinished(directory: Path, manifest: Manifest, journaled: int, torn: int) -> list[str]:
    sentences = []
    if journaled or torn:
        sentences.append(
            f"the journal holds {journaled} captions of an unfinished build; run the same build again to go on"
        )
    if torn:
        sentences.append(f"a kill left {torn} bytes of a half record; the next build makes it again")
    if manifest.unfinished and not (journaled or torn):
        sentences.append(UNFINISHED)
    if not manifest.complete:
        sentences.append(
            "there is no look-up of all the shards; finish the build, or run: laclip-aug cache compile "
            f"{quote(str(directory))}"
        )
    return sentences


def _strangers(directory: Path, manifest: Manifest) -> list[str]:
    """Shards and journals of a later state than the manifest's."""
    listed = len(manifest.shards)
    journal = directory / f"journal-{listed:06d}"
    names = [path.name for path in directory.glob("journal-*") if path.name > journal.name]
    for path in directory.glob("shard-*.parquet"):
        number = path.name.removeprefix("shard-").removesuffix(".parquet")
        if number > f"{listed:06d}" or (number == f"{listed:06d}" and not journal.exists()):
            names.append(path.name)
    return [f"{name} is of a later state than the manifest; {advice(directory)}" for name in sorted(names)]


def _open_lookup(directory: Path, manifest: Manifest, damage: list[str]) -> CaptionCache | None:
    found = len(damage)
    remedy = f"make it again with: laclip-aug cache compile {quote(str(directory))}"
    for entry in manifest.tables:
        if not is_sound(directory, entry):
            damage.append(f"{directory / entry.name} is damaged or missing; {remedy}")
        elif bytes.fromhex(entry.origin) != origin_of(manifest.shards[entry.first : entry.end]):
            damage.append(f"{directory / entry.name} was made from other shards; {remedy}")
    if len(damage) > found or not manifest.tables:
        return None
    try:
        return CaptionCache(directory)
    except CacheError as error:
        damage.append(str(error))
        return None


def _verify_shard(
    directory: Path, shard: Shard, keys: KeySet, lookup: CaptionCache | None, damage: list[str], bar: Bar
) -> None:
    path = directory / shard.name
    faults: Counter[str] = Counter()
    before, counts, seen = b"", Counts(), list[bytes]()
    for key, record in read_shard(directory, shard):
        faults["keys that are not their caption's"] += key != record_key(record.caption, record.image)
        faults["rows out of order"] += key <= before
        before = key
        seen.append(key)
        if lookup is not None:
            faults["captions whose look-up entry differs"] += (
                lookup.get(record.caption, record.image) != record.rewrites
            )
        counts.add(record)
        bar.add(1)
    for at in range(0, len(seen), 65536):
        faults["captions that another shard holds too"] += keys.add_new(seen[at : at + 65536]).count(False)
    damage.extend(f"{path}: {number} {fault}; {advice(directory)}" for fault, number in faults.items() if number)
    if counts != shard.counts:
        damage.append(f"{path}: the counts in the manifest are not those of the shard; {advice(directory)}")

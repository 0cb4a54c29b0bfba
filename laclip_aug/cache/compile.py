"""Compile the shards into the look-up: tables that together hold every shard once, larger ones first.

New shards become a table of their own, and tables that are not much larger than it are merged into it, so that what an
addition costs grows with what is new, and a look-up meets few tables. A table of many records is several files, by the
leading bits of their keys: a look-up knows which to ask. Files are never changed: the manifest names the tables of one
generation, and what it no longer names is deleted when no reader has it open.

Up to a quarter of a million records are sorted in memory; more are first dealt into buckets on disk by the leading
bits of their keys, which are uniform, and each bucket is sorted by itself. Keys never repeat across shards.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from heapq import merge
from itertools import chain, groupby, islice
from pathlib import Path
from shlex import quote

from laclip_aug.cache.bar import Bar, Bars
from laclip_aug.cache.dictionary import Dictionaries, trained
from laclip_aug.cache.entry import crc32_of, pack
from laclip_aug.cache.format import Manifest, Shard, TableEntry
from laclip_aug.cache.keys import KEY_BYTES, part_of
from laclip_aug.cache.shards import read_rewrites
from laclip_aug.cache.table import ORIGIN_BYTES, Table, remove_unused, write_table
from laclip_aug.errors import CacheCorruptError
from laclip_aug.exchange.files import TEMPORARY, disk_errors

BUCKET_RECORDS = 250_000
PART_RECORDS = 8_000_000
"""Records in one file, about."""
BUCKETS = "buckets" + TEMPORARY
TABLES = "lookup-*.table"
_MERGE = 2
"""A table of up to so many times the records of a newer one is merged with it."""
_LENGTH = struct.Struct("<I")


def compile_lookup(
    directory: Path,
    manifest: Manifest,
    *,
    whole: bool = False,
    bucket_records: int = BUCKET_RECORDS,
    part_records: int = PART_RECORDS,
    bars: Bars = Bar,
) -> None:
    """Bring the tables and sources in ``manifest`` up to its shards, and write what tables that takes.

    Costs the memory of one bucket and, above ``bucket_records``, disk space of about twice the new table.

    Args:
        whole: make one table from all the shards, whatever there is.
        bars: show how far it is.

    Raises:
        CacheCorruptError: a shard is damaged.
        CacheError: the disk is full.
    """
    named = [source for config in manifest.configs for source in config.sources]
    manifest.sources = list(dict.fromkeys([*manifest.sources, *named, *manifest.counts.rewrites]))
    kept = [] if whole else [list(parts) for _, parts in groupby(manifest.tables, key=lambda entry: entry.first)]
    if kept and manifest.complete:
        return
    first = kept[-1][0].end if kept else 0
    records, merged = sum(shard.rows for shard in manifest.shards[first:]), list[list[TableEntry]]()
    from_shards = manifest.shards[first:]
    while kept and _records(kept[-1]) <= _MERGE * records:
        entries = kept.pop()
        records, first = records + _records(entries), entries[0].first
        if all(is_sound(directory, entry) for entry in entries):
            merged.append(entries)
        else:
            from_shards = manifest.shards[first : entries[0].end] + from_shards
    with ExitStack() as stack:
        sources = [_sorted(directory, from_shards, manifest.sources, bucket_records, bars)]
        for entries in merged:
            shared = Dictionaries()
            tables = [Table(directory / entry.name, bytes.fromhex(entry.origin), shared) for entry in entries]
            for table in tables:
                stack.callback(table.close)
            sources.append(chain.from_iterable(table.items() for table in tables))
        pairs = merge(*sources)
        least = list(islice(pairs, 1))  # what is new is sorted by now
        bar = stack.enter_context(bars("writing the look-up", records))
        made = _written(directory, manifest, first, bar.over(chain(least, pairs)), records, part_records)
    manifest.tables = [entry for entries in [*kept, made] for entry in entries]


def _written(
    directory: Path, manifest: Manifest, first: int, pairs: Iterator[tuple[bytes, bytes]], records: int, size: int
) -> list[TableEntry]:
    """``pairs``, all ``records`` of the shards from ``first`` on, in files of about ``size`` records."""
    origin = origin_of(manifest.shards[first:])
    parts = max(1, -(-records // size))
    pairs, dictionary = trained(pairs, records)
    by_part = groupby(pairs, key=lambda pair: part_of(pair[0], parts))
    following = next(by_part, None)
    made: list[TableEntry] = []
    for part in range(parts):
        name = f"lookup-{origin.hex()[:12]}" + (f"-{part:04d}" if parts > 1 else "") + ".table"
        own: Iterator[tuple[bytes, bytes]] = iter(())
        if here := following is not None and following[0] == part:
            own = following[1]
        length, found = write_table(directory / name, origin, own, records // parts, part, parts, dictionary)
        if here:
            following = next(by_part, None)
        with disk_errors(directory / name):
            checksum = crc32_of(directory / name)
        made.append(TableEntry(name, length, checksum, found, origin.hex(), first, len(manifest.shards), part, parts))
    if _records(made) != records:
        raise CacheCorruptError(
            f"{directory}: the shards hold {_records(made)} records, and the manifest says {records}; run: "
            f"laclip-aug cache verify {quote(str(directory))}"
        )
    return made


def _records(entries: Iterable[TableEntry]) -> int:
    return sum(entry.records for entry in entries)


def origin_of(shards: Iterable[Shard]) -> bytes:
    """16 bytes that stand for the content of ``shards``."""
    text = "\n".join(shard.sha256 for shard in shards)
    return hashlib.blake2b(text.encode("ascii"), digest_size=ORIGIN_BYTES).digest()


def is_sound(directory: Path, entry: TableEntry) -> bool:
    """Whether a table is, to the last bit, what was written; reads it once."""
    path = directory / entry.name
    return path.exists() and crc32_of(path) == entry.crc32


def clear_tables(directory: Path, manifest: Manifest) -> None:
    """Delete the tables that ``manifest`` does not name, but for those that a reader has open."""
    for path in directory.glob(TABLES):
        if path.name not in {entry.name for entry in manifest.tables}:
            remove_unused(path)


def _sorted(
    directory: Path, shards: Sequence[Shard], sources: Sequence[str], bucket_records: int, bars: Bars
) -> Iterator[tuple[bytes, bytes]]:
    """The entries of ``shards`` in the order of their keys."""
    numbers = {source: number for number, source in enumerate(sources)}
    total = sum(shard.rows for shard in shards)
    read = ((key, pack(texts, numbers)) for shard in shards for key, texts in read_rewrites(directory, shard))
    bar = bars("sorting for the look-up", total)
    if total <= bucket_records:
        with bar:
            pairs = sorted(bar.over(read))
        yield from pairs
        return
    buckets = directory / BUCKETS
    shutil.rmtree(buckets, ignore_errors=True)
    try:
        for part in _dealt(read, bar, buckets, -(-total // bucket_records)):
            yield from part
    finally:
        shutil.rmtree(buckets, ignore_errors=True)


def _dealt(
    pairs: Iterator[tuple[bytes, bytes]], bar: Bar, directory: Path, count: int
) -> Iterator[list[tuple[bytes, bytes]]]:
    """``pairs`` in ``count`` sorted lists, each all below the next, through files in ``directory``."""
    count = min(count, 512)  # files open at once
    paths = [directory / str(number) for number in range(count)]
    with disk_errors(directory):
        directory.mkdir()
        with bar, ExitStack() as stack:
            files = [stack.enter_context(path.open("wb")) for path in paths]
            for key, value in bar.over(pairs):
                files[part_of(key, count)].write(key + _LENGTH.pack(len(value)) + value)
    for path in paths:
        data, at, bucket_pairs = path.read_bytes(), 0, []
        while at < len(data):
            start = at + KEY_BYTES + _LENGTH.size
            (length,) = _LENGTH.unpack_from(data, at + KEY_BYTES)
            bucket_pairs.append((data[at : at + KEY_BYTES], data[start : start + length]))
            at = start + length
        path.unlink()
        bucket_pairs.sort()
        yield bucket_pairs

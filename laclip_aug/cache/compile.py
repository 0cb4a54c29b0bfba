"""Compile the shards into the lookup: one LMDB file, written by sorted append.

Sorted append fills pages completely and needs no tree rebalancing. Up to a million records are sorted in memory; more
are first dealt into buckets on disk by the leading bits of their keys, which are uniform, and each bucket is sorted by
itself. Keys never repeat across shards.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lmdb
from tqdm import tqdm

from laclip_aug.cache.entry import crc32_of, pack
from laclip_aug.cache.format import LOOKUP, Manifest, read_manifest
from laclip_aug.cache.keys import KEY_BYTES
from laclip_aug.cache.lock import writer_lock
from laclip_aug.cache.shards import read_shard
from laclip_aug.errors import CacheCorruptError, CacheError
from laclip_aug.exchange.files import TEMPORARY, disk_errors, sync_directory

BUCKET_RECORDS = 1_000_000
BUCKETS = "buckets" + TEMPORARY
_LENGTH = struct.Struct("<I")


def lookup_sources(manifest: Manifest) -> list[str]:
    """The table of sources by which the lookup's records are numbered: the configured ones, then any others."""
    return list(dict.fromkeys([*manifest.config.sources, *manifest.counts.rewrites]))


def compile_in(directory: Path) -> dict[str, Any]:
    """Compile the lookup of the cache in ``directory`` anew, record it in the manifest, and return its entry.

    Raises:
        CacheFormatError, CacheCorruptError: no cache is there, or it is damaged.
        CacheError: a build is under way, or the disk is full.
    """
    read_manifest(directory)
    with writer_lock(directory):
        manifest = read_manifest(directory)
        manifest.lookup = compile_lookup(directory, manifest)
        manifest.save(directory)
        return manifest.lookup


def compile_lookup(directory: Path, manifest: Manifest, bucket_records: int = BUCKET_RECORDS) -> dict[str, Any]:
    """Write ``lookup.lmdb`` from the shards that ``manifest`` lists, and return its entry for the manifest.

    Costs disk space of about twice the lookup while it runs, and the memory of one bucket.

    Raises:
        CacheCorruptError: a shard is damaged.
        CacheError: the disk is full.
    """
    sources = lookup_sources(manifest)
    numbers = {source: number for number, source in enumerate(sources)}
    total = sum(shard.rows for shard in manifest.shards)
    temporary = directory / (LOOKUP + TEMPORARY)
    buckets = directory / BUCKETS
    with disk_errors(temporary):
        temporary.unlink(missing_ok=True)
        shutil.rmtree(buckets, ignore_errors=True)

    def packed() -> Iterator[tuple[bytes, bytes]]:
        for shard in manifest.shards:
            for key, record in read_shard(directory, shard):
                yield key, pack(key, record.rewrites, numbers)

    try:
        with tqdm(total=total, desc="compile", unit=" captions", disable=None, leave=False) as bar:
            if total <= bucket_records:
                _append(temporary, [sorted(packed())], bar)
            else:
                _append(temporary, _dealt(packed(), buckets, -(-total // bucket_records)), bar)
    finally:
        shutil.rmtree(buckets, ignore_errors=True)
    with disk_errors(temporary):
        size, checksum = temporary.stat().st_size, crc32_of(temporary)
        temporary.replace(directory / LOOKUP)
        sync_directory(directory)
    return {
        "file": LOOKUP,
        "bytes": size,
        "crc32": checksum,
        "records": total,
        "shards": len(manifest.shards),
        "sources": sources,
    }


def _dealt(pairs: Iterator[tuple[bytes, bytes]], directory: Path, count: int) -> Iterator[list[tuple[bytes, bytes]]]:
    """``pairs`` in ``count`` sorted lists, each all below the next, through files in ``directory``."""
    count = min(count, 512)  # files open at once
    paths = [directory / str(number) for number in range(count)]
    with disk_errors(directory):
        directory.mkdir()
        with ExitStack() as stack:
            files = [stack.enter_context(path.open("wb")) for path in paths]
            for key, value in pairs:
                bucket = int.from_bytes(key[:8], "big") * count >> 64
                files[bucket].write(key + _LENGTH.pack(len(value)) + value)
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


def _append(path: Path, parts: Iterator[list[tuple[bytes, bytes]]] | list[list[tuple[bytes, bytes]]], bar: Any) -> None:
    room = 1 << 26
    with disk_errors(path):
        try:
            environment = lmdb.open(str(path), subdir=False, lock=False, sync=False, map_size=room)
            try:
                for part in parts:
                    # a page holds at least half its bytes, and the map is address space, not disk
                    room += sum(
                        2 * len(value) + 8192 if len(value) > 1024 else 4 * len(value) + 256 for _, value in part
                    )
                    environment.set_mapsize(room)
                    for start in range(0, len(part), 10_000):
                        slab = part[start : start + 10_000]
                        with environment.begin(write=True) as transaction:
                            for key, value in slab:
                                if not transaction.put(key, value, append=True):
                                    raise CacheCorruptError(
                                        f"two shards hold the key {key.hex()}; run: laclip-aug cache verify"
                                    )
                        bar.update(len(slab))
                environment.sync(True)
            finally:
                environment.close()
        except lmdb.Error as error:
            raise CacheError(
                f"cannot write {path}: {error}; the shards are safe: free some space, then run: "
                f"laclip-aug cache compile {path.parent}"
            ) from error

"""Bring a cache back to one state: compile what is there, or keep what is sound of a damaged one.

Repair drops no byte that it does not know to be wrong: an unreadable disk stops it. Damaged shards are kept as they are
under ``damaged-...``, each in a copy of its own. What it lost, the next build makes again, since it finds it missing.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from itertools import count
from pathlib import Path
from shlex import quote
from typing import Any

from laclip_aug.augmenter import Outcome
from laclip_aug.cache.compile import clear_tables, compile_lookup, is_sound, origin_of
from laclip_aug.cache.format import MANIFEST, Manifest, Shard, read_manifest
from laclip_aug.cache.journal import read_journal
from laclip_aug.cache.keys import KeySet, record_key
from laclip_aug.cache.lock import writer_lock
from laclip_aug.cache.shards import read_keys, read_whole, salvage, shard_name, write_shard
from laclip_aug.cache.writer import commit, journal_path, open_manifest, run_number
from laclip_aug.errors import CacheCorruptError, CacheFormatError
from laclip_aug.exchange.addresses import local_directory
from laclip_aug.exchange.files import disk_errors, replace_file

KEPT = "damaged-"
_NUMBER = re.compile(r"(?:shard-|journal-)(\d{6,})(?:\.parquet)?")


def compile_cache(directory: str | Path) -> Manifest:
    """Make the look-up of the cache in ``directory`` anew, from all its shards and the journal of an unfinished build.

    The journal's records become a shard, but for those that none can hold; the same build goes on behind it. Returns
    the manifest.

    Raises:
        CacheFormatError, CacheCorruptError: no cache is there, or it is damaged.
        CacheError: a build is under way, or the disk is full.
    """
    directory = local_directory(directory)
    read_manifest(directory)
    with writer_lock(directory):
        manifest = open_manifest(directory)
        found = read_journal(journal_path(directory, manifest))
        if found.damage:
            raise CacheCorruptError(
                f"{'; '.join(found.damage)}; run the build again, which makes them anew, or keep the others with: "
                f"laclip-aug cache repair {quote(str(directory))}"
            )
        _take_journal(directory, manifest)
        compile_lookup(directory, manifest, whole=True)
        manifest.save(directory)
        clear_tables(directory, manifest)
        return manifest


def repair_cache(directory: str | Path) -> list[str]:
    """Keep all that is sound of the cache in ``directory``; returns a sentence for each thing that was lost or mended.

    Raises:
        CacheFormatError: no cache is there, or nothing in it tells how it was built.
        CacheError: a build is under way, or a file cannot be read or written.
    """
    directory = local_directory(directory)
    if not any(_NUMBER.fullmatch(path.name) for path in directory.glob("*")):
        try:
            read_manifest(directory)
        except CacheCorruptError as error:
            raise CacheFormatError(
                f"{str(error).split('; ')[0]}, and nothing else is stored in {directory}; delete it, and build anew"
            ) from None
    with writer_lock(directory):
        said: list[str] = []
        manifest = _manifest(directory, said)
        listed_before, building = _hashes(manifest), manifest.unfinished and not manifest.merged.under_way
        last = max([len(manifest.shards) - 1, *_numbers(directory, "shard-")])
        seen = KeySet()
        for number in range(last + 1):
            listed = manifest.shards[number] if number < len(manifest.shards) else None
            shard = _shard(directory, number, listed, manifest, seen, said)
            manifest.shards[number : number + 1] = [shard]
        for number in _numbers(directory, "journal-"):
            _journal(directory, number, manifest, seen, said)
        if listed_before - _hashes(manifest):
            _forget_merged(manifest, building)
        manifest.tables = _tables(directory, manifest, said)
        compile_lookup(directory, manifest)
        manifest.save(directory)
        with disk_errors(directory):
            for number in _numbers(directory, "journal-"):
                (directory / f"journal-{number:06d}").unlink()
        open_manifest(directory)
        return said


def _manifest(directory: Path, said: list[str]) -> Manifest:
    """The manifest there, or one made anew from what shards and journals say of themselves."""
    try:
        return read_manifest(directory)
    except CacheFormatError:
        if (directory / MANIFEST).exists():
            raise
        said.append(f"{MANIFEST} is missing; it was made anew from the other files")
    except CacheCorruptError as error:
        said.append(f"{str(error).split('; ')[0]}; it was made anew from the other files")
    said.append("shards behind the last one, if there were any, cannot be known; nor can the inputs")
    manifest = Manifest([], unfinished=True)
    for number in _numbers(directory, "shard-"):
        for origin in salvage(directory / shard_name(number))[1]:
            run_number(manifest, origin)
    for number in _numbers(directory, "journal-"):
        for origin in read_journal(directory / f"journal-{number:06d}").origins:
            run_number(manifest, origin)
    if not manifest.configs:
        raise CacheFormatError(
            f"nothing sound in {directory} tells how the cache was built; restore {MANIFEST} from a copy"
        )
    return manifest


def _shard(
    directory: Path, number: int, listed: Shard | None, manifest: Manifest, seen: KeySet, said: list[str]
) -> Shard:
    """Shard ``number``, whole or with what is sound in it; an empty one takes the place of one that is gone."""
    path = directory / shard_name(number)
    records: list[Outcome] = []
    origins: list[dict[str, Any]] = []
    total, rows = listed.rows if listed else None, None
    if path.exists():
        data = read_whole(path)
        if listed and hashlib.sha256(data).hexdigest() == listed.sha256:
            seen.update(read_keys(directory, listed))
            return listed
        records, origins, rows = salvage(path)
        total = rows if total is None else total
    fresh = seen.add_new([record_key(record.caption, record.image) for record in records])
    records = [record for record, new in zip(records, fresh, strict=True) if new]
    gone = "an unknown number of" if total is None else f"{total - fresh.count(True)} of {total}"
    if listed or total != len(records):
        state = "is damaged" if path.exists() else "is missing"
        said.append(
            f"{path.name} {state}: {gone} captions lost, {len(records)} kept; the next build makes the lost ones again"
        )
    else:
        said.append(f"{path.name} was not in the manifest: {len(records)} captions taken in")
    if total != len(records):
        manifest.unfinished = True
    if path.exists() and rows != len(records):  # else nothing is lost with it, as after a repair that was killed
        _keep(path, data)
    shard = write_shard(directory, number, records, origins)
    made_by = [run_number(manifest, origin) for origin in origins]
    return replace(shard, made_by=listed.made_by if listed else made_by)


def _keep(path: Path, data: bytes) -> None:
    """Store ``data``, the bytes of ``path``, which is about to be replaced, beside the copies of earlier damage."""
    with disk_errors(path):
        copies = (path.with_name(f"{KEPT}{f'{number}-' if number > 1 else ''}{path.name}") for number in count(1))
        copy = next(copy for copy in copies if not copy.exists() or copy.read_bytes() == data)
        if not copy.exists():
            replace_file(copy, data)


def _journal(directory: Path, number: int, manifest: Manifest, seen: KeySet, said: list[str]) -> None:
    """Make what is sound and new in a journal a shard of its own."""
    found = read_journal(directory / f"journal-{number:06d}")
    said.extend(f"{sentence}; the next build makes them again" for sentence in found.damage)
    said.extend(found.left_out)
    manifest.unfinished |= bool(found.damage)
    records = list(found.records)
    fresh = seen.add_new([record_key(record.caption, record.image) for record in records])
    records = [record for record, new in zip(records, fresh, strict=True) if new]
    if records:
        shard = write_shard(directory, len(manifest.shards), records, found.origins)
        shard.made_by = [run_number(manifest, origin) for origin in found.origins]
        manifest.shards.append(shard)


def _take_journal(directory: Path, manifest: Manifest) -> None:
    path = journal_path(directory, manifest)
    found = read_journal(path)
    if found.size:
        commit(directory, manifest, found)
    with disk_errors(path):
        path.unlink(missing_ok=True)


def _hashes(manifest: Manifest) -> set[str]:
    return {shard.sha256 for shard in manifest.shards}


def _forget_merged(manifest: Manifest, building: bool) -> None:
    """Let the next merge look again at all shards but those that are here as they were taken: some rows are lost."""
    merged, here = manifest.merged, _hashes(manifest)
    merged.shards = {sha256: entry for sha256, entry in merged.shards.items() if sha256 in here}
    if not building:
        merged.under_way = list(dict.fromkeys([*merged.under_way, *merged.inputs]))


def _tables(directory: Path, manifest: Manifest, said: list[str]) -> list[Any]:
    """The tables, from the first on, that are whole and made of the shards as they are now."""
    kept = []
    for entry in manifest.tables:
        if bytes.fromhex(entry.origin) != origin_of(manifest.shards[entry.first : entry.end]):
            break
        if not is_sound(directory, entry):
            said.append(f"{entry.name} is damaged or missing; it was made again")
            break
        kept.append(entry)
    while kept and kept[-1].part + 1 < kept[-1].parts:  # the parts of a table go together
        kept.pop()
    return kept


def _numbers(directory: Path, kind: str) -> list[int]:
    found = (_NUMBER.fullmatch(path.name) for path in directory.glob(kind + "*"))
    return sorted(int(match[1]) for match in found if match)

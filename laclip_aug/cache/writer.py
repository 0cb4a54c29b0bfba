"""The one writer of a cache: records in, shards out, nothing lost and nothing twice.

A record goes to the journal first. When the shard in work is full, three steps follow, each safe to be killed after:
the shard is written and renamed into place; the manifest that lists it replaces the old one; the journal, named after
its shard, is deleted. On opening, a journal of a shard that the manifest lists already is thus stale, and a shard that
the manifest does not list is still whole in its journal. Manifest and journal come with the first record: a run that
fails before leaves nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import Any

from laclip_aug.augmenter import Outcome
from laclip_aug.cache.bar import Bar, Bars
from laclip_aug.cache.compile import BUCKETS, clear_tables, compile_lookup
from laclip_aug.cache.config import Config, as_json, check_keyed, check_same, run_of
from laclip_aug.cache.format import MANIFEST, Manifest, read_manifest
from laclip_aug.cache.journal import Journal, Scan, read_journal
from laclip_aug.cache.keys import KeySet, caption_key, record_key
from laclip_aug.cache.lock import LOCK, writer_lock
from laclip_aug.cache.shards import read_keys, shard_name, write_shard
from laclip_aug.cache.storable import is_encodable
from laclip_aug.errors import CacheCorruptError, CacheError, CacheFormatError
from laclip_aug.exchange.addresses import local_directory
from laclip_aug.exchange.files import TEMPORARY, disk_errors


class CacheWriter:
    """Open a cache for writing, or make it; use it in a ``with`` statement.

    ``recovered`` and ``dropped_bytes`` tell what the journal of a killed run held, ``damage`` what was wrong with it,
    ``left_out`` which records in it no shard can hold.

    Args:
        directory: the cache; made if absent.
        config: what makes the texts; must equal what the cache was made with, unless nothing is stored there yet.
        shard_rows: captions per shard. A shard in work is held in memory once, when it is written.
        provenance: of the run, recorded with each shard.
        allow_mixed: take texts of another configuration too, and record it.

    Raises:
        CacheFormatError: the directory holds something else, or another format version.
        CacheMismatchError: the cache was built with another configuration.
        CacheCorruptError: its files do not fit together.
        CacheError: another process writes it, the disk is full, or ``directory`` is an address.
    """

    def __init__(
        self,
        directory: str | Path,
        config: Config,
        shard_rows: int = 65536,
        provenance: dict[str, Any] | None = None,
        allow_mixed: bool = False,
    ) -> None:
        self.directory = local_directory(directory)
        self._config, self._run = config, run_of(provenance or {})
        self._shard_rows = shard_rows
        self._journal: Journal | None = None
        with ExitStack() as stack:
            stack.enter_context(writer_lock(self.directory))
            self.manifest = open_manifest(self.directory)
            found = read_journal(journal_path(self.directory, self.manifest))
            if not found.size:
                with disk_errors(self.directory):  # what a run that stored nothing left
                    journal_path(self.directory, self.manifest).unlink(missing_ok=True)
            if not self.manifest.shards and not found.size:
                self.manifest = Manifest([config])
            elif allow_mixed:
                check_keyed(self.directory, self.manifest.configs, config)
            else:
                check_same(self.directory, self.manifest.configs, config)
            self.done, self._announced = KeySet(), set[bytes]()
            for shard in self.manifest.shards:
                self.done.update(read_keys(self.directory, shard))
            self.done.update(record_key(record.caption, record.image) for record in found.records)
            self.recovered, self.dropped_bytes, self.damage = found.size, found.torn, found.damage
            self.left_out = found.left_out
            stack.callback(self._close_journal)
            self._stack = stack.pop_all()

    def __enter__(self) -> CacheWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def new(self, captions: Iterable[str]) -> list[bool]:
        """For each normalised caption, whether it is new to the cache; from now on it is not."""
        return self._new([caption_key(caption) for caption in captions])

    def new_records(self, records: Iterable[Outcome]) -> list[bool]:
        """The same of records, which are found by their images' keys where they have them."""
        return self._new([record_key(record.caption, record.image) for record in records])

    def _new(self, keys: list[bytes]) -> list[bool]:
        fresh = self.done.add_new(keys)
        self._announced.update(key for key, new in zip(keys, fresh, strict=True) if new)
        return fresh

    def add(self, record: Outcome) -> None:
        """Store ``record``, whose caption ``new`` called new. Once this returns, a killed process cannot lose it.

        Raises:
            CacheError: the cache has a record of the caption, the disk is full, or no file can hold the record.
        """
        if not is_encodable(record):
            raise CacheError(
                f"the record of {(record.image or record.caption)[:80]!r} has a lone surrogate, which no file of a "
                "cache can hold; leave it out, or give it as Unicode text"
            )
        key = record_key(record.caption, record.image)
        if key not in self._announced and not self._new([key])[0]:
            raise CacheError(
                f"{(record.image or record.caption)[:80]!r} has a record in {self.directory} already, and two would "
                "damage the cache; add only what new() calls new"
            )
        journal = self._journal or self._begin()
        journal.append(record)
        self._announced.discard(key)
        if len(journal) >= self._shard_rows:
            self._commit(journal.read())

    def finish(self, bars: Bars = Bar) -> None:
        """Write the last shard, compile what is new into the look-up, and delete what is needed no more.

        From now on the manifest says that the build has finished. ``bars`` show how far the look-up is.
        """
        if self._journal is None and journal_path(self.directory, self.manifest).exists():
            self._begin()  # of a killed run, and nothing came to add
        if self._journal is not None and len(self._journal):
            self._commit(self._journal.read())
        compile_lookup(self.directory, self.manifest, bars=bars)
        self.manifest.unfinished, self.manifest.merged.under_way = False, []
        self.manifest.save(self.directory)
        clear_tables(self.directory, self.manifest)

    def _begin(self) -> Journal:
        """Open the journal, and before it make the manifest know the configuration."""
        if not any(config.same(self._config) for config in self.manifest.configs):
            self.manifest.configs.append(self._config)
        self.manifest.unfinished, self.manifest.merged.under_way = True, []
        self.manifest.save(self.directory)
        origin = as_json({"config": asdict(self._config), "run": self._run})
        self._journal = Journal(journal_path(self.directory, self.manifest), origin)
        return self._journal

    def _commit(self, found: Scan) -> None:
        commit(self.directory, self.manifest, found)
        if self._journal is not None:
            self._journal.close()
            self._journal.path.unlink()
            self._journal = None

    def _close_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()


def open_manifest(directory: Path) -> Manifest:
    """The manifest of ``directory``, whose lock is held; one without configuration if nothing is there yet.

    What a kill left behind and nothing needs is deleted: half-written files, journals of shards that are listed,
    look-ups of earlier generations.

    Raises:
        CacheFormatError: the directory holds something else, or a cache of another format version.
        CacheCorruptError: the manifest is damaged, or older than the other files.
    """
    others = sorted(path.name for path in directory.iterdir() if path.name not in (LOCK, MANIFEST + TEMPORARY))
    if MANIFEST not in others:
        if others:
            raise CacheFormatError(
                f"{directory} is neither empty nor a rewrite cache (it holds {others[0]!r}); give a new directory, or, "
                f"if it was a cache and lost its {MANIFEST}: laclip-aug cache repair {quote(str(directory))}"
            )
        return Manifest([])
    manifest = read_manifest(directory)
    listed, journal = len(manifest.shards), journal_path(directory, manifest)
    with disk_errors(directory):
        shutil.rmtree(directory / BUCKETS, ignore_errors=True)
        for half in directory.glob("*" + TEMPORARY):
            half.unlink()
        for other in directory.glob("journal-*"):
            if other.name > journal.name:
                raise _later(other)
            if other.name < journal.name:
                other.unlink()
        for other in directory.glob("shard-*.parquet"):
            if other.name > shard_name(listed) or (other.name == shard_name(listed) and not journal.exists()):
                raise _later(other)
    clear_tables(directory, manifest)
    return manifest


def _later(path: Path) -> CacheCorruptError:
    return CacheCorruptError(
        f"{path} belongs to a later state of the cache than {MANIFEST}; restore the later manifest, or take in what is "
        f"there with: laclip-aug cache repair {quote(str(path.parent))}"
    )


def journal_path(directory: Path, manifest: Manifest) -> Path:
    """The journal of the shard that follows those listed."""
    return directory / f"journal-{len(manifest.shards):06d}"


@contextmanager
def next_shard(directory: Path, manifest: Manifest) -> Iterator[int]:
    """For what makes shards without a journal of records: the next shard's number; in the end the manifest is saved.

    An empty journal stands for the work: a shard that a kill leaves unlisted is then made again, and no loss.
    """
    if not manifest.shards:
        manifest.save(directory)
    journal = journal_path(directory, manifest)
    with disk_errors(directory):
        journal.touch()
    yield len(manifest.shards)
    manifest.save(directory)
    with disk_errors(directory):
        journal.unlink()


def commit(directory: Path, manifest: Manifest, found: Scan) -> None:
    """Make the records of a journal the next shard, and list it; the journal can go then."""
    records, origins = list(found.records), found.origins
    shard = write_shard(directory, len(manifest.shards), records, origins)
    shard.made_by = [run_number(manifest, origin) for origin in origins]
    manifest.shards.append(shard)
    manifest.save(directory)


def run_number(manifest: Manifest, origin: dict[str, Any]) -> int:
    """The place in ``manifest.runs`` of a run that a journal or a shard tells of, listed there if it is not yet."""
    config = Config.from_json(origin["config"])
    known = [number for number, there in enumerate(manifest.configs) if there.same(config)]
    if not known:
        manifest.configs.append(config)
        known = [len(manifest.configs) - 1]
    run = {"config": known[0], **origin["run"]}
    if run not in manifest.runs:
        manifest.runs.append(run)
    return manifest.runs.index(run)


def origin_of_run(manifest: Manifest, run: int) -> dict[str, Any]:
    """What a journal or a shard tells of the run at place ``run`` of ``manifest.runs``."""
    about = dict(manifest.runs[run])
    return {"config": asdict(manifest.configs[about.pop("config")]), "run": about}

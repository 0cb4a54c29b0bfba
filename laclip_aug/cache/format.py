"""The manifest of a cache directory: what it holds, and what each file must be."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from laclip_aug.augmenter import Outcome
from laclip_aug.cache.config import Config
from laclip_aug.errors import CacheCorruptError, CacheError, CacheFormatError
from laclip_aug.exchange.addresses import local_directory
from laclip_aug.exchange.files import replace_file
from laclip_aug.version import __version__

FORMAT = "laclip-aug cache"
FORMAT_VERSION = 4
READ_VERSIONS = (2, 3, 4)
"""Those of caches that this release reads, and writes on as the last: up to 3 nothing was kept of what a writer told of
its texts; 2 were the caches that are keyed by captions, 3 those that are keyed by images.
"""
MANIFEST = "manifest.json"
INPUT_SOURCE = "input"
"""The ``source`` of a rejection of a caption as such (empty, too long), made by no augmenter."""
UNFINISHED = "a build has not come to its end here, so captions may be missing; run the same build again to go on"

_LARGEST = 64  # combinations; beyond, one that exceeds them all


def _covers(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    return all(one.get(name, 0) >= number for name, number in other.items())


@dataclass
class Counts:
    """Totals over records.

    ``rejections`` counts every refused attempt by its reason; ``most`` is the largest number of rewrites of a caption.
    ``largest`` has the numbers of rewrites by source of the captions that no other caption exceeds in all sources: for
    any choice of sources, the largest number of a caption's rewrites is that of one of these.
    """

    captions: int = 0
    with_rewrites: int = 0
    most: int = 0
    tokens: int = 0
    rewrites: dict[str, int] = field(default_factory=dict)
    rejections: dict[str, int] = field(default_factory=dict)
    largest: list[dict[str, int]] = field(default_factory=list)

    def widen(self, made: Mapping[str, int]) -> None:
        """Take a caption's numbers of rewrites by source into ``largest``."""
        if any(_covers(one, made) for one in self.largest):
            return
        self.largest = [one for one in self.largest if not _covers(made, one)] + [dict(made)]
        if len(self.largest) > _LARGEST:
            names = dict.fromkeys(name for one in self.largest for name in one)
            self.largest = [{name: max(one.get(name, 0) for one in self.largest) for name in names}]

    def most_from(self, sources: Collection[str]) -> int:
        """The largest number of rewrites of a caption from ``sources``; at most too large where counts are odd."""
        return max((sum(n for name, n in one.items() if name in sources) for one in self.largest), default=0)

    @property
    def tried(self) -> int:
        """Attempts."""
        return sum(self.rewrites.values()) + sum(self.rejections.values())

    @property
    def acceptance(self) -> float:
        """Accepted texts over all attempts; 0 where there was none."""
        return sum(self.rewrites.values()) / max(1, self.tried)

    def add(self, record: Outcome) -> None:
        """Count ``record``; rejections of the caption as such are counted with the input, not here."""
        self.captions += 1
        self.with_rewrites += bool(record.rewrites)
        self.most = max(self.most, len(record.rewrites))
        self.tokens += record.tokens
        self.widen(Counter(rewrite.source for rewrite in record.rewrites))
        for rewrite in record.rewrites:
            self.rewrites[rewrite.source] = self.rewrites.get(rewrite.source, 0) + 1
        for rejection in record.rejections:
            if rejection.source != INPUT_SOURCE:
                self.rejections[rejection.reason] = self.rejections.get(rejection.reason, 0) + 1

    def lines(self) -> list[str]:
        """What a cache with these totals holds, for people, one statement a line."""
        part = self.with_rewrites / max(1, self.captions)
        out = [f"the cache holds {self.captions} captions; {self.with_rewrites} of them ({part:.1%}) have a rewrite"]
        out += [f"  rewrites, {source}: {number}" for source, number in self.rewrites.items()]
        refused = sorted(self.rejections.items(), key=lambda item: -item[1])
        return out + [f"  rejections, {reason}: {number}" for reason, number in refused]

    def include(self, other: Counts) -> None:
        """Add the totals of ``other``."""
        self.captions += other.captions
        self.with_rewrites += other.with_rewrites
        self.most = max(self.most, other.most)
        self.tokens += other.tokens
        for made in other.largest:
            self.widen(made)
        for mine, its in ((self.rewrites, other.rewrites), (self.rejections, other.rejections)):
            for name, number in its.items():
                mine[name] = mine.get(name, 0) + number


def counted(records: Iterable[Outcome]) -> Counts:
    """The totals of ``records``."""
    counts = Counts()
    for record in records:
        counts.add(record)
    return counts


@dataclass
class Shard:
    """One Parquet file of records; ``made_by`` are places in the manifest's ``runs``."""

    name: str
    rows: int
    sha256: str
    counts: Counts = field(default_factory=Counts)
    made_by: list[int] = field(default_factory=list)


@dataclass
class TableEntry:
    """One look-up table, made of the shards ``first`` up to, not including, ``end``; ``origin`` hashes those.

    Where these hold more than one file should, it has the keys of one of several parts, which follow each other.
    """

    name: str
    bytes: int
    crc32: str
    records: int
    origin: str
    first: int
    end: int
    part: int = 0
    parts: int = 1


@dataclass
class Merged:
    """What merges have taken into a cache, so that the next one takes only what is new.

    ``shards`` tells of each shard of another cache, by its SHA-256, the number of its captions that were here before,
    and how many of those have other rewrites there (``None`` until they are compared). ``inputs`` are those of each
    cache, by the SHA-256 of its first shard, which stays when it grows. ``under_way`` names, in the same way, the
    caches of a merge that has begun and has not come to its end.
    """

    shards: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    inputs: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    under_way: list[str] = field(default_factory=list)


@dataclass
class Manifest:
    """The human-readable account of a cache (``manifest.json``).

    ``configs`` is what made the texts: one, or several in a mixed cache. ``runs`` tells of each run that stored
    something its configuration's number and its surroundings. ``tables`` is the last whole look-up, and ``sources``
    numbers the sources in its records; it only grows. ``unfinished`` tells that a build or a merge has begun to add
    captions and has not come to its end, or that damage took some of what it had added.
    """

    configs: list[Config]
    runs: list[dict[str, Any]] = field(default_factory=list)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    shards: list[Shard] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    tables: list[TableEntry] = field(default_factory=list)
    unfinished: bool = False
    merged: Merged = field(default_factory=Merged)

    @property
    def config(self) -> Config:
        """What the cache was made with first."""
        return self.configs[0]

    @property
    def by_image(self) -> bool:
        """Whether records are found by the keys of their images, instead of by their captions."""
        return any(config.keyed_by == "image" for config in self.configs)

    @property
    def counts(self) -> Counts:
        """Totals over the committed shards."""
        total = Counts()
        for shard in self.shards:
            total.include(shard.counts)
        return total

    @property
    def complete(self) -> bool:
        """Whether there is a look-up of all the shards."""
        return bool(self.tables) and self.tables[-1].end == len(self.shards)

    def to_json(self) -> str:
        """The manifest as indented JSON, with a checksum of its own."""
        body = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        return json.dumps({**body, "checksum": _checksum(body)}, indent=1) + "\n"

    def save(self, directory: Path) -> None:
        """Replace the directory's manifest; a kill leaves the old one or the new one."""
        replace_file(directory / MANIFEST, self.to_json().encode("ascii"))


def read_manifest(directory: str | Path) -> Manifest:
    """The manifest of the cache in ``directory``.

    Raises:
        CacheFormatError: no cache is there, or one of another format version.
        CacheCorruptError: the manifest is damaged.
        CacheError: it cannot be read, or ``directory`` is an address.
    """
    directory = local_directory(directory)
    path = directory / MANIFEST
    damaged = (
        f"restore it from a copy, or make it anew from the shards with: laclip-aug cache repair {quote(str(directory))}"
    )
    try:
        raw = json.loads(path.read_bytes().decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise CacheFormatError(
            f"{directory} is no rewrite cache: it has no {MANIFEST}; make one with: laclip-aug build INPUT --cache DIR"
        ) from None
    except (ValueError, RecursionError) as error:
        raise CacheCorruptError(f"{path} is damaged ({error}); {damaged}") from None
    except OSError as error:
        raise CacheError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from None
    checksum = raw.pop("checksum", None) if isinstance(raw, dict) else None
    if checksum is not None and checksum != _checksum(raw):
        raise CacheCorruptError(f"{path} is damaged or was edited (its checksum is another); {damaged}")
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise CacheFormatError(f"{path} is not the manifest of a rewrite cache; give the directory that a build made")
    if raw.get("format_version") not in READ_VERSIONS:
        raise CacheFormatError(
            f"{directory} has cache format version {raw.get('format_version')}, this laclip-aug ({__version__}) reads "
            f"versions {READ_VERSIONS[0]} to {READ_VERSIONS[-1]}; use the release that made it, or export it there and "
            "import it here"
        )
    try:
        if checksum is None:
            raise KeyError("checksum")
        return Manifest(
            configs=[Config.from_json(config) for config in raw["configs"]],
            runs=raw["runs"],
            inputs=raw["inputs"],
            shards=[Shard(**{**shard, "counts": Counts(**shard["counts"])}) for shard in raw["shards"]],
            sources=raw["sources"],
            tables=[TableEntry(**table) for table in raw["tables"]],
            unfinished=raw.get("unfinished", False),
            merged=_merged(raw.get("merged", {})),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CacheCorruptError(f"{path} is damaged ({error!r}); {damaged}") from None


def _merged(raw: dict[str, Any]) -> Merged:
    merged = Merged(**raw)
    merged.shards = {sha256: (repeated, conflicts) for sha256, (repeated, conflicts) in merged.shards.items()}
    return merged


def _checksum(body: dict[str, Any]) -> str:
    """SHA-256 of what the JSON says, however it is indented."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()

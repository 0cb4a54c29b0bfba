"""The cache directory: its manifest, and what may be mixed into it."""

from __future__ import annotations

import json
import platform
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from laclip_aug.augmenter import CaptionAugmenter
from laclip_aug.cache.lock import LOCK
from laclip_aug.errors import CacheCorruptError, CacheError, CacheFormatError, CacheMismatchError
from laclip_aug.exchange.files import TEMPORARY, replace_file
from laclip_aug.version import __version__

FORMAT = "laclip-aug cache"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
LOOKUP = "lookup.lmdb"


@dataclass(frozen=True)
class Config:
    """What made the texts of a cache. Two runs share a cache only if all of it is the same."""

    augmenter: str
    fingerprint: str
    seed: int
    n: int
    sources: tuple[str, ...]
    describe: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, augmenter: CaptionAugmenter, seed: int, n: int) -> Config:
        """The configuration of a build with ``augmenter``, as JSON will give it back."""
        describe = json.loads(json.dumps(augmenter.describe(), default=str))
        return cls(augmenter.name, augmenter.fingerprint(), seed, n, tuple(augmenter.sources), describe)


@dataclass
class Shard:
    """One Parquet file of records."""

    name: str
    rows: int
    sha256: str


_LARGEST = 64  # combinations; beyond, one that exceeds them all


def _covers(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    return all(one.get(name, 0) >= number for name, number in other.items())


@dataclass
class Counts:
    """Totals over the committed shards.

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
    def acceptance(self) -> float:
        """Accepted texts over all attempts; 0 where there was none."""
        made = sum(self.rewrites.values())
        return made / max(1, made + sum(self.rejections.values()))


@dataclass
class Manifest:
    """The human-readable account of a cache (``manifest.json``)."""

    config: Config
    counts: Counts = field(default_factory=Counts)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    shards: list[Shard] = field(default_factory=list)
    lookup: dict[str, Any] | None = None
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether the lookup was compiled from all shards there are."""
        return self.lookup is not None and self.lookup["shards"] == len(self.shards)

    def to_json(self) -> str:
        """The manifest as indented JSON."""
        return json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}, indent=1) + "\n"

    def save(self, directory: Path) -> None:
        """Replace the directory's manifest; a kill leaves the old one or the new one."""
        replace_file(directory / MANIFEST, self.to_json().encode("ascii"))


def read_manifest(directory: Path) -> Manifest:
    """The manifest of the cache in ``directory``.

    Raises:
        CacheFormatError: no cache is there, or one of another format version.
        CacheCorruptError: the manifest is damaged.
    """
    path = directory / MANIFEST
    try:
        raw = json.loads(path.read_bytes().decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise CacheFormatError(
            f"{directory} is no rewrite cache: it has no {MANIFEST}; make one with: laclip-aug build INPUT --cache DIR"
        ) from None
    except ValueError as error:
        raise CacheCorruptError(
            f"{path} is damaged ({error}); restore it from a copy, or build the cache anew"
        ) from None
    except OSError as error:
        raise CacheError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise CacheFormatError(f"{path} is not the manifest of a rewrite cache; give the directory that a build made")
    if raw.get("format_version") != FORMAT_VERSION:
        raise CacheFormatError(
            f"{directory} has cache format version {raw.get('format_version')}, this laclip-aug ({__version__}) reads "
            f"version {FORMAT_VERSION}; use the release that made it, or export it there and import it here"
        )
    try:
        config = {**raw["config"], "sources": tuple(raw["config"]["sources"])}
        return Manifest(
            config=Config(**config),
            counts=Counts(**raw["counts"]),
            inputs=raw["inputs"],
            shards=[Shard(**shard) for shard in raw["shards"]],
            lookup=raw["lookup"],
            versions=raw["versions"],
        )
    except (KeyError, TypeError) as error:
        raise CacheCorruptError(
            f"{path} is damaged ({error}); restore it from a copy, or build the cache anew"
        ) from None


def open_or_create(directory: Path, config: Config) -> Manifest:
    """The manifest of the cache in ``directory``, made if the directory is absent or empty. Hold the lock.

    Raises:
        CacheFormatError: the directory holds something else, or a cache of another format version.
        CacheMismatchError: the cache there was built with another configuration.
    """
    if (directory / MANIFEST).exists():
        manifest = read_manifest(directory)
        check_same(directory, manifest.config, config)
        return manifest
    if others := sorted(p.name for p in directory.iterdir() if p.name not in (LOCK, MANIFEST + TEMPORARY)):
        raise CacheFormatError(
            f"{directory} is neither empty nor a rewrite cache (it holds {others[0]!r}); give a new directory"
        )
    manifest = Manifest(config, versions=_versions())
    manifest.save(directory)
    return manifest


def check_same(directory: Path, there: Config, asked: Config) -> None:
    """Raise :class:`CacheMismatchError`, listing what differs, unless the two configurations are the same."""
    names = ("augmenter", "fingerprint", "seed", "n", "sources")
    if all(getattr(there, name) == getattr(asked, name) for name in names):
        return
    differences = [
        f"{name}: {getattr(there, name)!r} there, {getattr(asked, name)!r} asked for"
        for name in names
        if name != "fingerprint" and getattr(there, name) != getattr(asked, name)
    ]
    before, now = dict(_flat(there.describe)), dict(_flat(asked.describe))
    for name in sorted({*before, *now} - {"augmenter", "sources"}):
        old, new = before.get(name), now.get(name)
        if old != new:
            differences.append(f"{name}: {old!r} there, {new!r} asked for")
    if not differences:
        differences = [f"fingerprint: {there.fingerprint} there, {asked.fingerprint} asked for"]
    raise CacheMismatchError(
        f"the cache in {directory} was built with another configuration:\n  "
        + "\n  ".join(differences)
        + "\ngive the options it was built with, or another --cache directory"
    )


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``{"a": {"b": 1}}`` as ``a.b``, 1."""
    for name, part in value.items():
        if isinstance(part, dict):
            yield from _flat(part, f"{prefix}{name}.")
        else:
            yield prefix + name, part


def _versions() -> dict[str, str]:
    found = {"laclip-aug": __version__, "python": platform.python_version()}
    for package in ("pyarrow", "lmdb", "numpy", "llama-cpp-python"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

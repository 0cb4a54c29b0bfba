"""What made the texts of a cache, and what may be mixed in it."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from laclip_aug.augmenter import CaptionAugmenter
from laclip_aug.cache.storable import encodable
from laclip_aug.errors import CacheMismatchError
from laclip_aug.version import __version__


@dataclass(frozen=True)
class Config:
    """What can change the texts of a cache. Two runs share a cache only if all but ``describe`` is the same.

    ``describe`` is for people: it says in words what the fingerprint stands for.
    """

    augmenter: str
    fingerprint: str
    seed: int
    n: int
    sources: tuple[str, ...]
    describe: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, augmenter: CaptionAugmenter, seed: int, n: int) -> Config:
        """The configuration of a build with ``augmenter``, as JSON will give it back."""
        return cls(
            augmenter.name,
            augmenter.fingerprint(),
            seed,
            n,
            tuple(map(encodable, augmenter.sources)),
            as_json(augmenter.describe()),
        )

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Config:
        """The configuration that ``dataclasses.asdict`` and JSON made ``raw`` of."""
        return cls(**{**raw, "sources": tuple(map(encodable, raw["sources"]))})

    @property
    def keyed_by(self) -> str:
        """What finds a record: its ``"caption"``, or the key of its ``"image"``."""
        return str(self.describe.get(KEYED_BY, "caption"))

    def same(self, other: Config) -> bool:
        """Whether the texts of both may share a cache."""
        return all(getattr(self, name) == getattr(other, name) for name in _COMPARED)


ADDED = "added"
"""Key in a description: what made the texts that were put beside those of a finished cache."""
KEYED_BY = "keyed_by"
"""Key in a description: what finds a record, if it is not its caption."""
_COMPARED = ("augmenter", "fingerprint", "seed", "n", "sources")


def check_same(directory: Path, there: Sequence[Config], asked: Config, of: Path | None = None) -> None:
    """Raise :class:`CacheMismatchError`, listing what differs from the first, unless ``asked`` is one of ``there``.

    ``there`` are those of the cache in ``directory``; ``asked`` is that of the cache ``of``, or else of a run.
    """
    if any(config.same(asked) for config in there):
        return
    first = there[0]
    old_at, new_at = ("there", "asked for") if of is None else (f"in {directory}", f"in {of}")
    differences = [
        (name, getattr(first, name), getattr(asked, name))
        for name in _COMPARED
        if name != "fingerprint" and getattr(first, name) != getattr(asked, name)
    ]
    before, now = dict(_flat(first.describe)), dict(_flat(asked.describe))
    for name in sorted({*before, *now} - {"augmenter", "sources"}):
        if before.get(name) != now.get(name):
            differences.append((name, before.get(name), now.get(name)))
    lines = [f"{name}: {old!r} {old_at}, {new!r} {new_at}" for name, old, new in differences]
    if not lines:
        lines = [f"fingerprint: {first.fingerprint} {old_at}, {asked.fingerprint} {new_at}"]
    if of is None:
        head = f"the cache in {directory} was built with another configuration:"
        advice = (
            "give the options it was built with, or another --cache directory; laclip-aug build and laclip-aug cache "
            "merge take --allow-mixed, which has both in one cache"
        )
    else:
        head = f"{of} was built with another configuration than {directory}:"
        advice = "leave one of them out, or have both in one cache with --allow-mixed"
    raise CacheMismatchError("\n".join([head, *(f"  {line}" for line in lines), advice]))


def check_keyed(directory: Path, there: Sequence[Config], asked: Config) -> None:
    """Raise :class:`CacheMismatchError` unless all find their records in one way, which no option can do without."""
    for config in there:
        if config.keyed_by != asked.keyed_by:
            raise CacheMismatchError(
                f"the cache in {directory} is keyed by {config.keyed_by}s, and these records by {asked.keyed_by}s; "
                "keep them in two caches"
            )


def run_of(provenance: dict[str, Any]) -> dict[str, Any]:
    """What a shard records of the run that made it: ``provenance`` and the versions of what was at work."""
    versions = {"laclip-aug": __version__, "python": platform.python_version()}
    for package in ("pyarrow", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {**as_json(provenance), "versions": versions}


def as_json(value: dict[str, Any]) -> dict[str, Any]:
    """``value`` as JSON will give it back; what JSON does not know becomes text."""
    return dict(json.loads(json.dumps(value, default=str)))


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``{"a": {"b": 1}}`` as ``a.b``, 1."""
    for name, part in value.items():
        if isinstance(part, dict):
            yield from _flat(part, f"{prefix}{name}.")
        else:
            yield prefix + name, part

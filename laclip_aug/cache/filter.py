"""A finished cache through another gate: nothing is made again, nothing is lost.

Shard follows shard, with the same captions in the same order. What the gate refuses stays in the record with the
signal's name, its value and its place, so that another gate brings it back; the cache that results depends on the texts
and on the last gate alone. What the writer told of a text stays with it as well, so that its own numbers are asked for
like any others. Filtered with ``none``, a cache is again what it was before its first filter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from laclip_aug.cache.bar import Bar, Bars
from laclip_aug.cache.browse import snapshot
from laclip_aug.cache.compile import clear_tables, compile_lookup
from laclip_aug.cache.config import ADDED, Config
from laclip_aug.cache.format import Counts, Manifest
from laclip_aug.cache.keys import caption_key
from laclip_aug.cache.lock import writer_lock
from laclip_aug.cache.shards import read_captions, read_keys, read_shard, write_shard
from laclip_aug.cache.writer import next_shard, open_manifest, origin_of_run
from laclip_aug.errors import CacheMismatchError, ConfigurationError
from laclip_aug.exchange.addresses import local_directory
from laclip_aug.exchange.images import ImagePlace
from laclip_aug.quality.gate import RELATED, Gate, measured
from laclip_aug.quality.gated import gated_fingerprint, pairs_of, regated
from laclip_aug.quality.sweep import Swept

FILTER = "filter"
"""Key in a configuration's description: the gate, and the fingerprint before the first filter."""

Images = dict[bytes, ImagePlace]
"""Caption's key → where its image is."""
ReadImages = Callable[[], Images]
"""Reads where they are, which may take long."""


@dataclass
class FilterReport:
    """What a filter did: totals before and after, texts that came back, numbers that are not known by signal."""

    before: Counts
    after: Counts = field(default_factory=Counts)
    seconds: float = 0.0
    unknown: dict[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The report for people, one statement a line."""
        had, has = sum(self.before.rewrites.values()), sum(self.after.rewrites.values())
        out = [f"{had} texts before, {has} now; {self.after.captions} captions, {self.after.with_rewrites} with a text"]
        for source in sorted({*self.before.rewrites, *self.after.rewrites}):
            out.append(f"  {source}: {self.before.rewrites.get(source, 0)} → {self.after.rewrites.get(source, 0)}")
        for reason in sorted({*self.before.rejections, *self.after.rejections}):
            was, now = self.before.rejections.get(reason, 0), self.after.rejections.get(reason, 0)
            if was != now:
                out.append(f"  refused, {reason}: {was} → {now}")
        out += [f"  not known, {name}: {number}; not refused for it" for name, number in self.unknown.items() if number]
        return [*out, f"{self.seconds:.1f} s, {(had or has) / max(self.seconds, 1e-9):.0f} texts/s"]


def gate_of(directory: Path, spec: str) -> str:
    """``spec``; for ``default`` the gate that the cache was built with, or ``RELATED`` if there was none."""
    if spec != "default":
        return spec
    built = unfiltered(snapshot(directory).manifest.config).describe.get("gate") or {}
    return str(built.get("spec") or RELATED) if isinstance(built, dict) else str(built)


def filter_cache(
    directory: str | Path,
    out: str | Path,
    spec: str,
    images: ReadImages | None = None,
    progress: bool | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> FilterReport:
    """Write the cache in ``directory`` to ``out``, its texts divided by the gate ``spec``.

    Killed, the same call goes on with the shard that was under way.

    Args:
        directory: a cache whose build has finished.
        out: a new directory, or what the same call left when it was killed.
        images: for signals that look at images; called once all else is known to be right.
        progress: show a bar for each step; ``None`` shows it on a terminal, and how far it is as lines in a log.
        clock: seconds, as ``time.monotonic``.

    Raises:
        ConfigurationError: the gate is wrong or needs images, the build has not finished, or ``out`` is the cache.
        CacheMismatchError: ``out`` holds another cache.
        CacheFormatError, CacheCorruptError: a cache cannot be read.
        CacheError: the disk is full, or another process writes ``out``.
    """
    directory, out = local_directory(directory), local_directory(out)
    gate = Gate(gate_of(directory, spec))
    now = snapshot(directory)
    _check_images(gate, images, now.manifest)
    if now.pending:
        raise ConfigurationError(f"the build of {directory} has not finished; run it to its end first")
    if out.exists() and out.resolve() == directory.resolve():
        raise ConfigurationError(f"{out} is the cache itself; give a new directory with --out")
    gate.load()
    source, report = now.manifest, FilterReport(now.manifest.counts)
    bars, started = partial(Bar, shown=progress, clock=clock), clock()
    with writer_lock(out):
        target = open_manifest(out)
        expected = Manifest(
            [filtered(config, gate) for config in source.configs],
            runs=source.runs,
            inputs=source.inputs,
            unfinished=True,
        )
        if target.shards:
            _check_begun(directory, source, out, target, expected)
        else:
            target = expected
        todo = source.shards[len(target.shards) :]
        look = _look(images() if images and todo else None)
        if todo:
            gate.learn(_Captions(directory, source, bars))
        with bars("filter", sum(shard.rows for shard in todo)) as bar:
            for shard in todo:
                stored = [record for _, record in read_shard(directory, shard)]
                made = regated(stored, gate, _wanted(source, shard), look, bar.share(shard.rows))
                with next_shard(out, target) as index:
                    written = write_shard(out, index, made, [origin_of_run(target, run) for run in shard.made_by])
                    target.shards.append(replace(written, made_by=shard.made_by))
        compile_lookup(out, target, bars=bars)
        target.unfinished = source.unfinished
        target.save(out)
        clear_tables(out, target)
    report.after, report.seconds, report.unknown = target.counts, clock() - started, dict(gate.unknown)
    return report


def sweep(
    directory: str | Path,
    spec: str,
    images: ReadImages | None = None,
    progress: bool | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Swept]:
    """For each condition of ``spec``, ``"words>="`` → the values of all texts of the cache.

    Holds the texts of one shard at a time, and of the values how often there is each. Arguments as of
    :func:`filter_cache`.

    Raises:
        As :func:`filter_cache`.
    """
    directory = local_directory(directory)
    gate = Gate(gate_of(directory, spec))
    now = snapshot(directory)
    _check_images(gate, images, now.manifest)
    gate.load()
    bars, look = partial(Bar, shown=progress, clock=clock), _look(images() if images else None)
    gate.learn(_Captions(directory, now.manifest, bars))
    sides = {condition.side: condition for condition in gate.conditions}  # of two bounds on one side the values are one
    found = {side: Swept(condition.at_least) for side, condition in sides.items()}
    with bars("sweep", sum(shard.rows for shard in now.manifest.shards)) as bar:
        for shard in now.manifest.shards:
            pairs = [pair for _, r in read_shard(directory, shard) for pair in pairs_of(r, look(r.caption))]
            for side, condition in sides.items():
                noted = bar.share(shard.rows / len(sides))
                found[side].add(measured(gate.signals[condition.reference], pairs, noted))
    return found


def filtered(config: Config, gate: Gate) -> Config:
    """What stands for the texts that ``gate`` makes of those of ``config``; ``config`` as built, if it is empty."""
    base = unfiltered(config)
    if not gate:
        return base
    note = {**gate.describe(), "fingerprint": base.fingerprint}
    return replace(
        base, fingerprint=gated_fingerprint(base.fingerprint, gate), describe={**base.describe, FILTER: note}
    )


def unfiltered(config: Config) -> Config:
    """``config`` as it was before its first filter."""
    note = config.describe.get(FILTER)
    if note is None:
        return config
    describe = {name: value for name, value in config.describe.items() if name != FILTER}
    return replace(config, fingerprint=note["fingerprint"], describe=describe)


def _check_images(gate: Gate, images: ReadImages | None, manifest: Manifest) -> None:
    if images is not None and manifest.by_image:
        raise ConfigurationError("images are found by captions, and this cache is keyed by images; leave out --images")
    for reference, signal in gate.signals.items():
        if signal.needs == "images" and images is None:
            raise ConfigurationError(f"{reference} looks at images; say where they are with --images")


def _check_begun(directory: Path, source: Manifest, out: Path, target: Manifest, expected: Manifest) -> None:
    """Raise unless ``out`` is the beginning of what is to be written."""
    same = [c.fingerprint for c in target.configs] == [c.fingerprint for c in expected.configs]
    pairs = zip(source.shards, target.shards, strict=False)
    if (
        not same
        or len(target.shards) > len(source.shards)
        or any(list(read_keys(directory, a)) != list(read_keys(out, b)) for a, b in pairs)
    ):
        raise CacheMismatchError(f"{out} holds another cache, or one by another gate; give a new directory with --out")


def _wanted(source: Manifest, shard: Any) -> dict[str, int] | None:
    """Texts of each source that a build asked for; None where texts were not asked for but imported."""
    configs = [source.configs[source.runs[run]["config"]] for run in shard.made_by]
    if not configs or any(c.augmenter == "import" or ADDED in c.describe for c in configs):
        return None
    config = max(configs, key=lambda config: config.n)
    names = config.sources
    return {name: len(range(place, config.n, len(names))) for place, name in enumerate(names)}


@dataclass(frozen=True)
class _Captions:
    """The captions of a cache, for signals that learn from them: each reads them anew."""

    directory: Path
    source: Manifest
    bars: Bars

    def __iter__(self) -> Iterator[str]:
        shards = self.source.shards
        with self.bars("learning the captions' words", sum(shard.rows for shard in shards)) as bar:
            yield from bar.over(c for shard in shards for c in read_captions(self.directory, shard))


def _look(images: Images | None) -> Callable[[str], Callable[[], bytes] | None]:
    def look(caption: str) -> Callable[[], bytes] | None:
        place = None if images is None else images.get(caption_key(caption))
        return None if place is None else place.read

    return look

"""Texts of further strategies for the captions of a finished cache; what it holds is kept and not made again."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from laclip_aug.augmenter import CaptionAugmenter, Outcome, Rejection
from laclip_aug.cache.browse import records, snapshot
from laclip_aug.cache.build import CHUNK, Run
from laclip_aug.cache.build_report import BuildReport
from laclip_aug.cache.config import ADDED, Config
from laclip_aug.cache.format import INPUT_SOURCE
from laclip_aug.cache.keys import normalise
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.errors import ConfigurationError
from laclip_aug.exchange.addresses import local_directory
from laclip_aug.exchange.log import InputLog


def add_texts(
    directory: str | Path,
    out: str | Path,
    augmenter: CaptionAugmenter,
    *,
    n: int | None = None,
    seed: int | None = None,
    progress: bool | None = None,
) -> BuildReport:
    """Write the cache in ``directory`` to ``out`` with ``augmenter``'s texts beside its own.

    Killed, the same call goes on. Captions that fail are not in ``out``, and the next call asks for them again. Records
    of captions that no augmenter should see are written as they are; how long these may be, the cache's build was told.

    Args:
        n: new texts per caption; default one for each of the augmenter's sources.
        seed: of the new texts; default that of the cache.

    Raises:
        ConfigurationError: the cache is not finished, is mixed, has texts of the augmenter's sources, or is ``out``.
        CacheFormatError, CacheCorruptError: it cannot be read.
        CacheMismatchError: ``out`` holds something else.
        CacheError: the disk is full, or another process writes ``out``.
    """
    directory, out = local_directory(directory), local_directory(out)
    now = snapshot(directory)
    if now.pending or now.manifest.unfinished:
        raise ConfigurationError(f"the build of {directory} has not finished; run it to its end first")
    if out.exists() and out.resolve() == directory.resolve():
        raise ConfigurationError(f"{out} is the cache itself; give a new directory with --out")
    if now.manifest.by_image:
        raise ConfigurationError(
            f"{directory} is keyed by images, and new texts are made of captions; make a cache of their own of them: "
            "laclip-aug build INPUT --cache DIR"
        )
    if len(now.manifest.configs) > 1:
        raise ConfigurationError(f"{directory} is mixed of several configurations; add to each before they are merged")
    n = len(augmenter.sources) if n is None else n
    base = now.manifest.config
    added = Config.of(augmenter, base.seed if seed is None else seed, n)
    if there := sorted({*base.sources, *now.counts.rewrites} & {*added.sources}):
        raise ConfigurationError(
            f"{directory} has texts of {', '.join(there)} already; name others, such as with --strategies"
        )
    with CacheWriter(out, joined_config(base, added), provenance=augmenter.provenance()) as writer:
        writer.manifest.inputs.update(now.manifest.inputs)
        run = Run(writer, InputLog(bytes_total=1), sys.maxsize, progress)
        total, held = max(1, now.counts.captions), dict[str, Outcome]()
        run.log.position = lambda: 0

        def asked() -> Iterator[str]:
            source = records(directory)
            while slab := list(islice(source, CHUNK)):
                run.log.rows += len(slab)
                run.log.bytes_before = run.log.rows / total  # type: ignore[assignment]  # a fraction of one
                for record, new in zip(slab, writer.new_records(slab), strict=True):
                    if reason := _refused(record) or run.unfit(record.caption):
                        run.log.reject(reason, repr(record.caption[:60]))
                        if new:
                            writer.add(record)
                    elif new:
                        run.pending.add(record.caption)
                        held[record.caption] = record
                        yield record.caption
                    else:
                        run.report.repeated += 1

        def joined() -> Iterator[Outcome]:
            for outcome in augmenter.outcomes(asked(), n, added.seed):
                before = held.pop(outcome.caption, None)
                yield outcome if before is None or outcome.failed else _joined(before, outcome)

        try:
            run.take(joined())
        finally:
            run.close()
        return run.finish([f"the texts of {base.augmenter} there were"])


def joined_config(base: Config, added: Config) -> Config:
    """What stands for the texts of both: no build has this fingerprint, since one made at once may differ."""
    both = json.dumps([base.fingerprint, base.seed, added.fingerprint, added.seed, added.n])
    return replace(
        base,
        fingerprint=f"added-{hashlib.sha256(both.encode()).hexdigest()[:24]}",
        n=base.n + added.n,
        sources=(*base.sources, *added.sources),
        describe={**base.describe, "sources": [*base.sources, *added.sources], ADDED: added.describe},
    )


def _refused(record: Outcome) -> str | None:
    """The reason if the cache's build found the caption too long."""
    found = any((r.source, r.reason) == (INPUT_SOURCE, "too-long") for r in record.rejections)
    return "too-long" if found else None


def _joined(before: Outcome, new: Outcome) -> Outcome:
    """Both records as one; a new text that says what one of before says is a duplicate."""
    said = {normalise(rewrite.text) for rewrite in before.rewrites}
    fresh = tuple(rewrite for rewrite in new.rewrites if normalise(rewrite.text) not in said)
    twice = [Rejection(r.source, "duplicate", r.text, told=r.told) for r in new.rewrites if normalise(r.text) in said]
    return Outcome(
        before.caption,
        (*before.rewrites, *fresh),
        (*before.rejections, *new.rejections, *twice),
        before.tokens + new.tokens,
    )

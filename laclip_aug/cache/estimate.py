"""What a build would take, from a few hundred captions made by the real engine and stored in a cache for a moment.

Samples of growing size are made, until one took a few seconds: what passes in less says little of a machine, and small
batches are not what a build makes. The engine starts with the first, so the last and largest tells the time of a
caption, and what the first took beyond that is counted once. Files have heads: a caption takes the difference of the
two sizes over that of the numbers of captions.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from laclip_aug.augmenter import CaptionAugmenter
from laclip_aug.cache.bar import Bar
from laclip_aug.cache.build import MAX_CAPTION_CHARS, Run
from laclip_aug.cache.config import Config
from laclip_aug.cache.keys import key_of
from laclip_aug.cache.part import Part
from laclip_aug.cache.todo import missing_captions
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.errors import ConfigurationError
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.readers import CaptionInput, InputOptions

_SMALL = 4  # the first sample is so many times smaller, and each that follows the second so many times larger
_SECONDS = 8.0  # that the last of them takes, unless all that is asked for is made
_MOST = 16  # times the captions asked for, at most
_BUSY = 1.3  # an engine with a thread a core makes about 1


@dataclass(frozen=True)
class Estimate:
    """What is left to do (``captions`` of ``rows`` rows), and what it would take on this machine.

    ``load``: the processes that wanted a core meanwhile, over the cores there are.
    """

    rows: int
    captions: int
    sample: int
    seconds: float
    tokens: float
    bytes: float
    acceptance: float
    failed: int = 0
    load: float = 0.0
    input: InputLog = field(default_factory=InputLog)

    def lines(self, price_per_hour: float | None = None) -> list[str]:
        """The estimate for people, one statement a line."""
        count = max(1, self.captions)
        out = [f"read {self.rows} rows: {self.captions} captions are to be made, of which {self.sample} were tried"]
        out += [f"  {line}" for line in self.input.lines()]
        if self.failed:
            out.append(
                f"{self.failed} of these failed, so that the figures say little; run without --dry-run to see why"
            )
        return [
            *out,
            f"time: {_duration(self.seconds)} on this machine ({count / max(self.seconds, 1e-9):.1f} captions/s)",
            *([] if self.load < _BUSY else [f"  the machine is busy, {self.load:.1f} processes for each core: alone, a "
                                            f"build may take down to {_duration(self.seconds / self.load)}"]),
            f"tokens: {self.tokens:.3g} ({self.tokens / count:.1f} a caption)",
            f"accepted: {self.acceptance:.1%} of attempts",
            f"disk: {self.bytes / 2**20:.3g} MiB ({self.bytes / count:.0f} bytes a caption), up to twice that while "
            "the look-up is made",
            *([] if price_per_hour is None else [f"cost: {self.seconds / 3600 * price_per_hour:.2f}, at "
                                                 f"{price_per_hour:g} an hour"]),
            "nothing was stored",
        ]  # fmt: skip


def estimate(
    inputs: list[str],
    directory: Path,
    augmenter: CaptionAugmenter,
    *,
    n: int | None = None,
    seed: int = 0,
    options: InputOptions | None = None,
    max_caption_chars: int = MAX_CAPTION_CHARS,
    part: Part | None = None,
    sample: int,
) -> Estimate:
    """Read all of ``inputs``, make a sample of what the cache in ``directory`` lacks, and reckon the rest.

    ``sample`` captions are made, and more where these take no time. They are those of the least keys, which are
    hashes: the order depends on the captions alone.

    Raises:
        ConfigurationError: nothing is left to make, or the sample is smaller than 8.
        InputError, CacheError: as :func:`laclip_aug.cache.build.build_cache`.
    """
    if sample < 2 * _SMALL:
        raise ConfigurationError(f"a dry run of {sample} captions says nothing; give at least {2 * _SMALL}")
    captions = CaptionInput(inputs, options)
    n = len(augmenter.sources) if n is None else n
    config = Config.of(augmenter, seed, n)
    started = time.monotonic()
    count, chosen = _drawn(captions, directory, max_caption_chars, part, _MOST * sample)
    reading = time.monotonic() - started
    if not chosen:
        raise ConfigurationError(f"nothing is left to make of {captions.log.rows} rows; {directory} has all of it")
    made: list[_Made] = []
    for some in _growing(chosen, sample):
        made.append(_made(some, augmenter, config, max_caption_chars))
        if len(made) > 1 and made[-1].seconds >= _SECONDS:
            break
    first, most = made[0], max(made, key=lambda one: one.captions)  # the very last may be what was left over
    tried = sum(one.captions for one in made)
    each = most.seconds / most.captions
    more = most.captions - first.captions
    size = (most.bytes - first.bytes) / more if more > 0 else sum(one.bytes for one in made) / tried
    once = max(0.0, first.seconds - first.captions * each), max(0.0, first.bytes - first.captions * size)
    tries = sum(one.tries for one in made)
    return Estimate(
        captions.log.rows,
        count,
        tried,
        reading + once[0] + count * each,
        count * sum(one.tokens for one in made) / tried,
        once[1] + count * size,
        sum(one.accepted for one in made) / max(1, tries),
        sum(one.failed for one in made),
        os.getloadavg()[0] / (os.cpu_count() or 1),
        captions.log,
    )


def _growing(chosen: list[str], sample: int) -> Iterator[list[str]]:
    """``chosen`` in parts: a small one, the rest of ``sample``, and parts that grow."""
    at, size = 0, max(1, min(sample, len(chosen)) // _SMALL)
    while at < len(chosen):
        yield chosen[at : at + size]
        at, size = at + size, sample - size if at == 0 else size * _SMALL


def _drawn(
    captions: CaptionInput, directory: Path, max_chars: int, part: Part | None, sample: int
) -> tuple[int, list[str]]:
    """How many captions a build would make, and those of the least keys, in the order of these."""
    least: list[tuple[int, str]] = []
    count = 0
    with Bar("reading", None, part=lambda: captions.log.fraction) as bar:
        for text in missing_captions(bar.over(captions), directory, max_chars, part):
            count += 1
            entry = (-int.from_bytes(key_of(text), "big"), text)
            if len(least) < sample:
                heapq.heappush(least, entry)
            elif entry > least[0]:
                heapq.heapreplace(least, entry)
    return count, [text for _, text in sorted(least, reverse=True)]


@dataclass(frozen=True)
class _Made:
    captions: int
    seconds: float
    bytes: int
    tokens: int
    accepted: int
    tries: int
    failed: int


def _made(chosen: list[str], augmenter: CaptionAugmenter, config: Config, max_chars: int) -> _Made:
    """A build of ``chosen``, and what it took."""
    with TemporaryDirectory() as folder:
        place, started = Path(folder) / "cache", time.monotonic()
        with CacheWriter(place, config) as writer:
            run = Run(writer, InputLog(), max_chars, None)
            try:
                run.take(augmenter.outcomes(_asked(run, chosen), config.n, config.seed))
            finally:
                run.close()
            report = run.finish(["dry run"])
        seconds = time.monotonic() - started
        size = sum(file.stat().st_size for file in place.iterdir())
        counts, accepted = report.cache, sum(report.cache.rewrites.values())
        tries = accepted + sum(counts.rejections.values())
        return _Made(len(chosen), seconds, size, counts.tokens, accepted, tries, sum(report.failed.values()))


def _asked(run: Run, chosen: list[str]) -> Iterator[str]:
    run.log.rows = len(chosen)
    return run.asked(chosen)


def _duration(seconds: float) -> str:
    """``"2 h 05 min"``, ``"3 min 20 s"`` or ``"4.2 s"``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"

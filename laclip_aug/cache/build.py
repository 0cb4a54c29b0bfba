"""Build a cache: captions in, one record per distinct caption out, by any augmenter."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from laclip_aug.augmenter import CaptionAugmenter, Outcome, Rejection
from laclip_aug.cache.browse import records
from laclip_aug.cache.build_report import BuildReport
from laclip_aug.cache.config import Config
from laclip_aug.cache.folding import Folding, folded_config
from laclip_aug.cache.format import INPUT_SOURCE
from laclip_aug.cache.keys import normalise
from laclip_aug.cache.part import Part
from laclip_aug.cache.progress import Progress
from laclip_aug.cache.storable import encodable, storable
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.errors import CacheError, ConfigurationError
from laclip_aug.exchange.addresses import local_directory
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.readers import MISSING, CaptionInput, InputOptions
from laclip_aug.quality.cleaning import is_nothing

MAX_CAPTION_CHARS = 4096
CHUNK = 4096


def build_cache(
    inputs: str | Path | list[str],
    directory: str | Path,
    augmenter: CaptionAugmenter,
    *,
    n: int | None = None,
    seed: int = 0,
    options: InputOptions | None = None,
    max_caption_chars: int = MAX_CAPTION_CHARS,
    shard_rows: int = 65536,
    progress: Progress | bool | None = None,
    allow_mixed: bool = False,
    fold: float | None = None,
    part: Part | None = None,
) -> BuildReport:
    """Augment every distinct caption of ``inputs`` into the cache in ``directory``; goes on where a killed run stopped.

    The augmenter gets each caption normalised, so that its texts do not depend on which spelling of its white space
    came first. Captions that are missing (the trainer reads ``nan``), empty for CLIP, longer than
    ``max_caption_chars``, or hold a NUL are recorded without rewrites (the trainer may meet them) and counted as
    refused; those that are not Unicode text are only counted.

    Memory: 16 to 32 bytes per distinct caption (6 to 13 GB at 400 million), one shard, and what the augmenter holds.

    Args:
        inputs: one or more files, as :class:`CaptionInput` takes them.
        n: texts per caption; default one for each of the augmenter's sources.
        seed: texts are a function of (seed, caption).
        progress: show a progress bar; ``None`` shows it on a terminal, and its state as lines in a log. Or one's own.
        allow_mixed: add to a cache that was built with another configuration; the manifest records both.
        fold: give a caption that is this like an earlier one of ``inputs``, from 0.98 to 1, the rewrites of that one
            (:mod:`laclip_aug.cache.folding`). Takes 2 to 3 KB of memory for each caption that is not folded.
        part: build this part of the captions only; :func:`laclip_aug.cache.merge.merge_caches` puts all together.

    Raises:
        ConfigurationError: ``fold`` and ``part`` are given, and a part does not see all that could be folded onto.
        InputError: an input cannot be read. What was made before is kept.
        CacheFormatError, CacheMismatchError: ``directory`` cannot take these texts.
        CacheError: it is being written by another process, the disk is full, or the augmenter broke its contract.
    """
    directory = local_directory(directory)
    captions = CaptionInput([str(inputs)] if isinstance(inputs, str | Path) else inputs, options)
    n = len(augmenter.sources) if n is None else n
    config = Config.of(augmenter, seed, n)
    if fold is not None and part is not None:
        raise ConfigurationError("--fold compares all captions, and a shard has some of them; leave out one of both")
    if fold is not None:
        config = folded_config(config, fold)
    with CacheWriter(directory, config, shard_rows, augmenter.provenance(), allow_mixed) as writer:
        folding = None if fold is None else Folding(fold, records(directory) if len(writer.done) else ())
        run = Run(writer, captions.log, max_caption_chars, progress, folding, part)
        try:
            run.take(augmenter.outcomes(run.asked(captions), n, seed))
        finally:
            run.close()
        return run.finish(captions.files)


class Run:
    """One run over an input: which captions to ask for, what came back, the bar and the report."""

    def __init__(
        self,
        writer: CacheWriter,
        log: InputLog,
        max_chars: int,
        progress: Progress | bool | None,
        folding: Folding | None = None,
        part: Part | None = None,
    ) -> None:
        self.writer, self.log, self.max_chars, self.folding, self.part = writer, log, max_chars, folding, part
        self.report = BuildReport(
            recovered=writer.recovered, dropped_bytes=writer.dropped_bytes, damage=writer.damage, input=log
        )
        self.report.left_out = writer.left_out
        self.pending: set[str] = set()
        self.started = time.monotonic()
        self.progress = progress if isinstance(progress, Progress) else Progress(progress)

    def asked(self, captions: Iterable[str]) -> Iterator[str]:
        """The captions to augment, read a slab at a time."""
        source = iter(captions)
        while slab := list(islice(source, CHUNK)):
            if self.part is not None:
                mine = [caption for caption in slab if self.part.has(normalise(caption))]
                # a missing caption is refused where it is read, in every part
                self.report.elsewhere += len(slab) - slab.count(MISSING) - (len(mine) - mine.count(MISSING))
                slab = mine
            yield from self._leading(slab, self.fit(slab))
            self._show()

    def _leading(self, slab: list[str], chosen: list[str | None]) -> Iterator[str]:
        """Those of ``chosen`` that fold onto no other; a slab is folded as a whole before anything of it is asked."""
        new = [caption for caption in chosen if caption is not None]
        if self.folding is None:
            return iter(new)
        fit = [(text, caption is not None) for text, caption in zip(map(normalise, slab), chosen, strict=True)]
        fit = [(text, is_new) for text, is_new in fit if is_new or not self.unfit(text)]
        held = self.folding.hold([text for text, _ in fit], [is_new for _, is_new in fit])
        self.pending -= {text for (text, _), waits in zip(fit, held, strict=True) if waits}
        return iter([text for (text, is_new), waits in zip(fit, held, strict=True) if is_new and not waits])

    def fit(self, slab: list[str]) -> list[str | None]:
        """Each caption normalised, or ``None`` if it is known to the cache or no augmenter should see it."""
        chosen: list[str | None] = []
        texts = [normalise(caption) for caption in slab]
        for given, caption, new in zip(slab, texts, self.writer.new(texts), strict=True):
            reason = self.unfit(caption)
            if reason:
                if given != MISSING:  # that is counted where it was read
                    self.log.reject(reason, repr(caption[:60]))
                if new and reason != "not-unicode":
                    self.writer.add(Outcome(caption, (), (Rejection(INPUT_SOURCE, reason),)))
            elif new:
                self.pending.add(caption)
            else:
                self.report.repeated += 1
            chosen.append(caption if new and not reason else None)
        return chosen

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Store what the augmenter makes."""
        for outcome in outcomes:
            if outcome.caption not in self.pending:
                raise CacheError(
                    f"the augmenter gave a result for {outcome.caption[:80]!r}, which was not asked for, or was "
                    "answered before; nothing of it was stored: report this to the augmenter's author"
                )
            self.pending.remove(outcome.caption)
            self.settle(outcome)
            for folded in () if self.folding is None else self.folding.released(outcome):
                self.report.folded += self._store(folded) is not None

    def settle(self, outcome: Outcome) -> None:
        """Store one result, or count it as failed."""
        if record := self._store(outcome):
            self.report.made += 1
            self.report.run.add(record)
            self._show()

    def _store(self, outcome: Outcome) -> Outcome | None:
        """Add it to the cache, or count it as failed."""
        if outcome.failed:
            self.report.fail(outcome)
            return None
        record = storable(outcome)
        self.writer.add(record)
        return record

    def finish(self, files: list[str]) -> BuildReport:
        """Commit, compile the lookup, and report."""
        if self.pending:
            raise CacheError(
                f"the augmenter gave no result for {len(self.pending)} captions, such as {min(self.pending)[:80]!r}; "
                "what it gave is stored: report this to the augmenter's author, and run the same command again"
            )
        for folded in () if self.folding is None else self.folding.rest(lambda: records(self.writer.directory)):
            self.report.folded += self._store(folded) is not None
        self.report.seconds = time.monotonic() - self.started
        entry: dict[str, Any] = {"rows": self.log.rows, "rejections": dict(self.log.rejections.most_common())}
        if self.part is not None:
            entry["shard"] = str(self.part)
        if self.log.audit:
            entry["alignment"] = self.log.audit
        if self.report.failed:
            entry["failed"] = dict(self.report.failed.most_common())
        self.writer.manifest.inputs["::".join(files)] = entry
        self.writer.finish(self.progress.step)
        self.report.cache = self.writer.manifest.counts
        return self.report

    def close(self) -> None:
        """Show the last state, and end the bar."""
        self._show(force=True)
        self.progress.close()

    def unfit(self, caption: str) -> str | None:
        """Why no augmenter should see ``caption``, if there is a reason."""
        return self.unfit_for(caption, self.max_chars)

    @staticmethod
    def unfit_for(caption: str, max_chars: int) -> str | None:
        """The same, where captions of more than ``max_chars`` characters are too long."""
        if caption == MISSING:
            return "missing"
        if encodable(caption) != caption:  # before what is recorded: no file of the cache can hold it
            return "not-unicode"
        if len(caption) > max_chars:
            return "too-long"
        if is_nothing(caption):
            return "empty"
        return "nul" if "\0" in caption else None

    def _show(self, force: bool = False) -> None:
        fraction, run = self.log.fraction, self.report.run
        total = max(self.log.rows, round(self.log.rows / fraction)) if fraction else None
        # not below 0: a row of an import may hold several captions, and a part's are not spread evenly
        done = max(0, self.log.rows - len(self.pending) * (1 if self.part is None else self.part.count))
        accepted = run.acceptance if run.tried else None
        self.progress.show(done, total, self.report.made, run.tokens, accepted, force)

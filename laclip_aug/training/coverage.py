"""How much of the training data each cache covers, found before training starts.

A cache built from another file, or with another caption column, would otherwise show after hours, or not at all. The
captions of a table are all looked up; of webdataset shards, a sample is.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import Any
from urllib.parse import urlparse

from tqdm import tqdm

from laclip_aug.errors import CacheMissError, ConfigurationError, InputError
from laclip_aug.exchange.addresses import is_address, scheme_of, through_a_pipe
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.places import about_directory, kind_of
from laclip_aug.exchange.tars import TextKeys, tar_captions
from laclip_aug.seeding import generator
from laclip_aug.training.counts import Drawn
from laclip_aug.training.options import TextAugOptions
from laclip_aug.training.sources import RewriteLookup

SAMPLE_SIZE = 1000
_MAX_SHARDS = 4  # opened at the start, possibly over a network
_DEVIATIONS = 3  # by which a sample may exceed the share that may miss
_NO_CHANCE = 20  # a count that e^20 to 1 is against; a run has a look at one every few minutes, on each rank


@dataclass(frozen=True)
class TrainingCaptions:
    """Captions of the training data: the ``whole`` of them, or a sample.

    ``typed``: options by which ``laclip-aug build`` reads the same, quoted for a shell, with a space before; ``None``
    where they come from no file. ``remarks`` tell what could not be read, or is read in a way that few expect.
    """

    texts: Collection[Any]
    whole: bool
    typed: str | None = ""
    remarks: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[str]:
        return map(str, self.texts)


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of ``looked_up`` captions, ``found`` are in the cache, with ``rewrites`` texts to train on; some ``missing``.

    ``cache`` names the cache where there are several. ``imported``: all of its texts were made elsewhere.
    """

    looked_up: int
    found: int
    rewrites: int
    missing: tuple[str, ...]
    whole: bool = False
    cache: str = ""
    imported: bool = False

    def __str__(self) -> str:
        share = 100 * self.found / max(1, self.looked_up)
        return (
            f"text augmentation: {self.found} of {self.looked_up} {'' if self.whole else 'sampled '}training captions "
            f"({share:.1f}%) are in the cache{self.cache and ' '}{self.cache}, "
            f"with {self.rewrites / max(1, self.found):.2f} rewrites each"
        )


def measure(
    lookup: RewriteLookup, sources: Collection[str], captions: Iterable[str], whole: bool, cache: str = ""
) -> Coverage:
    """Look every caption up, and count its rewrites from ``sources``."""
    looked_up = found = rewrites = 0
    missing: list[str] = []
    for caption in captions:
        looked_up += 1
        texts = lookup.get(caption)
        if texts is not None:
            found += 1
            rewrites += sum(rewrite.source in sources for rewrite in texts)
        elif len(missing) < 3:
            missing.append(caption)
    made_by = [config.augmenter for config in getattr(getattr(lookup, "manifest", None), "configs", ())]
    imported = bool(made_by) and set(made_by) == {"import"}
    return Coverage(looked_up, found, rewrites, tuple(missing), whole, cache, imported)


def check_caches(
    caches: Iterable[tuple[RewriteLookup, Collection[str]]],
    captions: TrainingCaptions,
    args: Any,
    options: TextAugOptions,
) -> None:
    """:func:`check` each cache of ``options``, given as its lookup and the sources to train on; rank 0 shows a bar."""
    said, count = "looking up the training captions", len(captions.texts)
    for directory, (lookup, sources) in zip(options.caches, caches, strict=True):
        shown = tqdm(captions, said, count, disable=args.rank > 0, leave=False)
        name = directory if len(options.caches) > 1 else ""
        measured = measure(lookup, sources, shown, captions.whole, name)
        check(measured, captions, str(args.train_data), options)


def check(coverage: Coverage, captions: TrainingCaptions, data: str, options: TextAugOptions) -> None:
    """Log the coverage; refuse to start where missing captions would stop the training later.

    Raises:
        ConfigurationError: no caption of the training data could be read.
        CacheMissError: more captions are missing than ``options`` allow. A sample may show more than the share that
            may miss, by three standard deviations of such a count.
    """
    cache = coverage.cache or ", ".join(options.caches)
    if not coverage.looked_up:
        remarks = "; ".join(captions.remarks) or "it has none"
        raise ConfigurationError(
            f"no caption of the training data {data} could be read, so nothing can be said of the cache: {remarks}. "
            "Check --train-data (and --text-key or --json-text-key, where open_clip has them)"
        )
    if coverage.found and not coverage.rewrites:
        chosen = "" if options.strategies is None else " by the chosen strategies"
        message = (
            f"{coverage}: there is no rewrite{chosen}, so every caption is trained on as it is; "
            f"look at: laclip-aug cache info {quote(cache)}"
        )
        logging.warning("%s", message)
    elif coverage.found == coverage.looked_up:
        logging.info("%s", coverage)
    if coverage.found == coverage.looked_up:
        return
    examples = ", ".join(repr(caption[:80]) for caption in coverage.missing)
    advice = f"not in it, for example: {examples}. {_cure(coverage, captions, data, cache)}"
    missing = coverage.looked_up - coverage.found
    allowed = options.max_miss * coverage.looked_up
    if options.on_miss == "error" and missing > allowed + (0 if coverage.whole else _DEVIATIONS * math.sqrt(allowed)):
        share = math.ceil(1e4 * missing / coverage.looked_up) / 100  # rounded up, so that it is enough
        raise CacheMissError(
            f"{coverage}; {advice}. To train all the same: --text-aug-max-miss {share:g}%, or --text-aug-on-miss "
            "original"
        )
    logging.warning("%s; %s", coverage, advice)


def _cure(coverage: Coverage, captions: TrainingCaptions, data: str, cache: str) -> str:
    """How to add the captions that are missing."""
    if captions.typed is None:
        return "They are the trainer's own, in no file that a cache could be built from"
    remarks = "".join(f"; {remark}" for remark in captions.remarks if captions.whole)
    if coverage.imported:
        return (
            "To add what is missing, import its rewrites into that cache as well, or have some made: laclip-aug build "
            f"{quote(data)} --cache {quote(cache)}{captions.typed} --allow-mixed, with options of your choice{remarks}"
        )
    return (
        f"To add what is missing: laclip-aug build {quote(data)} --cache {quote(cache)}{captions.typed}, with the "
        f"options that the cache was built with{remarks}"
    )


def check_draws(drawn: Drawn, options: TextAugOptions) -> None:
    """Stop a training of which more captions miss the cache than ``options`` allow.

    Raises:
        CacheMissError: that is so, by more than chance can bring about in any look of a long run on many ranks.
    """
    allowed = options.max_miss * drawn.captions * len(options.caches)
    third = _NO_CHANCE / 3
    by_chance = third + math.sqrt(third**2 + 2 * _NO_CHANCE * allowed)  # Bernstein's bound
    if options.on_miss == "error" and drawn.missed > allowed + by_chance:
        raise CacheMissError(
            f"{drawn.missed} of {drawn.captions} captions missed the cache, more than --text-aug-max-miss "
            f"{100 * options.max_miss:.3g}%; add them with laclip-aug build on the training data, or resume with a "
            "larger share"
        )


def training_captions(dataset: Any, args: Any, seed: int) -> TrainingCaptions:
    """The captions of the training data, without touching the loader.

    A CSV dataset has them all in memory. Of webdataset shards, captions are read from the beginnings of a few, drawn by
    ``seed``, as the trainer reads them; what cannot be read is warned of, as the trainer goes on without it.

    Raises:
        InputError: the shards are a directory, or addresses that webdataset does not open: the trainer would wait
            for samples without end.
    """
    dataset = getattr(dataset, "base_dataset", dataset)  # the table that open_clip 4's NaFlex batches are made of
    captions: Collection[Any] | None = getattr(dataset, "captions", None)
    if captions is not None:
        return TrainingCaptions(captions, True, *_reading_of_table(args))
    if isinstance(caption := getattr(dataset, "caption", None), str):
        return TrainingCaptions([caption], True, None)
    if args.train_data is None:
        return TrainingCaptions([], True, None)
    from webdataset.shardlists import expand_urls

    files = [url for part in str(args.train_data).split("::") for url in expand_urls(part)]
    for url in files:
        _refuse_unopened(url)
    chosen = generator(seed, "coverage").sample(files, min(_MAX_SHARDS, len(files)))
    share = -(-SAMPLE_SIZE // max(1, len(chosen)))
    keys, log = keys_of(args), InputLog()
    found = [text for file in chosen for _, text in islice(tar_captions(file, log, keys), share)]
    for line in log.lines():
        logging.warning("text augmentation: of %s, a sample of the shards, %s", ", ".join(chosen), line)
    return TrainingCaptions([text for text in found if text.strip()][:SAMPLE_SIZE], False, keys.typed(), log.lines())


def keys_of(args: Any) -> TextKeys:
    """Where the trainer's samples have their captions. open_clip 4 has options for it; before, it is ``txt``."""
    return TextKeys.of(*(getattr(args, key, None) for key in ("text_key", "json_text_key", "json_text_key_probs")))


def _reading_of_table(args: Any) -> tuple[str, list[str]]:
    """The options by which ``build`` reads the trainer's table, and a remark where it reads something else."""
    separator, key = getattr(args, "csv_separator", "\t"), getattr(args, "csv_caption_key", "title")
    words, remarks = [], []
    if separator == r"\t":
        remarks = [
            r"leave out --csv-separator '\t', which the trainer takes for a pattern, so that quotes around cells stay "
            "in the captions; a tab is its default"
        ]
    elif separator != "\t":
        words += ["--csv-separator", separator]
    if key != "title":
        words += ["--csv-caption-key", key]
    try:
        by_name = kind_of(str(args.train_data))
    except InputError:
        by_name = ""
    if by_name != "csv":
        words += ["--input-format", "csv"]
    return "".join(f" {quote(word)}" for word in words), remarks


def _refuse_unopened(url: str) -> None:
    """Raise an InputError if open_clip's webdataset loader can open no ``url`` of this kind."""
    from webdataset.gopen import gopen_schemes, rewrite_url

    if Path(url).is_dir():
        raise InputError(about_directory(url, for_trainer=True))
    scheme = scheme_of(rewrite_url(url))
    if is_address(url) and scheme not in ("", "file", *gopen_schemes):
        raise InputError(f"open_clip's loader opens no {scheme}: addresses; {through_a_pipe(url)}")
    if not is_address(url) and urlparse(url).scheme:
        raise InputError(f"open_clip's loader takes {url} for an address, as it has a colon; write {quote(f'./{url}')}")

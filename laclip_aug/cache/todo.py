"""Which captions of an input a cache lacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from laclip_aug.cache.browse import snapshot
from laclip_aug.cache.build import CHUNK, MAX_CAPTION_CHARS, Run
from laclip_aug.cache.format import MANIFEST
from laclip_aug.cache.keys import KeySet, caption_key, key_of, normalise
from laclip_aug.cache.part import Part
from laclip_aug.cache.shards import read_keys
from laclip_aug.errors import ConfigurationError


def missing_captions(
    captions: Iterable[str],
    directory: Path,
    max_caption_chars: int = MAX_CAPTION_CHARS,
    part: Part | None = None,
) -> Iterator[str]:
    """Each distinct caption, normalised, that a build would give to its augmenter; nothing is written.

    Raises:
        ConfigurationError: the cache is keyed by images.
        CacheFormatError, CacheCorruptError: what is in ``directory`` is no sound cache.
    """
    known = KeySet()
    if (directory / MANIFEST).exists():
        now = snapshot(directory)
        if now.manifest.by_image:
            raise ConfigurationError(
                f"{directory} is keyed by images, and rewrites are made of captions; name another directory with "
                "--cache"
            )
        for shard in now.manifest.shards:
            known.update(read_keys(directory, shard))
        known.update(caption_key(record.caption) for record in now.journal.records)
    source = iter(captions)
    while slab := list(islice(source, CHUNK)):
        texts = [text for text in map(normalise, slab) if part is None or part.has(text)]
        for text, new in zip(texts, known.add_new([key_of(text) for text in texts]), strict=True):
            if new and Run.unfit_for(text, max_caption_chars) is None:
                yield text

"""Make a cache from rewrites that exist already: no model is run."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from laclip_aug.augmenter import Outcome
from laclip_aug.cache.build import CHUNK, MAX_CAPTION_CHARS, Run
from laclip_aug.cache.build_report import BuildReport
from laclip_aug.cache.config import KEYED_BY, Config
from laclip_aug.cache.keys import normalise
from laclip_aug.cache.storable import encodable
from laclip_aug.cache.versions import Versions
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.exchange.addresses import local_directory
from laclip_aug.exchange.audit import audit_import
from laclip_aug.exchange.import_form import ImportForm
from laclip_aug.exchange.imports import open_import
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.readers import InputOptions

_SHARED = "Images that share a caption share its rewrites: the first that came are kept"


def import_cache(
    inputs: str | Path | Sequence[str],
    directory: str | Path,
    form: ImportForm,
    options: InputOptions | None = None,
    max_misaligned: float = 0.0,
) -> BuildReport:
    """Store the rewrites that ``inputs`` hold; where a caption occurs again, its first record is kept.

    All is read once before, and nothing is stored if more than the part ``max_misaligned`` of the rows has texts of
    other rows (:mod:`laclip_aug.exchange.audit`).

    Raises:
        ConfigurationError: the form is ambiguous or lacks a source.
        InputError: an input cannot be read, or its texts do not stand beside their own captions.
        CacheError: as ``build_cache``.
    """
    directory = local_directory(directory)
    opened = open_import(inputs, form, options)

    def audited() -> Iterator[Outcome]:
        # once the cache is open: what it refuses it refuses before all is read
        opened.log.audit += [encodable(found.line()) for found in audit_import(inputs, form, options, max_misaligned)]
        yield from opened.records

    config = import_config(opened.form, opened.sources, opened.image_key)
    # an export is of a cache whose build was told how long a caption may be
    longest = sys.maxsize if opened.form == "export" else MAX_CAPTION_CHARS
    return store_records(audited(), directory, config, opened.log, opened.files, max_caption_chars=longest)


def import_config(form: str, sources: Sequence[str], image_key: str | None = None) -> Config:
    """The configuration of an import: further files of the same form and sources may join the cache.

    ``image_key`` is the column by whose values the records are found, instead of by their captions.
    """
    keyed = [] if image_key is None else ["image"]
    fingerprint = hashlib.sha256(json.dumps([form, list(sources), *keyed]).encode()).hexdigest()[:32]
    describe: dict[str, Any] = {"augmenter": "import", "form": form, "sources": list(sources)}
    if image_key is not None:
        describe |= {KEYED_BY: "image", "image_key": image_key}
    return Config("import", fingerprint, 0, len(sources), tuple(map(encodable, sources)), describe)


def store_records(
    records: Iterable[Outcome],
    directory: str | Path,
    config: Config,
    log: InputLog,
    files: list[str],
    *,
    max_caption_chars: int = MAX_CAPTION_CHARS,
    shard_rows: int = 65536,
    progress: bool | None = None,
) -> BuildReport:
    """Store ready-made ``records``. Raises as :func:`build_cache`.

    The first record of a caption is kept. A later one with other rewrites, of another image that has the same caption,
    is counted as ``other-rewrites`` and named.
    """
    with CacheWriter(directory, config, shard_rows) as writer:
        run = Run(writer, log, max_caption_chars, progress)
        versions = Versions(Path(directory))
        source = iter(records)
        try:
            while slab := list(islice(source, CHUNK)):
                given = [record.caption for record in slab]
                slab = [replace(record, caption=normalise(record.caption)) for record in slab]
                if config.keyed_by == "image":
                    _take_images(run, versions, slab)
                    continue
                fitting = run.fit(given)
                known = [
                    caption is None and run.unfit(record.caption) is None
                    for record, caption in zip(slab, fitting, strict=True)
                ]
                for record, caption, other in zip(slab, fitting, versions.differ(slab, known), strict=True):
                    if other:
                        log.reject("other-rewrites", repr(record.caption[:60]), _SHARED)
                    if caption is not None:
                        run.take([record])
        finally:
            run.close()
        return run.finish(files)


def _take_images(run: Run, versions: Versions, slab: list[Outcome]) -> None:
    """Store records that are found by the keys of their images; of what the captions say nothing depends on it."""
    fitting = []
    for record in slab:
        if not record.image:
            run.log.reject("no-image-key", repr(record.caption[:60]))
        elif encodable(record.image + record.caption) != record.image + record.caption:
            run.log.reject("not-unicode", repr(record.image[:60]))
        elif "\0" in record.image + record.caption:
            run.log.reject("nul", repr(record.image[:60]))
        else:
            fitting.append(record)
    fresh = run.writer.new_records(fitting)
    for record, new, other in zip(fitting, fresh, versions.differ(fitting, [not new for new in fresh]), strict=True):
        if other:
            run.log.reject("other-rewrites", repr(record.image[:60]), "Of rows with one image's key the first is kept")
        if new:
            run.settle(record)
        else:
            run.report.repeated += 1

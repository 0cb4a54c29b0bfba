"""Make a cache from rewrites that exist already: no model is run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from laclip_aug.cache.build import BuildReport, store_records
from laclip_aug.cache.format import Config
from laclip_aug.exchange.imports import ImportForm, open_import
from laclip_aug.exchange.readers import InputOptions


def import_cache(
    inputs: str | Path | Sequence[str], directory: str | Path, form: ImportForm, options: InputOptions | None = None
) -> BuildReport:
    """Store the rewrites that ``inputs`` hold; where a caption occurs again, its first record is kept.

    Raises:
        ConfigurationError: the form is ambiguous or lacks a source.
        InputError: an input cannot be read.
        CacheError: as ``build_cache``.
    """
    opened = open_import(inputs, form, options)
    return store_records(
        opened.records, directory, import_config(opened.form, opened.sources), opened.log, opened.files
    )


def import_config(form: str, sources: Sequence[str]) -> Config:
    """The configuration of an import: further files of the same form and sources may join the cache."""
    fingerprint = hashlib.sha256(json.dumps([form, list(sources)]).encode()).hexdigest()[:32]
    describe = {"augmenter": "import", "form": form, "sources": list(sources)}
    return Config("import", fingerprint, 0, len(sources), tuple(sources), describe)

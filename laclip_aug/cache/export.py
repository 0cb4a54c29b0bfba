"""Rewrites out of a cache: all records, or beside the rows and images of data that somebody has."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from laclip_aug.cache.browse import records, snapshot
from laclip_aug.cache.format import Manifest
from laclip_aug.cache.keys import caption_key
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.errors import ConfigurationError
from laclip_aug.exchange.added_columns import write_columns
from laclip_aug.exchange.added_fields import field_names, trained_with, write_tars
from laclip_aug.exchange.beside import Beside
from laclip_aug.exchange.dataset_card import Origin, write_dataset
from laclip_aug.exchange.export import export
from laclip_aug.exchange.files import check_output
from laclip_aug.exchange.line_files import ORIGINAL, SOURCE, write_lines
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.places import expand, kind_of
from laclip_aug.exchange.readers import InputOptions

_GIVEN_BACK = ("unchanged", "too-few-words", "empty")
"""Reasons for which an import refuses a text and which do no harm in the data that it came from."""
_ENDING = re.compile(r"[^/]\.\w+$")


def export_records(directory: Path, output: str) -> int:
    """Every record, rejections included: to a file, to standard output (``-``), or, under a name without ending, as a
    folder that ``datasets`` loads. Returns their number.

    Raises:
        ConfigurationError: the name says no format, or the folder holds something.
        CacheError: it cannot be written, or the cache cannot be read.
    """
    if output == "-" or "://" in output or _ENDING.search(output):
        return export(records(directory), output)
    now = snapshot(directory)
    if not now.counts.captions:
        raise ConfigurationError(
            f"{directory} holds no captions, and datasets loads no folder without rows; build first"
        )
    made = [{"fingerprint": c.fingerprint, "seed": c.seed, "n": c.n, **c.describe} for c in now.manifest.configs]
    origin = Origin(made, now.manifest.inputs, now.counts.rewrites, now.manifest.by_image)
    return write_dataset(records(directory), Path(output), origin)


def export_beside(
    directory: Path,
    output: str,
    inputs: Sequence[str],
    options: InputOptions | None = None,
    image_key: str | None = None,
) -> tuple[list[str], bool]:
    """The texts of a finished cache beside the rows of ``inputs``, each found by its caption.

    - webdataset tars: ``output`` is a directory for tars of the same names, with the texts in their ``.json`` members;
    - a table, and ``{source}`` in the name ``output``: a text file for each source, as LaCLIP's were released;
    - a table, and any other name: the table with a column for each source.

    Returns:
        What was written, one statement a line; and whether all of it could be.

    Raises:
        ConfigurationError: ``inputs`` and ``output`` do not go together.
        InputError: an input cannot be read.
        CacheError: the cache cannot be read, or the output written.
    """
    options, files = options or InputOptions(), expand(inputs)
    if "://" in output or output == "-":
        raise ConfigurationError(f"{output} is no file here; with --for, name a file or a directory of this machine")
    kinds = {options.format or kind_of(file) for file in files}
    if kinds != {"webdataset"}:
        check_output(Path(output.replace(SOURCE, ORIGINAL)))
    cache, log = CaptionCache(directory), InputLog()
    beside = Beside(cache, log, _as_imported(directory, cache.manifest))
    if kinds == {"webdataset"}:
        origin = {"cache": cache.fingerprint(), "captions": options.text_keys.typed().strip() or "txt"}
        said, failed = write_tars(beside, files, Path(output), options.text_keys, origin)
        fields = field_names(beside, options.text_keys)
        said += beside.lines()
        said += [f"not written, {reason}; fetch it again, and run the same command" for reason in failed]
        return [*said, f"train on them with open_clip 4: {trained_with(fields)}"], not failed
    if len(files) > 1:
        raise ConfigurationError(f"--for names {len(files)} files; give one table, or tars alone")
    (kind,) = kinds
    if SOURCE in output:
        number = write_lines(beside, files[0], kind, Path(output), options, image_key)
    else:
        number = write_columns(beside, files[0], kind, Path(output), options)
    return [f"{number} rows in {output}; with a text of", *beside.lines()], True


def _as_imported(directory: Path, manifest: Manifest) -> Callable[[str, str], str | None]:
    """For a cache that was imported: (caption, source) → the text that the import refused, to be given back as it was.

    Costs one reading of all records, when the first text is asked for, and the memory of those texts.
    """
    if any(config.augmenter != "import" for config in manifest.configs):
        return lambda caption, source: None

    @functools.cache
    def refused() -> dict[tuple[bytes, str], str]:
        found: dict[tuple[bytes, str], str] = {}
        for record in records(directory):
            for rejection in record.rejections:
                if rejection.place is None and rejection.reason in _GIVEN_BACK:
                    found.setdefault((caption_key(record.caption), rejection.source), rejection.text)
        return found

    return lambda caption, source: refused().get((caption_key(caption), source))

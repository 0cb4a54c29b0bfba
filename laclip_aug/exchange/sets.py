"""Published sets of texts that are recognised by their columns, so that nobody has to name these.

Where each was looked up (November 2026; cards and code, as the files themselves are gigabytes):

- Recap-DataComp-1B: Parquet, texts; the card ``UCSC-VLAA/Recap-DataComp-1B`` lists the columns.
- PixelProse: Parquet, texts; the card ``tomg-group-umd/pixelprose`` and its viewer.
- CapsFusion-120M: Parquet, texts; the README of ``baaivision/CapsFusion`` reads these columns.
- DreamLIP: CSV, a text with several sentences in a cell; the first lines of a file as its users print them, and their
  code. Tars that img2dataset made of it have the columns as fields of ``.json``, some as lists of sentences.
- DataCompDR: tars of ``KEY.syn.json``, ``{"syn_text": [...]}``, ``KEY.json``, ``{"uid", "sha256"}``, and
  ``KEY.url.txt``; the card ``apple/DataCompDR-12M`` and ``hf_dataset_example.py`` of ``apple/ml-mobileclip``. They hold
  no caption: it is ``KEY.txt`` where images were downloaded beside, else joined by ``uid`` with DataComp's metadata.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from laclip_aug.errors import InputError
from laclip_aug.exchange.import_form import ImportForm
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.places import kind_of
from laclip_aug.exchange.readers import InputOptions, table_rows
from laclip_aug.exchange.tars import json_fields, tar_samples


@dataclass(frozen=True)
class KnownSet:
    """A set's name, its column of captions, if it has one, and what made the texts of its other columns."""

    name: str
    caption: str | None
    texts: Mapping[str, str]


SETS = (
    KnownSet("Recap-DataComp-1B", "org_caption", {"re_caption": "recap"}),
    KnownSet("PixelProse", "original_caption", {"vlm_caption": "pixelprose"}),
    KnownSet("CapsFusion-120M", "laion_2b", {"laion_coco": "laion_coco", "capsfusion": "capsfusion"}),
    KnownSet(
        "DreamLIP",
        "raw_caption",
        {
            f"{length}{model}_captions": f"{length}{model}"
            for model in ("IB", "SV", "LLA")
            for length in ("short", "long")
        },
    ),
    KnownSet("DataCompDR", None, {"syn.json:syn_text": "datacompdr"}),
)


def recognise(form: ImportForm, files: Sequence[str], options: InputOptions) -> tuple[ImportForm, InputOptions, str]:
    """``form`` and ``options`` with the columns of the known set that the first file is of, and a sentence about it.

    What the user said stays: columns of texts or any other form, the column of captions, names of sources.
    """
    if form.rewrite_keys or form.group_key or form.list_key or form.lines:
        return form, options, ""
    try:
        columns = columns_of(files[0], options)
        tar = (options.format or kind_of(files[0])) == "webdataset"
    except InputError:  # the reader says it better
        return form, options, ""
    for known in SETS:
        if not all(column.split(":")[0] in columns for column in known.texts):
            continue
        # in tars the caption is where the trainer finds it, whatever the fields beside it
        caption = options.caption_key or (None if tar or form.captions else known.caption)
        if not tar and known.caption not in columns and caption == known.caption and not form.captions:
            continue
        sources = form.sources or tuple(known.texts.values())
        where = f"captions in {caption}, " if caption else ""
        said = f"recognised as {known.name} by its columns: {where}texts in {', '.join(known.texts)}"
        return (
            replace(form, rewrite_keys=tuple(known.texts), sources=sources),
            replace(options, caption_key=caption),
            said,
        )
    return form, options, ""


class _ColumnsError(Exception):
    """Carries the columns out of a reader, which then reads no further."""


def columns_of(file: str, options: InputOptions) -> list[str]:
    """The columns of a table; of a tar, the endings and fields of its first sample.

    Raises:
        InputError: the file cannot be read.
    """
    kind = options.format or kind_of(file)
    if kind == "webdataset":
        for _, sample in tar_samples(file, InputLog(), ("json",)):
            return [*sample, *(json_fields(sample.get("json", b"")) or {})]
        return []

    def choose(there: Sequence[str]) -> Sequence[str]:
        raise _ColumnsError(*there)

    try:
        for _ in table_rows(file, kind, choose, InputLog(), options):
            pass
    except _ColumnsError as found:
        return list(found.args)
    return []

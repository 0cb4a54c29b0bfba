"""From what a user says of an input to its records: choose the form, and what made the texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from laclip_aug.augmenter import Outcome
from laclip_aug.errors import ConfigurationError, InputError
from laclip_aug.exchange import forms
from laclip_aug.exchange.addresses import is_address
from laclip_aug.exchange.export import IMAGE_KEY
from laclip_aug.exchange.exported import exported, is_export, keyed_by_image, sources_of
from laclip_aug.exchange.import_form import ImportForm
from laclip_aug.exchange.joins import join_key
from laclip_aug.exchange.lines_form import lines
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.places import expand, kind_of, size_of
from laclip_aug.exchange.readers import CAPTION_KEYS, MISSING, InputOptions, nothing_in
from laclip_aug.exchange.sets import columns_of, recognise


@dataclass(frozen=True)
class Import:
    """An input that is understood: the form's name, what made its texts, and its records, which fill ``log``.

    ``image_key`` is set if records are found by their images' keys.
    """

    form: str
    sources: tuple[str, ...]
    records: Iterator[Outcome]
    files: list[str]
    log: InputLog
    image_key: str | None = None


def open_import(inputs: str | Path | Sequence[str], form: ImportForm, options: InputOptions | None = None) -> Import:
    """The records that ``inputs`` hold, read lazily.

    Raises:
        ConfigurationError: the form is ambiguous or lacks a source.
        InputError: an input cannot be read.
    """
    files = expand([str(inputs)] if isinstance(inputs, str | Path) else inputs)
    options, log = options or InputOptions(), InputLog()
    form, options, said = recognise(form, files, options)
    log.audit += [said] if said else []
    caption_files, keys = _join(form, files, options, log)
    name, sources = _plan(form, files)
    sizes = [size_of(file) for file in files]
    log.bytes_total = sum(sizes) if all(sizes) and not form.lines else 0

    def records() -> Iterator[Outcome]:
        found = False
        if keys:
            columns = dict(zip(form.rewrite_keys, sources, strict=True))
            for record in forms.joined_columns(
                files, caption_files, keys, _caption_keys(options), columns, log, options
            ):
                found = True
                yield record
        for file, size in [] if keys else zip(files, sizes, strict=True):
            for record in _records(name, file, form, sources, options, log):
                found = found or record.caption != MISSING
                yield record
            log.bytes_before += size
            log.position = lambda: 0
        if not found:
            raise InputError(nothing_in(files, log))

    image_key = form.image_key
    if name == "export" and any(by_image := [keyed_by_image(file) for file in files]):
        if not all(by_image):
            raise ConfigurationError(
                "some of these exports are keyed by images and some by captions; import each apart"
            )
        image_key = IMAGE_KEY
    return Import(name, tuple(sources), records(), files, log, image_key)


def _join(
    form: ImportForm, files: list[str], options: InputOptions, log: InputLog
) -> tuple[list[str], tuple[str, str] | None]:
    """The files of captions, and the names of the key by which texts are joined with them, if they are."""
    if not form.captions:
        if form.join:
            raise ConfigurationError("--join goes with --captions FILE, the file that has the captions; give both")
        return [], None
    if not form.rewrite_keys:
        raise ConfigurationError("--captions goes with --rewrite-key; name the column of texts in INPUT")
    caption_files = expand(form.captions)
    there = replace(options, format=None)
    keys = join_key(form.join, *(columns_of(at[0], how) for at, how in ((files, options), (caption_files, there))))
    log.audit.append(f"joined by {keys[0]}" + (f" = {keys[1]}" if keys[0] != keys[1] else ""))
    return caption_files, keys


def _caption_keys(options: InputOptions) -> Sequence[str]:
    return [options.caption_key] if options.caption_key else CAPTION_KEYS


def _plan(form: ImportForm, files: list[str]) -> tuple[str, list[str]]:
    """The form's name for the manifest, and its sources."""
    given = {"--rewrite-key": form.rewrite_keys, "--group-key": form.group_key, "--list-key": form.list_key}
    named = [name for name, value in {**given, "--lines": form.lines}.items() if value]
    if len(named) > 1:
        raise ConfigurationError(f"{' and '.join(named)} exclude each other; give one of them")
    if form.index_key and not form.group_key:
        raise ConfigurationError("--index-key goes with --group-key; give both")
    sources = list(form.sources)
    if form.image_key and (form.group_key or form.list_key or form.lines or form.captions):
        raise ConfigurationError("--image-key goes with --rewrite-key alone; leave it out, or name columns of rewrites")
    if form.lines:
        if len(files) > 1 or sources:
            raise ConfigurationError("--lines takes one INPUT and names its sources itself: --lines SOURCE=FILE")
        if is_address(files[0]):
            raise InputError(f"--lines reads local files, and {files[0]} is none; fetch it first")
        return "lines", list(line_files(form))
    if form.group_key or form.list_key:
        if len(sources) > 1:
            raise ConfigurationError("--group-key and --list-key take one --source")
        return "groups" if form.group_key else "lists", sources or ["human"]
    if form.rewrite_keys:
        if sources and len(sources) != len(form.rewrite_keys):
            raise ConfigurationError("give one --source for each --rewrite-key, or none")
        return "columns", sources or list(form.rewrite_keys)
    if not sources and not form.image_key and all(is_export(file) for file in files):
        return "export", sources_of(files)
    if not sources and all(kind_of(file) in ("jsonl", "parquet") for file in files):
        sources = forms.named_sources(files)
    if not sources:
        raise ConfigurationError("nothing names what made these texts; give --source NAME, or --rewrite-key COLUMN")
    return "columns", sources


def _records(
    name: str, file: str, form: ImportForm, sources: list[str], options: InputOptions, log: InputLog
) -> Iterator[Outcome]:
    if name == "export":
        return exported(file, log)
    if form.lines:
        return lines(file, line_files(form), log, options)
    if form.list_key:
        return forms.lists(file, form.list_key, sources[0], log, options)
    caption_keys = _caption_keys(options)
    if form.group_key:
        return forms.groups(file, form.group_key, caption_keys, form.index_key, sources[0], log, options)
    keys = dict(zip(form.rewrite_keys, sources, strict=True)) if form.rewrite_keys else {"rewrites": sources[0]}
    return forms.columns(file, caption_keys, keys, log, options, form.image_key)


def line_files(form: ImportForm) -> dict[str, str]:
    """The text file of each source."""
    files: dict[str, str] = {}
    for item in form.lines:
        source, equals, file = item.partition("=")
        if not (source and equals and file) or source in files:
            raise ConfigurationError(
                f"--lines {item!r} is no new SOURCE=FILE; write for example --lines chatgpt=gpt.txt"
            )
        if not Path(file).is_file():
            raise InputError(f"no such file: {file}; check the path in --lines {item}")
        files[source] = file
    return files

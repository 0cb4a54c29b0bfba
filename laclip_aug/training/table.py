"""The trainer's table of images and captions: what it could not read is said before anything is loaded.

open_clip reads a table by a separator and two columns, with a tab, ``filepath`` and ``title`` unless it is told
otherwise; ``laclip-aug build`` finds both by itself, so that a table may be rewritten and then not be trained on.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from shlex import quote
from typing import Any

from laclip_aug.errors import ConfigurationError
from laclip_aug.exchange.addresses import exists, is_address
from laclip_aug.exchange.images import IMAGE_KEYS
from laclip_aug.exchange.readers import CAPTION_KEYS

_SEPARATORS = ("\t", ",", ";", "|")
_DEFAULT = "\t"


def refuse_tables(args: Namespace) -> None:
    """Raise :class:`ConfigurationError` if a table of the trainer's ``args`` is not there, or lacks what they name.

    Its first image has to be there, too: the trainer takes paths as they stand, and ends at one that leads nowhere.
    What pandas cannot read at all is for the trainer to say.
    """
    for option in ("train_data", "val_data"):
        given = getattr(args, option, None)
        if given and not is_address(given) and _is_table(given, args.dataset_type):
            _refuse_table(given, f"--{option.replace('_', '-')}", args)


def _is_table(given: str, kind: str) -> bool:
    return kind == "csv" or (kind == "auto" and given.endswith((".csv", ".tsv")))


def _refuse_table(given: str, option: str, args: Namespace) -> None:
    if not Path(given).is_file():
        raise ConfigurationError(f"there is no file {given}; check the path of {option}")
    if (row := _first_row(given, args.csv_separator)) is None:
        return
    if lacking := [key for key in (args.csv_img_key, args.csv_caption_key) if key not in row]:
        raise ConfigurationError(
            f"{given} has no column {' or '.join(map(repr, lacking))} where {args.csv_separator!r} separates cells"
            f"{_cure(given, args) or _columns(row)}"
        )
    image = row[args.csv_img_key]
    if isinstance(image, str) and not exists(image):
        if exists(windows := image.replace("\\", "/")):
            column = f"in the column {args.csv_img_key}"
            where = f", but {windows} is; open_clip takes paths as they stand: {column}, write / for \\"
        elif Path(image).is_absolute():
            where = "; check the paths in the table, or that the disk with the images is mounted"
        else:
            where = f"; paths are read from {Path.cwd()}: start training where they begin, or write whole paths"
        raise ConfigurationError(f"the first image of {given}, {image}, is not there{where}")


def _cure(given: str, args: Namespace) -> str:
    """The options by which the trainer would read the table, if a usual separator and usual columns are there."""
    for separator in dict.fromkeys((args.csv_separator, *_SEPARATORS)):
        row = _first_row(given, separator) or {}
        image = next((key for key in (args.csv_img_key, *IMAGE_KEYS) if key in row), None)
        caption = next((key for key in (args.csv_caption_key, *CAPTION_KEYS) if key in row), None)
        if image is None or caption is None:
            continue
        words = [] if separator in (args.csv_separator, _DEFAULT) else ["--csv-separator", separator]
        words += [] if image == args.csv_img_key else ["--csv-img-key", image]
        words += [] if caption == args.csv_caption_key else ["--csv-caption-key", caption]
        leave_out = "leave out --csv-separator" if separator == _DEFAULT != args.csv_separator else ""
        add = f"add {' '.join(map(quote, words))}" if words else ""
        return f": {' and '.join(filter(None, (leave_out, add)))}"
    return ""


def _columns(row: dict[str, Any]) -> str:
    return (
        f"; its columns are: {', '.join(row)}. Name the right ones with --csv-img-key and --csv-caption-key, and what "
        "is between them with --csv-separator"
    )


def _first_row(given: str, separator: str) -> dict[str, Any] | None:
    """The first row by column, read as the trainer does; cells are ``None`` where there is no row."""
    import pandas

    try:
        table = pandas.read_csv(given, sep=separator, nrows=1)
    except (OSError, ValueError):  # a file that is empty, not of its encoding, or with rows of several lengths
        return None
    return {str(key): table[key].iloc[0] if len(table) else None for key in table.columns}

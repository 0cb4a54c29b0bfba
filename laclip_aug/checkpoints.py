"""Checkpoints as open_clip's trainer leaves them: what is in the file, and what lies beside it.

A run's folder has ``checkpoints/epoch_1.pt``, ... and ``params.txt``, which holds every option of the trainer, one
``name: value`` a line. Nothing of either is ever run as code.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from laclip_aug.encoding import HEAD, conversion, wide_encoding
from laclip_aug.errors import ConfigurationError

OWN_WEIGHTS = ("hf-hub:", "local-dir:")
"""What names of models that come with weights begin with; open_clip, from version 3 on, passes over any beside them."""

_WORDS = ("model", "pretrained", "image_interpolation", "image_resize_mode")
_LITERALS = (
    *("force_quick_gelu", "force_custom_text", "force_image_size", "force_context_length", "siglip"),
    *("image_mean", "image_std"),
)
FOLDER, OPTIONS = "checkpoints", "params.txt"
_UNSET = ("None", "False", "")


def options_beside(weights: str) -> dict[str, Any]:
    """The trainer's options that make another model or preprocessing, as a checkpoint's run was given them.

    Empty if ``weights`` is no file in the folder of a run. With them, ``model`` and ``pretrained``, if given.

    Raises:
        ConfigurationError: the run's ``params.txt`` cannot be read, or a value in it is no number, list or word.
    """
    if (file := options_file(weights)) is None:
        return {}
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file} says how a model was made; make it readable ({error})") from error
    if wide := wide_encoding(data[:HEAD]):  # an editor's; the trainer writes none
        raise ConfigurationError(f"{file} is not UTF-8; {conversion(str(file), wide)}")
    text, found = data.decode("utf-8-sig", "replace"), {}
    for name, _, value in (line.partition(": ") for line in text.splitlines()):
        if name in (*_WORDS, *_LITERALS) and value not in _UNSET:
            found[name] = value if name in _WORDS else _literal(value, f"{file}: {name}")
    return found


def options_file(weights: str) -> Path | None:
    """The ``params.txt`` of the run in whose folder the file ``weights`` is, by its path or by where a link leads."""
    path = Path(weights)
    if not weights or not path.is_file():
        return None
    runs = [place.parent.parent for place in (path.absolute(), path.resolve()) if place.parent.name == FOLDER]
    return next((run / OPTIONS for run in runs if (run / OPTIONS).is_file()), None)


def _literal(text: str, place: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ConfigurationError(
            f"{place} is {text!r}, no number and no list of them as open_clip's trainer writes them; mend the line, or "
            "move the checkpoint out of its run's folder, where no options are read"
        ) from None


def as_words(options: Mapping[str, Any]) -> str:
    """``options`` as a command line has them: ``--image-mean 0.5 0.5 0.5 --siglip``."""
    words = []
    for name, value in options.items():
        items = [] if value is True else value if isinstance(value, list | tuple) else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, items)]
    return " ".join(words)


def numbers_of_numpy() -> AbstractContextManager[Any]:
    """Lets ``weights_only`` read checkpoints of open_clip 2.29: the learning rate in them is a float64 of NumPy."""
    numpy, allow = import_module("numpy"), getattr(import_module("torch.serialization"), "safe_globals", None)
    number = numpy.float64(0)
    types = [number.__reduce__()[0], numpy.dtype, type(number.dtype)]
    return allow(types) if allow else nullcontext()  # torch 2.5 and later

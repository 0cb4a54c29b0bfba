"""A model of open_clip by the name that people give: its tokenizer, its weights, and the options of its training.

A name is one that open_clip knows, the ``.json`` of a configuration (for a tokenizer), ``hf-hub:REPO`` or
``local-dir:DIR``. Whatever open_clip makes of a wrong one comes back as an error that says what to give.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from laclip_aug import openclip
from laclip_aug.checkpoints import FOLDER, OPTIONS, as_words, options_beside, options_file
from laclip_aug.errors import ConfigurationError, UnknownNameError


def load_tokenizer(name: str, context_length: int | None = None) -> Any:
    """The tokenizer of a model: ``NAME``, the ``.json`` of a configuration, ``hf-hub:REPO`` or ``local-dir:DIR``.

    Raises:
        UnknownNameError: open_clip has no such model; suggests the nearest.
        ConfigurationError: the tokenizer cannot be loaded.
        UnsupportedOpenClipError: open_clip is not installed.
    """
    known = openclip.model_names()  # first, since it says so if open_clip is not there
    if name.endswith(".json"):
        openclip.add_model_config(Path(name))
        name = Path(name).stem
    if ":" not in name and not openclip.model_config(name):
        raise UnknownNameError("model of open_clip", name, known)
    try:
        return openclip.tokenizer(name, context_length)
    except Exception as error:  # whatever the reading of a tokenizer's files raises
        raise ConfigurationError(
            f"the tokenizer of {name!r} cannot be loaded ({str(error).splitlines()[0] if str(error) else error!r}); if "
            "it is on the Hugging Face hub, make the hub reachable once, and it stays on disk"
        ) from error


def refuse_file(name: str) -> None:
    """Raise :class:`ConfigurationError` if ``name`` is a configuration's file, where a name and the file are options
    of their own.
    """
    if name.endswith(".json"):
        path = Path(name)
        raise ConfigurationError(
            f"--model takes a name, and {name} is a file; give --model-config {quote(name)} --model {quote(path.stem)}"
        )


def trained_options(weights: str) -> dict[str, Any]:
    """The options that made a checkpoint's model, if it is in its run's folder; a tag's preprocessing among them.

    Raises:
        ConfigurationError: the run's ``params.txt`` cannot be read.
    """
    found = options_beside(weights)
    name, start = found.pop("model", ""), found.pop("pretrained", "")
    tag = openclip.pretrained_config(name.replace("/", "-"), str(start)) if start else {}
    given = {f"image_{part}": tag.get(part) for part in ("mean", "std", "interpolation", "resize_mode")}
    return {option: value for option, value in given.items() if value} | found


def told_options(name: str, weights: str) -> dict[str, Any]:
    """:func:`trained_options`; standard error says which they are, or that nobody knows those of a file.

    Nothing is said of a tag, nor of a checkpoint in the folder of a run that had none.
    """
    options = trained_options(weights)
    if options:
        said = f"{as_words(options)}: the options are of its training, by its run's {OPTIONS}"
        print(f"{name}:{weights} {said}", file=sys.stderr)
    elif Path(weights).is_file() and options_file(weights) is None:
        print(
            f"warning: {name}:{weights}: no {OPTIONS} of its training is beside it, so it is judged with {name}'s own "
            "activation, context length, image size and preprocessing. If it was trained with others "
            "(force_quick_gelu, force_image_size, image_mean, siglip, ...), put it where its trainer had it, "
            f"RUN/{FOLDER}/{Path(weights).name}, beside RUN/{OPTIONS}; or write that file by hand, a line for each "
            "option: image_mean: [0.5, 0.5, 0.5]",
            file=sys.stderr,
        )
    return options


def load_model(
    name: str,
    pretrained: str = "",
    precision: str = "fp32",
    device: str = "cpu",
    options: Mapping[str, Any] | None = None,
) -> openclip.LoadedModel:
    """The model ``name`` with a tag's or a file's weights; ``hf-hub:REPO`` and ``local-dir:DIR`` have their own too.

    It is made with the ``options`` of its training; those of :func:`told_options` if they are not given. Files are read
    without running code that is in them (``weights_only``).

    Raises:
        ConfigurationError: open_clip has no such model, or its weights cannot be loaded.
    """
    made_with = dict(told_options(name, pretrained) if options is None else options)
    given = f"{name}:{pretrained} {as_words(made_with)}".rstrip(" :")
    made_with |= {"init_logit_bias": -10} if made_with.pop("siglip", False) else {}  # as the trainer has it
    try:
        return openclip.create_model(name, pretrained, precision, device, **made_with)
    except Exception as error:  # whatever a model's constructor and the reading of its file raise
        raise ConfigurationError(
            f"open_clip cannot make {given!r} ({error}); give a model and weights as open_clip.list_pretrained() "
            "lists them, a model and a file, or hf-hub:REPO"
        ) from error

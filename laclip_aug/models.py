"""A model of open_clip by the name that people give: its tokenizer, its weights, and the options of its training.

A name is one that open_clip knows, the ``.json`` of a configuration (for a tokenizer), ``hf-hub:REPO`` or
``local-dir:DIR``. Whatever open_clip makes of a wrong one comes back as an error that says what to give.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from laclip_aug import openclip
from laclip_aug.checkpoints import as_words, options_beside
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


def load_model(name: str, pretrained: str = "", precision: str = "fp32", device: str = "cpu") -> openclip.LoadedModel:
    """The model ``name`` with a tag's or a file's weights; ``hf-hub:REPO`` and ``local-dir:DIR`` have their own too.

    A checkpoint in its run's folder is made with its ``trained_options``, and standard error says so. Files are read
    without running code that is in them (``weights_only``).

    Raises:
        ConfigurationError: open_clip has no such model, or its weights cannot be loaded.
    """
    given = f"{name}:{pretrained}".rstrip(":")
    if options := trained_options(pretrained):
        given += f" {as_words(options)}"
        print(f"{given}: the options are of its training, by its run's params.txt", file=sys.stderr)
    options |= {"init_logit_bias": -10} if options.pop("siglip", False) else {}  # as the trainer has it
    try:
        return openclip.create_model(name, pretrained, precision, device, **options)
    except Exception as error:  # whatever a model's constructor and the reading of its file raise
        raise ConfigurationError(
            f"open_clip cannot make {given!r} ({error}); give a model and weights as open_clip.list_pretrained() "
            "lists them, a model and a file, or hf-hub:REPO"
        ) from error

"""What a run notes of its text augmentation, and how that is compared: with the run it resumes, and between ranks."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from torch import distributed

from laclip_aug import openclip
from laclip_aug.errors import ConfigurationError
from laclip_aug.quality.context import context_of, recorded

PARAMETERS = "params.txt"
_MODE = "text_aug"
_DESCRIBED = {"text_aug_texts", "text_aug_trim"}  # told by the fingerprint, and of no effect on what is trained on


def noted(args: Namespace) -> dict[str, str] | None:
    """The ``text_aug*`` values of the run that ``args`` resume, as its trainer wrote them; ``None`` if unknown.

    Call it before the trainer writes its own parameters, which may be to the same file.
    """
    resume, name = getattr(args, "resume", None), getattr(args, "name", None)
    if not resume:
        return None
    # RUN/checkpoints/epoch_1.pt, or the latest of the run's own
    folder = Path(args.logs) / (name or "") if resume == "latest" else Path(resume).parent.parent
    try:
        lines = (folder / PARAMETERS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return dict(line.split(": ", 1) for line in lines if _ours(line) and ": " in line)


def _ours(line: str) -> bool:
    return line.startswith((f"{_MODE}:", f"{_MODE}_"))


def differences(before: Mapping[str, str] | None, now: Mapping[str, Any]) -> list[str]:
    """What of the text augmentation is not as it was in the run that is resumed, one phrase each."""
    if before is None:
        return []
    before = {_MODE: "none", **before}
    if before[_MODE] == "none" or str(now[_MODE]) == "none":
        names = [_MODE] if before[_MODE] != str(now[_MODE]) else []
    else:
        names = [name for name in now if name in before and name not in _DESCRIBED]
        if before.get("text_aug_fingerprint") == str(now.get("text_aug_fingerprint")):
            names.remove("text_aug_cache")  # the same texts at another place
    return [f"{name} was {before[name]}, is {now[name]}" for name in names if before[name] != str(now[name])]


def check_ranks(fingerprint: str, world_size: int) -> None:
    """Make sure that all ranks train on the same texts. Every rank has to call it.

    Raises:
        ConfigurationError: on some machine the cache or the words of an augmenter are others.
    """
    if world_size < 2 or not distributed.is_available() or not distributed.is_initialized():
        return
    found: list[Any] = [None] * world_size
    distributed.all_gather_object(found, fingerprint)
    if len(set(found)) > 1:
        by_rank = ", ".join(f"rank {rank} {value}" for rank, value in enumerate(found))
        raise ConfigurationError(
            f"the texts are not the same on all ranks (fingerprints: {by_rank}); copy one cache, or one synonym file "
            "or WordNet, to all machines"
        )


def warn_of_contexts(lookup: Any, tokenizer: Any, args: Namespace) -> None:
    """Say in the log, on rank 0, if the texts were held to another context than the trained model has."""
    manifest = getattr(lookup, "manifest", None)
    held = {recorded(config.describe) for config in getattr(manifest, "configs", ())} - {None}
    if args.rank or not held or (own := context_of(tokenizer, args.model)) is None:
        return
    model = openclip.typed_model(args.model)
    model += f":{own.tokens}" if getattr(args, "force_context_length", None) else ""
    for context in sorted(held - {own}, key=str):
        logging.warning(
            "the cache's texts were held to %s, and %s reads %s; build a cache for it with --for-model %s",
            context,
            args.model,
            own,
            quote(model),
        )

"""What of a trainer's arguments text augmentation cannot go with: said before anything is loaded."""

from __future__ import annotations

from argparse import Namespace
from glob import escape, glob
from pathlib import Path
from shlex import quote

from laclip_aug import openclip
from laclip_aug.errors import ConfigurationError
from laclip_aug.training.sources import RewriteLookup, is_by_image, place_of

_OTHER_FORMS = ("genlip", "genlap", "length_bucketing")
"""Flags for batches of other texts than one a sample, ``[B, L]``, or sorted by its length."""


def refuse_batches(args: Namespace, *told: object) -> None:
    """Raise :class:`ConfigurationError` if texts are no part of a batch by themselves; ``told``: what a loader gets.

    Texts of variable length are known where the arguments say so, as in open_clip 4.2, and not as traits of a model.
    """
    other = [name for name in _OTHER_FORMS if any(getattr(one, name, False) is True for one in (args, *told))]
    traits = [one for one in told if one is not args]
    other += ["variable_text"] if any(getattr(one, "variable_text", False) is True for one in traits) else []
    if "audio" in str(args.dataset_type):
        other.append("dataset_type")
    if other:
        raise ConfigurationError(
            f"text augmentation needs batches of images and, next to them, of texts of one length, which "
            f"{', '.join(other)} of open_clip's arguments rules out; use another model or --text-aug none"
        )


def refuse_resume(args: Namespace) -> None:
    """Raise :class:`ConfigurationError` where ``--resume latest`` would begin a new run: without a name, for one."""
    if getattr(args, "resume", None) != "latest":
        return
    if args.name is not None and (found := unseen_checkpoint(args)):
        raise ConfigurationError(
            f"--resume latest does not find {found}, as it takes the [, * or ? in that path for a pattern, and would "
            f"begin anew or from another run; go on under another --name, with --resume {quote(str(found))}"
        )
    if args.name is not None and (other := _checkpoint_of_another(args)):
        raise ConfigurationError(
            f"--resume latest would go on from {other}, of another run, as it takes the [, * or ? in the path of this "
            "one, which has no checkpoint, for a pattern; give another --name, without [, * and ?"
        )
    if args.name is None:
        raise ConfigurationError(
            "--resume latest goes on with the run that --name names, and without it a new run would start; add --name "
            f"with the name of that run's folder in {args.logs}"
        )


def unseen_checkpoint(args: Namespace) -> Path | None:
    """The newest checkpoint of the run that ``args`` name, if ``--resume latest`` cannot find it; else ``None``."""
    if not _of_others(args):  # an unclosed [ is no pattern, and a ? may fit this run alone
        return None
    mine: list[Path] = list(_folder(args).glob("*.pt"))
    return max(mine, key=lambda file: file.stat().st_mtime, default=None)


def _checkpoint_of_another(args: Namespace) -> str | None:
    """A checkpoint that ``--resume latest`` would find for a run that has none of its own."""
    return None if any(_folder(args).glob("*.pt")) else min(_of_others(args), default=None)


def _of_others(args: Namespace) -> set[str]:
    """The checkpoints that ``--resume latest`` finds or misses only because it takes the run's path for a pattern."""
    if args.save_most_recent or args.remote_sync:  # both look elsewhere
        return set()
    folder = _folder(args)
    found, its_own = (set(glob(f"{place}*/*.pt")) for place in (folder, escape(str(folder))))  # noqa: PTH207 - as it does
    return found ^ its_own


def _folder(args: Namespace) -> Path:
    return Path(args.logs, args.name, "checkpoints")


def refuse_images(lookup: RewriteLookup) -> None:
    """Raise :class:`ConfigurationError` if ``lookup`` is a cache keyed by images: the trainer gives captions alone."""
    if is_by_image(lookup):
        raise ConfigurationError(
            f"the cache {place_of(lookup)} is keyed by images, and open_clip's loaders give captions alone; import the "
            "rewrites again without --image-key, or read them in a loader of your own, with image_key= of "
            "laclip_aug.training.custom"
        )


def refuse_losses(args: Namespace, texts_per_image: int) -> None:
    """Raise :class:`ConfigurationError` if the loss that ``args`` ask for has no form over several texts per image."""
    texts = f"{texts_per_image} texts per image"
    if _decodes(args.model):
        raise ConfigurationError(f"{args.model} decodes one caption per image; it cannot train on {texts}: use laclip")
    if args.distill_model is not None and args.distill_pretrained is not None:
        for option, given in (("--siglip", args.siglip), ("--accum-freq", args.accum_freq > 1)):
            if given:
                raise ConfigurationError(f"open_clip's trainer has no distillation with {option}; leave it out")
    if getattr(args, "horovod", False):
        raise ConfigurationError(
            f"the loss over {texts} gathers by torch.distributed; start with torchrun, not horovod"
        )


def _decodes(model: str) -> bool:
    """Whether a model is a captioner, as far as its name and what is on this machine tell."""
    if "coca" in model.lower():
        return True
    if model.startswith("hf-hub:"):  # each process would fetch it, and not from where --cache-dir says
        return False
    try:
        return "multimodal_cfg" in openclip.model_config(model if ":" in model else model.replace("/", "-"))
    except (OSError, ValueError):  # the trainer says what is wrong with it
        return False

"""Linked augmentation: what is done to the photo is done to its text.

A photo is mirrored, turned grey, or cut to one half, and the texts that are trained on with it say what is true of the
photo that came out (:mod:`~laclip_aug.training.mirror`, :mod:`~laclip_aug.training.colourless`,
:mod:`~laclip_aug.training.halves`). Where the rules cannot tell, the photo is left as it is. No model and no cache are
needed, and the texts may be rewrites. What is done is a function of (seed, epoch, caption, image).

The transform sees the photo before the caption is known, so it only promises a tensor; the tokenizer, called next for
the same sample, decides, and the promise is kept then. That a loader can work so is tried before training starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image, ImageOps

from laclip_aug.cache.keys import normalise
from laclip_aug.seeding import derive
from laclip_aug.training.colourless import colourless, in_black_and_white
from laclip_aug.training.counts import DrawCounts
from laclip_aug.training.halves import halves_of, of_half
from laclip_aug.training.mirror import is_readable, mirrored
from laclip_aug.training.sampling import Draw

CHANGES = {"flip": 0.5, "gray": 0.2, "crop": 0.5}
"""What can be linked, and how often it is done where the text allows."""
_LEFT_ALONE = " not"  # counts photos that a rule kept from a change

Photo = Image.Image


class Linked:
    """Changes photos and their texts together.

    Args:
        changes: some of ``CHANGES``; done in the order crop, flip, gray.
        seed: with epoch, caption and the image's key all that a choice depends on.
        workers: how many loader workers count what they do.
    """

    def __init__(self, changes: Sequence[str], seed: int = 0, workers: int = 0) -> None:
        self.changes = tuple(changes)
        self.seed = seed
        self._counts = DrawCounts([name + ending for name in self.changes for ending in ("", _LEFT_ALONE)], workers)

    def __call__(
        self, caption: str, texts: Sequence[str], epoch: int, key: bytes
    ) -> tuple[tuple[str, ...], list[Callable[[Photo], Photo]]]:
        """The K texts to train on in place of ``texts``, and what to do to the photo, in this order.

        ``caption`` is the photo's own, which may be none of the texts: what it says can be read in the photo keeps it
        from being mirrored.
        """
        number = derive(self.seed, epoch, normalise(caption), key, "linked")
        # each change has its own bits, so that leaving one out changes no other
        draws = [(number >> 12 * place & 0xFFF) / 0x1000 for place in range(5)]
        wanted = {name: draw < share for draw, (name, share) in zip(draws, CHANGES.items(), strict=False)}
        side, says_grey = draws[3], draws[4] < 0.5
        told = tuple(texts)
        steps: list[Callable[[Photo], Photo]] = []
        noted: list[str] = []
        for name in ("crop", "flip", "gray"):
            if name not in self.changes or not wanted[name]:
                continue
            step: Callable[[Photo], Photo] = {"flip": ImageOps.mirror, "gray": to_grey}.get(name, lambda photo: photo)
            changed: tuple[str | None, ...]
            if name == "crop":
                halves = halves_of(told[0])
                kept = halves[int(side * len(halves))] if halves else "left"
                changed = tuple(of_half(text, kept) for text in told)
                step = _Half(kept)
            elif name == "flip":
                readable = any(map(is_readable, dict.fromkeys((caption, *told))))
                changed = (None,) if readable else tuple(map(mirrored, told))
            else:
                changed = tuple(map(colourless, told))
                if says_grey:
                    changed = tuple(text and in_black_and_white(text) for text in changed)
            done = tuple(text for text in changed if text is not None)
            if len(done) == len(told):
                told = done
                steps.append(step)
                noted.append(name)
            else:
                noted.append(name + _LEFT_ALONE)
        self._counts.add(Draw((), tuple(noted)))
        return told, steps

    def line(self, epoch: int) -> str:
        """One line for the log on what was done since the last call."""
        seen = self._counts.take()
        done = (
            f"{name} {seen.sources[name]} (and not {seen.sources[name + _LEFT_ALONE]} whose text did not allow it)"
            for name in self.changes
        )
        return f"linked augmentation, epoch {epoch}: of {seen.captions} images: {', '.join(done)}"


class _Half:
    """Cuts a photo to its half on one side."""

    def __init__(self, kept: str) -> None:
        self.kept = kept

    def __call__(self, photo: Photo) -> Photo:
        width, height = photo.size
        start, end = {"left": 0, "top": 0}.get(self.kept, 0.5), {"right": 1, "bottom": 1}.get(self.kept, 0.5)
        if self.kept in ("left", "right"):
            return photo.crop((round(width * start), 0, max(1, round(width * end)), height))
        return photo.crop((0, round(height * start), width, max(1, round(height * end))))


def to_grey(photo: Photo) -> Photo:
    """``photo`` without colours, in three equal channels."""
    return photo.convert("RGB").convert("L").convert("RGB")

"""Signals that look at the caption's image, with any open_clip model."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import groupby
from typing import Any

from laclip_aug.checkpoints import OWN_WEIGHTS
from laclip_aug.errors import ConfigurationError
from laclip_aug.models import load_model
from laclip_aug.quality.signals import UNKNOWN, Signal, TextPair

_PAIRS = 256


class Clip(Signal):
    """Cosine of text and image, -1 to 1, by an open_clip model: clip(MODEL:PRETRAINED).

    It depends on the batch, by 1e-7 with a small model in float32. A gate rounds to four digits, and so decides alike,
    but for a text within that of the border between two roundings.
    """

    needs = "images"

    def __init__(self, model: str = "") -> None:
        if not model:
            raise ConfigurationError("clip needs a model: clip(ViT-B-32:laion2b_s34b_b79k), or clip(ViT-B-32:FILE.pt)")
        self._reference = model

    @cached_property
    def _model(self) -> ImageTextModel:
        return ImageTextModel(self._reference)

    def load(self) -> None:
        """Load the model, or fetch it.

        Raises:
            ConfigurationError: as :class:`ImageTextModel`.
        """
        _ = self._model

    def measure(self, pairs: Sequence[TextPair]) -> list[float]:
        """The cosine of each pair; unknown where there is no image or it cannot be decoded."""
        return [number for slab in self._slabs(pairs) for number in self.compare(*slab)]

    def compare(self, captions: list[float], texts: list[float]) -> list[float]:
        """The numbers of some pairs from the cosines of their images with captions and with texts."""
        return texts

    def _slabs(self, pairs: Sequence[TextPair]) -> Iterator[tuple[list[float], list[float]]]:
        """Cosines of the images with the captions and with the texts; each image is read once."""
        groups = [list(group) for _, group in groupby(pairs, key=lambda pair: (pair.caption, pair.image))]
        at = 0
        while at < len(groups):
            slab = [groups[at]]
            at += 1
            while at < len(groups) and sum(map(len, slab)) < _PAIRS:
                slab.append(groups[at])
                at += 1
            images = self._model.encode_images([None if group[0].image is None else group[0].image() for group in slab])
            captions = self._model.encode_texts([group[0].caption for group in slab])
            texts = self._model.encode_texts([pair.text for group in slab for pair in group])
            owners = [number for number, group in enumerate(slab) for _ in group]
            found: tuple[list[float], list[float]] = ([], [])
            for text, owner in zip(texts, owners, strict=True):
                image = images[owner]
                found[0].append(UNKNOWN if image is None else float(image @ captions[owner]))
                found[1].append(UNKNOWN if image is None else float(image @ text))
            yield found


class ClipGain(Clip):
    """How much better the text fits the image than the caption does: difference of the cosines, -2 to 2."""

    def compare(self, captions: list[float], texts: list[float]) -> list[float]:
        """The differences."""
        return [text - caption for caption, text in zip(captions, texts, strict=True)]


class ImageTextModel:
    """A model of open_clip; vectors ``[D]`` have unit length.

    Args:
        reference: ``NAME:PRETRAINED`` (a tag or a file of weights), ``NAME``, ``hf-hub:REPO`` or ``local-dir:DIR``.

    Raises:
        ConfigurationError: open_clip has no such model, or its weights cannot be loaded.
    """

    def __init__(self, reference: str) -> None:
        own = reference.startswith(OWN_WEIGHTS)
        name, _, pretrained = (reference, "", "") if own else reference.partition(":")
        self._loaded = load_model(name, pretrained)

    def encode_images(self, files: Sequence[bytes | None]) -> list[Any]:
        """The vector of each encoded image file; None where there is none, or it cannot be decoded."""
        pixels = [None if file is None else self._decoded(file) for file in files]
        return self._vectors(self._loaded.model.encode_image, pixels)

    def encode_texts(self, texts: Sequence[str]) -> list[Any]:
        """The vector of each text; what is over the model's context is cut."""
        printable = [text.encode("utf-8", "replace").decode() for text in texts]
        return self._vectors(
            self._loaded.model.encode_text, list(self._loaded.tokenize(printable)) if printable else []
        )

    def _decoded(self, file: bytes) -> Any:
        from PIL import Image

        try:
            return self._loaded.preprocess(Image.open(io.BytesIO(file)).convert("RGB"))
        except Exception:  # a file that is no image, is damaged or means harm makes a decoder raise anything
            return None

    def _vectors(self, encode: Callable[..., Any], rows: Sequence[Any]) -> list[Any]:
        import torch

        there = [row for row in rows if row is not None]
        if not there:
            return [None] * len(rows)
        with torch.inference_mode():
            found = iter(encode(torch.stack(there), normalize=True).float())
        return [None if row is None else next(found) for row in rows]

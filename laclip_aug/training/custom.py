"""Text augmentation for loaders and training loops of one's own.

Each tool here draws as ``open_clip train --text-aug`` does, by (seed, epoch, caption), in any number of workers, in any
order; that images which share a caption draw for themselves is the trainer's alone. Make the sampler once, and share
one epoch with everything that draws::

    sampler = sampler_for(TextAugOptions(mode="laclip-mt", cache="rewrites"))
    epoch = SharedEpoch()
    loader = DataLoader(pairs, batch_size=256, num_workers=4, collate_fn=TextAugCollate(tokenizer, sampler, epoch))
    loss = MultiTextLoss()
    for number in range(10):
        epoch.set(number)
        for images, texts in loader:  # [B, ...] and [B*K, L], sample-major
            ...
            loss(image_features, text_features, logit_scale)  # [B, D] and [B*K, D], normalised

Several sources of texts: ``TextAugOptions(mode="laclip", cache=("rewrites", "imported"), augmenters=("sentences",),
weights={"original": 1.0, "sentences": 0.5})``.

A cache of rewrites that are of the images, not of their captions (``laclip-aug cache import --image-key uid``), is
read by the key of each sample's image: ``TextAugCollate(tokenizer, sampler, epoch, image_key="uid")``.

``SharedEpoch`` reaches workers that already run. A plain number in its place is an epoch that never changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

from torch.utils.data import default_collate

from laclip_aug.errors import ConfigurationError
from laclip_aug.exchange.row_keys import key_of
from laclip_aug.training.counts import DrawCounts
from laclip_aug.training.loss import MultiTextLoss
from laclip_aug.training.options import TextAugOptions
from laclip_aug.training.samplers import sampler_for
from laclip_aug.training.sampling import TextSampler
from laclip_aug.training.sources import is_by_image, place_of
from laclip_aug.training.tokenizer import SharedEpoch, Tokenizer, flatten_texts
from laclip_aug.training.words import with_word_table

__all__ = [
    "DrawCounts",
    "MultiTextLoss",
    "SharedEpoch",
    "TextAugCollate",
    "TextAugOptions",
    "TextMap",
    "TextSampler",
    "TextStage",
    "flatten_texts",
    "sampler_for",
]


Key = int | str | Callable[[Any], object]
"""Where the key of a sample's image is: a place in a tuple, a key of a dict, or a function of the sample."""


class _Drawing:
    """A caption's texts in the present epoch, counted."""

    def __init__(
        self, sampler: TextSampler, epoch: SharedEpoch | int, counts: DrawCounts | None, key: Key | None = None
    ) -> None:
        for lookup in sampler.lookups:
            if key is None and is_by_image(lookup):
                raise ConfigurationError(
                    f"the cache {place_of(lookup)} is keyed by images; say with image_key= where a sample has its "
                    "image's key"
                )
        self._key = key
        self._sampler = sampler
        self._epoch = SharedEpoch(epoch) if isinstance(epoch, int) else epoch
        self._counts = counts

    def __call__(self, caption: object, where: object, sample: Any) -> list[str]:
        if not isinstance(caption, str):
            raise ConfigurationError(
                f"the caption at {where!r} is a {type(caption).__name__}, not a text; name its place, and decode bytes "
                "first (in webdataset: put the stage after decode)"
            )
        draw = self._sampler.draw(caption, self._epoch.get(), key=self._key_of(sample))
        if self._counts is not None:
            self._counts.add(draw)
        return list(draw.texts)

    def _key_of(self, sample: Any) -> str | None:
        """The key of the sample's image; empty where the sample has none, which is a miss."""
        if self._key is None:
            return None
        value = self._key(sample) if callable(self._key) else _part(sample, self._key)
        if value is None or (isinstance(value, float) and math.isnan(value)):  # what pandas has for it
            return ""
        if isinstance(value, Integral) and not isinstance(value, bool):
            value = int(value)
        if (key := key_of(value)) is not None:
            return key
        raise ConfigurationError(
            f"the image's key is a {type(value).__name__}, not a text or a whole number; give image_key= a "
            "function that makes one of the sample"
        )


class TextAugCollate:
    """A ``collate_fn`` for samples with a caption, such as ``(image, caption)`` or ``{"image": ..., "caption": ...}``.

    The batch has the form of the samples, with token ids ``[B*K, L]`` of the training texts, sample-major, in place of
    the captions. The rest is collated by ``collate``.

    Args:
        tokenizer: called with a list of texts, returns ``[N, L]``; open_clip's for CLIP gets a table of words.
        sampler: which texts; K is its ``num_texts``.
        epoch: the epoch to draw for.
        caption: where the caption is in a sample, a place in a tuple or a key.
        collate: makes a batch of the samples' other parts.
        counts: counts what is drawn, missed and too short; optional.
        image_key: where a sample has the key of its image, or a function of the sample; for caches keyed by images.
            With it images that share a caption draw for themselves, too.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        sampler: TextSampler,
        epoch: SharedEpoch | int = 0,
        caption: int | str = 1,
        collate: Callable[[list[Any]], Any] = default_collate,
        counts: DrawCounts | None = None,
        image_key: Key | None = None,
    ) -> None:
        self._tokenizer = with_word_table(tokenizer)
        self._draw = _Drawing(sampler, epoch, counts, image_key)
        self._caption = caption
        self._collate = collate

    def __call__(self, samples: Sequence[Any]) -> Any:
        """The batch of ``samples``.

        Raises:
            ConfigurationError: a sample has no text at the place of its caption, or no key of its image.
            CacheMissError: the sampler knows no rewrites of a caption and was not told to do without.
        """
        where = self._caption
        tokens = self._tokenizer(
            [text for sample in samples for text in self._draw(_part(sample, where), where, sample)]
        )
        if isinstance(samples[0], Mapping):
            rest = [{key: part for key, part in sample.items() if key != where} for sample in samples]
            return {**(self._collate(rest) if rest[0] else {}), where: tokens}
        place = int(where) % len(samples[0])
        batch = list(self._collate([(*sample[:place], *sample[place + 1 :]) for sample in samples]))
        return (*batch[:place], tokens, *batch[place:])


class TextStage:
    """A stage of a webdataset pipeline, after ``decode``: adds to each sample its K texts.

    Without ``tokenizer`` the texts are a list of strings; with one, token ids ``[K, L]``, which webdataset batches to
    ``[B, K, L]``: :func:`flatten_texts` makes ``[B*K, L]`` of that.

    Args:
        sampler: which texts.
        epoch: the epoch to draw for.
        key: where the caption is.
        into: where the texts go; the caption's own place by default.
        tokenizer: called with a list of texts, returns ``[N, L]``; optional; CLIP's gets a table of words.
        counts: counts what is drawn, missed and too short; optional.
        image_key: where a sample has the key of its image, such as ``"__key__"``, or a function of the sample; for
            caches keyed by images.
    """

    def __init__(
        self,
        sampler: TextSampler,
        epoch: SharedEpoch | int = 0,
        key: str = "txt",
        into: str | None = None,
        tokenizer: Tokenizer | None = None,
        counts: DrawCounts | None = None,
        image_key: Key | None = None,
    ) -> None:
        self._draw = _Drawing(sampler, epoch, counts, image_key)
        self._key = key
        self._into = key if into is None else into
        self._tokenizer = None if tokenizer is None else with_word_table(tokenizer)

    def __call__(self, samples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The samples with their texts. Raises as :class:`TextAugCollate` does."""
        for sample in samples:
            texts = self._draw(_part(sample, self._key), self._key, sample)
            yield {**sample, self._into: texts if self._tokenizer is None else self._tokenizer(texts)}


class TextMap:
    """A function over batches of a Hugging Face ``Dataset``: adds a column of K texts per row.

    For ``dataset.with_transform(TextMap(...))``, which draws anew in each epoch, or ``dataset.map(TextMap(...),
    batched=True)``, which draws once and stores the texts of the epoch that it was called in.

    Args:
        sampler: which texts.
        epoch: the epoch to draw for.
        column: where the captions are.
        into: the new column, of lists of K strings.
        counts: counts what is drawn, missed and too short; optional.
        image_key: the column of the images' keys, for caches keyed by images.
    """

    def __init__(
        self,
        sampler: TextSampler,
        epoch: SharedEpoch | int = 0,
        column: str = "caption",
        into: str = "texts",
        counts: DrawCounts | None = None,
        image_key: str | None = None,
    ) -> None:
        self._draw = _Drawing(sampler, epoch, counts, None if image_key is None else _itself)
        self._image_key = image_key
        self._column = column
        self._into = into

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """The batch, lists by column, with the column of texts. Raises as :class:`TextAugCollate` does."""
        captions = _part(batch, self._column)
        if isinstance(captions, str):
            raise ConfigurationError(f"there is one text in {self._column!r}, not a batch: map(..., batched=True)")
        keys = [None] * len(captions) if self._image_key is None else _part(batch, self._image_key)
        rows = zip(captions, keys, strict=True)
        return {**batch, self._into: [self._draw(caption, self._column, key) for caption, key in rows]}


def _itself(key: object) -> object:
    return key


def _part(sample: Any, where: int | str) -> Any:
    """The part of a sample or a batch at a place or key; a text has none."""
    try:
        if isinstance(sample, str | bytes):
            raise TypeError
        return sample[where]
    except (KeyError, IndexError, TypeError) as error:
        has = f"keys {sorted(map(str, sample))}" if isinstance(sample, Mapping) else f"a {type(sample).__name__}"
        raise ConfigurationError(f"there is no {where!r} in {has}; name the place of the caption") from error

"""A tokenizer that augments: one caption in, the tokens of its K training texts out.

Both of open_clip's loaders call ``tokenizer(caption)[0]`` once per caption, so a result of shape ``[1, K, L]`` gives
``[K, L]`` per sample, and their collators make ``[B, K, L]`` of it. :func:`flatten_texts` turns that into ``[B*K, L]``.
The epoch reaches loader workers through shared memory, and the counts of what was drawn come back the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from laclip_aug.training.counts import DrawCounts, shared
from laclip_aug.training.linked import Linked
from laclip_aug.training.pairing import Handover
from laclip_aug.training.sampling import TextSampler
from laclip_aug.training.words import WordTokens, with_word_table

Tokenizer = Callable[..., Tensor]


class SharedEpoch:
    """The epoch, set in the training process and read in loader workers, persistent and spawned ones too."""

    def __init__(self, epoch: int = 0) -> None:
        # A shared tensor travels through any start method; multiprocessing.Value cannot be pickled for spawn.
        self._value = shared(torch.tensor(epoch, dtype=torch.int64))

    def set(self, epoch: int) -> None:
        """Draw for ``epoch``, counted from 0, from the next sample on that a worker reads."""
        self._value.fill_(epoch)

    def get(self) -> int:
        """The epoch, counted from 0."""
        return int(self._value.item())


class AugmentingTokenizer:
    """Stands in for ``tokenizer`` in a training loader.

    Args:
        tokenizer: called with a list of K texts, returns ``[K, L]``; open_clip's for CLIP gets a table of words.
        sampler: which texts.
        epoch: the epoch to draw for.
        counts: where to count the draws; optional.
        handover: where the transform leaves the key of the image of the next caption, which then joins the draw's;
            optional.
        linked: changes each caption's texts and its image together; optional, and needs ``handover``.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        sampler: TextSampler,
        epoch: SharedEpoch,
        counts: DrawCounts | None = None,
        handover: Handover | None = None,
        linked: Linked | None = None,
    ) -> None:
        self.tokenizer = with_word_table(tokenizer)
        self.sampler = sampler
        self.epoch = epoch
        self.counts = counts
        self.handover = handover
        self.linked = linked

    def learn(self, texts: Iterable[str]) -> None:
        """Fill the table of words from some of ``texts``, if there is one; in time before loader workers start."""
        if isinstance(self.tokenizer, WordTokens):
            self.tokenizer.learn(texts)

    @property
    def pad_token_id(self) -> int | None:
        """The tokenizer's, where it has one."""
        return getattr(self.tokenizer, "pad_token_id", None)

    def __call__(self, texts: str | Sequence[str], *args: Any, pad: bool = True, **kwargs: Any) -> Tensor:
        """Tokens ``[N, K, L]`` of the training texts of N captions (of one, if ``texts`` is a string).

        With ``pad=False``, for loaders of texts of variable length, ``[N, K*L]``: what
        :class:`~laclip_aug.training.loader.VariableLength` takes apart.
        """
        captions = [texts] if isinstance(texts, str) else list(texts)
        epoch = self.epoch.get()
        image = b"" if self.handover is None else self.handover.take()
        chosen: list[str] = []
        for caption in captions:
            draw = self.sampler.draw(caption, epoch, image)
            if self.handover is None or self.linked is None:
                chosen.extend(draw.texts)
            else:
                told, steps = self.linked(caption, draw.texts, epoch, image)
                self.handover.change(steps)
                chosen.extend(told)
            if self.counts is not None:
                self.counts.add(draw)
        tokens = self.tokenizer(chosen, *args, **kwargs)
        tokens = tokens.reshape(len(captions), self.sampler.num_texts, *tokens.shape[1:])
        return tokens if pad else tokens.flatten(1)


def flatten_texts(tokens: Tensor) -> Tensor:
    """``[B, K, L]`` to ``[B*K, L]``, sample-major: text j of sample b in row ``b*K + j``."""
    return tokens.flatten(0, 1)

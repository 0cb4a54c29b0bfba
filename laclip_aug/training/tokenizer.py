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
from torch.utils.data import get_worker_info

from laclip_aug.training.sampling import ORIGINAL, Draw, TextSampler
from laclip_aug.training.words import WordTokens, with_word_table

Tokenizer = Callable[..., Tensor]


class SharedEpoch:
    """The epoch, set in the training process and read in loader workers, persistent and spawned ones too."""

    def __init__(self, epoch: int = 0) -> None:
        # A shared tensor travels through any start method; multiprocessing.Value cannot be pickled for spawn.
        self._value = _shared(torch.tensor(epoch, dtype=torch.int64))

    def set(self, epoch: int) -> None:
        self._value.fill_(epoch)

    def get(self) -> int:
        return int(self._value.item())


class DrawCounts:
    """How many texts of each source were drawn, how many were too short, and how many captions missed the cache.

    Each worker counts in a row of its own, so that nothing is locked and nothing lost; row 0 is the training process.
    """

    def __init__(self, strategies: Sequence[str], workers: int) -> None:
        self.sources = (ORIGINAL, *strategies)
        self.names = (*self.sources, "short", "missed")
        self._shared = _shared(torch.zeros(workers + 1, len(self.names), dtype=torch.int64))
        self._row: memoryview | None = None  # plain integers in shared memory, quicker than NumPy's one at a time
        self._column = {name: place for place, name in enumerate(self.sources)}

    def add(self, draw: Draw) -> None:
        """Count one caption's draw."""
        if self._row is None:
            worker = get_worker_info()
            self._row = memoryview(self._shared.numpy()[0 if worker is None else 1 + worker.id])
        row = self._row
        for source in draw.sources:
            row[self._column[source]] += 1
        if draw.short or draw.missed:
            row[-2] += draw.short
            row[-1] += draw.missed

    def take(self) -> dict[str, int]:
        """The counts of all workers since the last call; call it between epochs, when workers are at rest."""
        totals = dict(zip(self.names, self._shared.sum(dim=0).tolist(), strict=True))
        self._shared.zero_()
        return totals

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_row": None}  # a worker finds its own row


class AugmentingTokenizer:
    """Stands in for ``tokenizer`` in a training loader.

    Args:
        tokenizer: called with a list of K texts, returns ``[K, L]``; open_clip's for CLIP gets a table of words.
        sampler: which texts.
        epoch: the epoch to draw for.
        counts: where to count the draws; optional.
    """

    def __init__(
        self, tokenizer: Tokenizer, sampler: TextSampler, epoch: SharedEpoch, counts: DrawCounts | None = None
    ) -> None:
        self.tokenizer = with_word_table(tokenizer)
        self.sampler = sampler
        self.epoch = epoch
        self.counts = counts

    def learn(self, texts: Iterable[str]) -> None:
        """Fill the table of words from some of ``texts``, if there is one; in time before loader workers start."""
        if isinstance(self.tokenizer, WordTokens):
            self.tokenizer.learn(texts)

    def __call__(self, texts: str | Sequence[str], *args: Any, **kwargs: Any) -> Tensor:
        """Tokens ``[N, K, L]`` of the training texts of N captions (of one, if ``texts`` is a string)."""
        captions = [texts] if isinstance(texts, str) else list(texts)
        epoch = self.epoch.get()
        chosen: list[str] = []
        for caption in captions:
            draw = self.sampler.draw(caption, epoch)
            chosen.extend(draw.texts)
            if self.counts is not None:
                self.counts.add(draw)
        tokens = self.tokenizer(chosen, *args, **kwargs)
        return tokens.reshape(len(captions), self.sampler.num_texts, *tokens.shape[1:])


def flatten_texts(tokens: Tensor) -> Tensor:
    """``[B, K, L]`` to ``[B*K, L]``, sample-major: text j of sample b in row ``b*K + j``."""
    return tokens.flatten(0, 1)


def _shared(tensor: Tensor) -> Tensor:
    tensor.share_memory_()  # type: ignore[no-untyped-call]
    return tensor

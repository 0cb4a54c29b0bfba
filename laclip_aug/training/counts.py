"""How many texts of each source were drawn, counted in all loader workers, and what to say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from laclip_aug.errors import ConfigurationError
from laclip_aug.training.sampling import Draw
from laclip_aug.training.sources import ORIGINAL

_ROWS = 256


@dataclass(frozen=True)
class Drawn:
    """Texts drawn by source, for so many ``captions``.

    ``missed`` captions were not in the cache (of several caches, times that one was not in one), and ``short`` texts
    had fewer than two words; the caption stood in for both, and is counted among the originals.
    """

    sources: Mapping[str, int]
    captions: int = 0
    missed: int = 0
    short: int = 0

    def line(self, epoch: int) -> str:
        """One line for the log."""
        total = sum(self.sources.values())
        shares = ", ".join(f"{name} {n} ({100 * n / max(1, total):.1f}%)" for name, n in self.sources.items())
        return (
            f"text augmentation, epoch {epoch}: {total} texts drawn: {shares}; {self.missed} captions missed the "
            f"cache, {self.short} texts had fewer than two words"
        )

    def scalars(self) -> dict[str, float]:
        """For TensorBoard and the like: the share of each source among the texts, and what fell back."""
        total = max(1, sum(self.sources.values()))
        shares = {f"text_aug/drawn/{name}": number / total for name, number in self.sources.items()}
        return {**shares, "text_aug/missed": float(self.missed), "text_aug/short": float(self.short)}


class DrawCounts:
    """Counts draws in loader workers, forked and spawned ones.

    Each worker counts in a row of its own, so that nothing is locked and nothing lost; row 0 is the training process.

    Args:
        strategies: the sources that can be drawn, besides the original.
        workers: how many workers a loader may have; 256 at least.
    """

    def __init__(self, strategies: Sequence[str], workers: int = 0) -> None:
        self._column = {name: place for place, name in enumerate(dict.fromkeys((ORIGINAL, *strategies)))}
        size = len(self._column) + 3  # captions, missed, short
        self._shared = shared(torch.zeros(max(workers, _ROWS) + 1, size, dtype=torch.int64))
        self._row: memoryview | None = None  # plain integers in shared memory, quicker than NumPy's one at a time

    def add(self, draw: Draw) -> None:
        """Count one caption's draw.

        Raises:
            ConfigurationError: there are more loader workers than rows to count in.
        """
        row = self._row
        if row is None:
            row = self._row = self._own_row()
        for source in draw.sources:
            row[self._column[source]] += 1
        row[-3] += 1
        if draw.short or draw.missed:
            row[-2] += draw.missed
            row[-1] += draw.short

    def seen(self) -> Drawn:
        """The counts of all workers since the last :meth:`take`; while workers are at it, of a moment ago."""
        *drawn, captions, missed, short = self._shared.sum(dim=0).tolist()
        return Drawn(dict(zip(self._column, drawn, strict=True)), captions, missed, short)

    def take(self) -> Drawn:
        """The counts of all workers since the last call; call it between epochs, when workers are at rest."""
        drawn = self.seen()
        self._shared.zero_()
        return drawn

    def _own_row(self) -> memoryview:
        worker = get_worker_info()
        place, rows = (0 if worker is None else 1 + worker.id), len(self._shared)
        if place >= rows:
            raise ConfigurationError(
                f"there are more loader workers than the {rows - 1} that DrawCounts has room for; make it with "
                "workers=N, the number of workers"
            )
        return memoryview(self._shared.numpy()[place])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_row": None}  # a worker finds its own row


def shared(tensor: Tensor) -> Tensor:
    """``tensor`` in memory that other processes see too."""
    tensor.share_memory_()  # type: ignore[no-untyped-call]
    return tensor

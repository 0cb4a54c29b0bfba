"""The training loader as the trainer sees it: texts flattened, and a report at the end of each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from laclip_aug.training.tokenizer import flatten_texts


class TrainingLoader:
    """A loader of ``(images, texts [B, K, L])`` as one of ``(images, texts [B*K, L])``; the rest is the loader's own.

    A batch that is a dict, with the texts under ``text``, stays one, as open_clip 4 has it.

    Args:
        loader: any loader; its attributes (``num_batches``, ``dataset``) are found here too.
        on_batch: called with each batch's ``[B*K, L]`` and K before it is handed on.
        on_end: called when the loader has no more batches.
    """

    def __init__(self, loader: Any, on_batch: Callable[[Tensor, int], None], on_end: Callable[[], None]) -> None:
        self._loader = loader
        self._on_batch = on_batch
        self._on_end = on_end

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            texts = batch["text"] if isinstance(batch, Mapping) else batch[1]
            flat = flatten_texts(texts)
            self._on_batch(flat, texts.shape[1])
            yield {**batch, "text": flat} if isinstance(batch, Mapping) else (batch[0], flat)
        self._on_end()

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_loader"], name)


def describe_draws(counts: Mapping[str, int], epoch: int) -> str:
    """One line for the log from :meth:`DrawCounts.take`: texts per source, and what fell back to the original."""
    sources = {name: count for name, count in counts.items() if name not in ("short", "missed")}
    total = sum(sources.values())
    shares = ", ".join(f"{name} {count} ({100 * count / max(1, total):.1f}%)" for name, count in sources.items())
    return (
        f"text augmentation, epoch {epoch}: {total} texts drawn: {shares}; "
        f"{counts['missed']} captions missed the cache, {counts['short']} texts had fewer than two words"
    )

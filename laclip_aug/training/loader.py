"""The training loader as the trainer sees it: texts flattened, and a report at the end of each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from laclip_aug.errors import UnsupportedOpenClipError
from laclip_aug.training.tokenizer import flatten_texts


class TrainingLoader:
    """A loader of ``(images, texts [B, K, L])`` as one of ``(images, texts [B*K, L])``; the rest is the loader's own.

    A batch that is a dict, with the texts under ``text``, stays one, as open_clip 4 has it.

    Args:
        loader: any loader; its attributes (``num_batches``, ``dataset``) are found here too.
        on_batch: called with each batch's ``[B*K, L]`` and K before it is handed on.
        on_end: called when the loader has no more batches.

    Raises:
        UnsupportedOpenClipError: when iterated, if texts of a batch have another form.
    """

    def __init__(self, loader: Any, on_batch: Callable[[Tensor, int], None], on_end: Callable[[], None]) -> None:
        self._loader = loader
        self._on_batch = on_batch
        self._on_end = on_end

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            texts = batch["text"] if isinstance(batch, Mapping) else batch[1]
            if not isinstance(texts, Tensor) or texts.ndim != 3:
                form = tuple(texts.shape) if isinstance(texts, Tensor) else type(texts).__name__
                raise UnsupportedOpenClipError(
                    f"the trainer's loader gave texts of the form {form}, not [B, K, L]: this open_clip makes its "
                    "batches on another way; use a version that laclip-aug's README names"
                )
            flat = flatten_texts(texts)
            self._on_batch(flat, texts.shape[1])
            yield {**batch, "text": flat} if isinstance(batch, Mapping) else (batch[0], flat)
        self._on_end()

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_loader"], name)

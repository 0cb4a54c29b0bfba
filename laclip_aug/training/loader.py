"""The training loader as the trainer sees it: texts flattened, and a report at the end of each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from laclip_aug.errors import UnsupportedOpenClipError
from laclip_aug.training.tokenizer import AugmentingTokenizer, flatten_texts


@dataclass(frozen=True)
class VariableLength:
    """Texts without padding, as open_clip 4's ``--variable-text`` has them: a batch is as wide as its longest text.

    Its collators take one row of ids a sample. So a sample's texts travel as one row, each padded to the full length
    ``L``, and are cut here.
    """

    texts_per_image: int
    length: int
    pad_id: int
    multiple: int = 1

    @classmethod
    def asked_for(cls, tokenizer: AugmentingTokenizer, args: Any) -> VariableLength | None:
        """The form of ``tokenizer``'s texts where the trainer's ``args`` ask for texts without padding."""
        if getattr(args, "variable_text", False) is not True or tokenizer.pad_token_id is None:
            return None
        length, multiple = tokenizer.tokenizer.context_length, getattr(args, "text_pad_multiple", None) or 1  # type: ignore[attr-defined]
        return cls(tokenizer.sampler.num_texts, length, tokenizer.pad_token_id, multiple)

    def apart(self, rows: Tensor) -> Tensor:
        """``[B, >= K*L]`` to ``[B, K, L]``."""
        width = self.texts_per_image * self.length
        return rows[:, :width].reshape(len(rows), self.texts_per_image, self.length)

    def cut(self, texts: Tensor) -> Tensor:
        """``[B*K, L]`` without the columns behind the longest text, up to a multiple of ``multiple``."""
        columns = (texts != self.pad_id).any(dim=0).nonzero()
        longest = int(columns.max()) + 1 if len(columns) else 1
        return texts[:, : min(-(-longest // self.multiple) * self.multiple, self.length)]


class TrainingLoader:
    """A loader of ``(images, texts [B, K, L])`` as one of ``(images, texts [B*K, L])``; the rest is the loader's own.

    A batch that is a dict, with the texts under ``text``, stays one, as open_clip 4 has it.

    Args:
        loader: any loader; its attributes (``num_batches``, ``dataset``) are found here too.
        on_batch: called with each batch's ``[B*K, L]`` and K before it is handed on.
        on_end: called when the loader has no more batches.
        variable: the form of the texts, if they are not padded to one length.

    Raises:
        UnsupportedOpenClipError: when iterated, if texts of a batch have another form.
    """

    def __init__(
        self,
        loader: Any,
        on_batch: Callable[[Tensor, int], None],
        on_end: Callable[[], None],
        variable: VariableLength | None = None,
    ) -> None:
        self._loader = loader
        self._variable = variable
        self._on_batch = on_batch
        self._on_end = on_end

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            texts = batch["text"] if isinstance(batch, Mapping) else batch[1]
            if self._variable is not None and isinstance(texts, Tensor) and texts.ndim == 2:
                texts = self._variable.apart(texts)
            if not isinstance(texts, Tensor) or texts.ndim != 3:
                form = tuple(texts.shape) if isinstance(texts, Tensor) else type(texts).__name__
                raise UnsupportedOpenClipError(
                    f"the trainer's loader gave texts of the form {form}, not [B, K, L]: this open_clip makes its "
                    "batches on another way; use a version that laclip-aug's README names"
                )
            flat = flatten_texts(texts)
            self._on_batch(flat, texts.shape[1])
            if self._variable is not None and isinstance(batch, Mapping):
                flat = self._variable.cut(flat)
                # No contrastive task reads the mask, and with it open_clip 4.2's gradient accumulation breaks off.
                batch = {name: part for name, part in batch.items() if name != "text_valid"}
            yield {**batch, "text": flat} if isinstance(batch, Mapping) else (batch[0], flat)
        self._on_end()

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        if "_loader" not in self.__dict__:  # asked by pickle or copy, before they have filled the copy
            raise AttributeError(name)
        return getattr(self._loader, name)

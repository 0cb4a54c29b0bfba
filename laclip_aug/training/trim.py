"""Exact text encoding without the padding.

CLIP pads each text to 77 tokens, and captions take 15 to 25. Under a causal mask no token sees what follows it, so
where the pooled feature is read at the end-of-text token, the padding after it changes nothing: neither the feature nor
any gradient. :func:`install_trimming` makes such a text tower encode, while it is training, each text at the least
length of a few fixed ones that reaches its pooled position. (Cutting to the longest text of the batch would gain
little: in a large batch some text is always long.) A text that occurs more than once in a batch is encoded once.

Results differ from the untrimmed tower's by rounding only, about 1e-6 in float32, since the products have other shapes.
What is trimmed is what the model's own ``forward`` runs; that is tested by calling it, and by counting the positions
that its transformer sees.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, SupportsIndex

import torch
from torch import Tensor, nn

from laclip_aug.errors import ConfigurationError
from laclip_aug.training.rows import row_ids
from laclip_aug.training.towers import (
    features_and_positions,
    made_up_texts,
    text_lengths,
    text_tower,
    tower_fault,
    unwrapped,
    wrapper_fault,
)

BUCKETS = (16, 24, 32, 48, 77)
"""Lengths that texts are encoded at; the tower's full length always belongs to them."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrimReport:
    """Whether the model's text tower is trimmed (``exact``), and a sentence on why or why not."""

    exact: bool
    reason: str
    buckets: tuple[int, ...] = ()


def install_trimming(model: nn.Module, buckets: Sequence[int] = BUCKETS) -> TrimReport:
    """Trim the text tower of an open_clip model, in place, where that is exact; otherwise leave it alone.

    Acts in training mode only. Knows ``CLIP`` and ``CustomTextCLIP`` with a causal tower by their attributes, and
    before it says yes calls the model on a few made-up texts: the features must be the plain ones, and the transformer
    must see fewer positions. Call it before or after wrapping in ``DistributedDataParallel``. What was decided is
    logged and returned. A trimmed model is pickled as the plain one that it was made of.

    Args:
        buckets: lengths in tokens; those beyond the tower's context length are ignored.

    Raises:
        ConfigurationError: a bucket is no positive number.
    """
    if any(length < 1 for length in buckets):
        raise ConfigurationError(f"text lengths must be positive, not {list(buckets)}; try {list(BUCKETS)}")
    report = _install(model, buckets)
    _log.info("text trimming %s: %s", "on" if report.exact else "off", report.reason)
    return report


def remove_trimming(model: nn.Module) -> bool:
    """Undo :func:`install_trimming`; says whether there was anything to undo."""
    tower = text_tower(unwrapped(model))
    if tower is None or not hasattr(tower, "_untrimmed_class"):
        return False
    tower.__class__ = tower._untrimmed_class
    del tower._trim_lengths
    return True


def _install(model: nn.Module, buckets: Sequence[int]) -> TrimReport:
    model = unwrapped(model)
    tower = text_tower(model)
    fault = wrapper_fault(model) or tower_fault(tower)
    if fault or tower is None:
        return TrimReport(False, fault)
    if hasattr(tower, "_untrimmed_class"):
        return TrimReport(True, "already installed", tower._trim_lengths)
    full = tower.attn_mask.shape[0]
    lengths = (*sorted({length for length in buckets if length < full}), full)
    if len(lengths) == 1:
        return TrimReport(False, f"no text length below the tower's {full} is asked for")
    text = made_up_texts(tower, lengths)
    plain, all_positions = features_and_positions(model, tower, text)
    tower.__class__ = _trimmed_class(type(tower))  # type: ignore[arg-type]
    tower._trim_lengths = lengths
    fault = "the probe failed"
    try:
        trimmed, positions = features_and_positions(model, tower, text)
        error = float(((trimmed - plain).norm(dim=-1) / plain.norm(dim=-1)).max())
        tolerance = 1e-4 if torch.finfo(plain.dtype).bits >= 32 else 3e-2
        expected = sum(min(length for length in lengths if length >= own) for own in text_lengths(tower, text).tolist())
        fault = ""
        if not error <= tolerance:
            fault = f"trimmed features are off by {error:.1e} relative (more than {tolerance:.0e})"
        elif positions != expected:
            fault = (
                f"the model's forward ran {positions} text positions where {expected} were expected, and "
                f"{all_positions} untrimmed: this version of open_clip encodes texts on another way"
            )
    finally:
        if fault:
            remove_trimming(model)
    if fault:
        return TrimReport(False, fault)
    share = f"{positions} of {all_positions} positions"
    return TrimReport(True, f"exact (probe {error:.1e}, {share}), at lengths {', '.join(map(str, lengths))}", lengths)


class _Embedded(nn.Module):
    """Stands in for the token embedding where its result is known."""

    def __init__(self, embedded: Tensor) -> None:
        super().__init__()
        self.embedded = embedded

    def forward(self, text: Tensor) -> Tensor:
        return self.embedded.view(*text.shape, -1)


@contextmanager
def _shortened(tower: Any, length: int, embedded: Tensor) -> Iterator[None]:
    """For the time of a call, the tower's position table and mask end at ``length``; gradients reach the table."""
    table, mask, embedding = tower.positional_embedding, tower.attn_mask, tower.token_embedding
    tower._parameters["positional_embedding"] = table[:length]
    tower._buffers["attn_mask"] = mask[:length, :length]
    tower._modules["token_embedding"] = _Embedded(embedded)
    try:
        yield
    finally:
        tower._parameters["positional_embedding"] = table
        tower._buffers["attn_mask"] = mask
        tower._modules["token_embedding"] = embedding


def _encode(tower: Any, text: Tensor, lengths: Sequence[int], encode: Callable[[Tensor], Tensor]) -> Tensor:
    """``encode(text)``, a bucket at a time."""
    first, length = _first_equal(text), text_lengths(tower, text)
    row, numbers = (torch.arange(count, device=text.device) for count in (len(text), len(lengths) + 1))
    bucket = sum((length > limit).long() for limit in lengths[:-1])
    bucket = torch.where(first == row, bucket, len(lengths))  # the last is for repeated texts, which are not encoded
    order = bucket.argsort(stable=True)
    # How many texts each bucket has is all that the host must know, so a GPU is waited for once.
    *counts, repeated = (bucket[:, None] == numbers).sum(dim=0).tolist()
    split = torch.split(order, [*counts, repeated])[:-1]
    parts = [text[rows, :limit] for limit, rows in zip(lengths, split, strict=True) if len(rows)]
    # Tokens are looked up once for all buckets: each look-up makes a gradient as large as the whole vocabulary.
    looked_up = tower.token_embedding(torch.cat([part.flatten() for part in parts]))
    features = []
    for part, embedded in zip(parts, torch.split(looked_up, [part.numel() for part in parts]), strict=True):
        with _shortened(tower, part.shape[1], embedded):
            features.append(encode(part))
    place = torch.empty_like(order)
    place[order] = row
    return torch.cat(features)[place[first]]


def _first_equal(text: Tensor) -> Tensor:
    """For each row of ``[B, L]`` the number of the first row equal to it: ``[[7], [8], [7]]`` -> ``[0, 1, 0]``."""
    row = torch.arange(len(text), device=text.device)
    ids, order = row_ids(text).sort(stable=True)
    starts = torch.where(ids == ids.roll(1), 0, row)  # where a run of equal ids starts; a run at 0 needs no mark
    first = torch.empty_like(row)
    first[order] = order[starts.cummax(dim=0).values]
    same = (text[first] == text).all(dim=1)
    return torch.where(same, first, row)  # equal ids, other text: a collision; then the row stands for itself


@lru_cache
def _trimmed_class(base: type) -> type:
    """A subclass of the tower's class that encodes trimmed; a class, so that a deep copy of the model is right too."""
    # ``CLIP`` encodes in ``_encode_text`` from open_clip 4 on; ``forward`` and ``encode_text`` both call it there.
    method = next((name for name in ("_encode_text", "encode_text") if hasattr(base, name)), "forward")
    plain = getattr(base, method)

    def trimmed(self: Any, text: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        lengths = self._trim_lengths
        if not self.training or torch.compiler.is_compiling() or text.shape[1:] != lengths[-1:] or not len(text):
            answer: Tensor = plain(self, text, *args, **kwargs)
            return answer
        return _encode(self, text, lengths, lambda part: plain(self, part, *args, **kwargs))

    def copied(self: Any, memo: dict[int, Any]) -> Any:
        twin = memo[id(self)] = _new(type(self))
        twin.__dict__.update(deepcopy(self.__dict__, memo))
        return twin

    def reduced(self: Any, protocol: SupportsIndex) -> Any:
        state = {name: value for name, value in self.__dict__.items() if name != "_trim_lengths"}
        return _new, (base,), state  # a class that is made here could not be found again by its name

    members = {method: trimmed, "_untrimmed_class": base, "__module__": base.__module__, "__doc__": base.__doc__}
    return type(base.__name__, (base,), members | {"__deepcopy__": copied, "__reduce_ex__": reduced})


def _new(kind: Any) -> Any:
    return object.__new__(kind)

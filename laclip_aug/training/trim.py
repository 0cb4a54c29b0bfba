"""Exact text encoding without the padding.

CLIP pads each text to 77 tokens, and captions take 15 to 25. Under a causal mask no token sees what follows it, so
where the pooled feature is read at the end-of-text token, the padding after it changes nothing: neither the feature nor
any gradient. :func:`install_trimming` makes such a text tower encode, while it is training, each text at the least
length of a few fixed ones that reaches its pooled position. (Cutting to the longest text of the batch would gain
little: in a large batch some text is always long.) A text that occurs more than once in a batch is encoded once.

Results differ from the untrimmed tower's by rounding only, about 1e-6 in float32, since the products have other shapes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from laclip_aug.errors import ConfigurationError
from laclip_aug.training.rows import row_ids

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

    Acts in training mode only. Knows ``CLIP`` and ``CustomTextCLIP`` with a causal tower by their attributes, and tests
    the numbers on a few made-up texts before it says yes. Call it before or after wrapping in
    ``DistributedDataParallel``. What was decided is logged and returned.

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
    tower = _tower(_inner(model))
    if tower is None or not hasattr(tower, "_untrimmed_class"):
        return False
    tower.__class__ = tower._untrimmed_class
    del tower._trim_lengths
    return True


def _install(model: nn.Module, buckets: Sequence[int]) -> TrimReport:
    model = _inner(model)
    tower = _tower(model)
    fault = _wrapper_fault(model) or _tower_fault(tower)
    if fault or tower is None:
        return TrimReport(False, fault)
    if hasattr(tower, "_untrimmed_class"):
        return TrimReport(True, "already installed", tower._trim_lengths)
    full = tower.attn_mask.shape[0]
    lengths = (*sorted({length for length in buckets if length < full}), full)
    if len(lengths) == 1:
        return TrimReport(False, f"no text length below the tower's {full} is asked for")
    error, tolerance = _probe(tower, lengths)
    if not error <= tolerance:
        return TrimReport(False, f"trimmed features are off by {error:.1e} relative (more than {tolerance:.0e})")
    tower.__class__ = _trimmed_class(type(tower))
    tower._trim_lengths = lengths
    return TrimReport(True, f"exact (probe {error:.1e}), at lengths {', '.join(map(str, lengths))}", lengths)


def _inner(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def _tower(model: nn.Module) -> Any:
    """What encodes the texts: ``CustomTextCLIP.text``, or a ``CLIP`` itself; None where it is neither."""
    text = getattr(model, "text", None)
    if isinstance(text, nn.Module):
        return text
    return model if hasattr(model, "text_pool_type") and hasattr(model, "encode_text") else None


def _wrapper_fault(model: nn.Module) -> str:
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            return "the model is compiled by torchscript"
        if hasattr(module, "_orig_mod"):
            return "the model is compiled by torch.compile, which would compile anew for each shape"
        if any("FSDP" in base.__name__ or "FullySharded" in base.__name__ for base in type(module).__mro__):
            return "FSDP keeps the model's parameters in shards, so they cannot be sliced for a call"
    return ""


def _tower_fault(tower: Any) -> str:
    """Why the tower's features could depend on the padding; empty if they cannot."""
    if tower is None or not isinstance(getattr(tower, "positional_embedding", None), Tensor):
        return "the text tower is none of open_clip's own"
    if getattr(tower, "cls_emb", None) is not None:
        return "the tower pools a class token that stands behind the padding"
    mask = getattr(tower, "attn_mask", None)
    if mask is None:
        return "the tower's attention is not causal, so the padding is seen"
    outside = torch.ones(mask.shape, dtype=torch.bool, device=mask.device).triu(1)
    if not (torch.isneginf(mask) == outside).all():
        return "the tower's attention mask is not the causal one"
    pool = _pool_type(tower)
    if pool not in ("argmax", "eos", "first"):
        return f"pooling {pool!r} reads more than one position, or one behind the padding"
    if getattr(tower, "output_tokens", False):
        return "the tower is asked for all its tokens"
    return ""


def _pool_type(tower: Any) -> str:
    return str(getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", None))


def _eos(tower: Any) -> int:
    return int(tower.text_eos_id if hasattr(tower, "text_eos_id") else tower.eos_id)


def _lengths(tower: Any, text: Tensor) -> Tensor:
    """``[B, L]`` token ids to ``[B]``: the pooled position plus one. The padding's id could be a token's too."""
    pool = _pool_type(tower)
    if pool == "first":
        return text.new_ones(len(text))
    if pool == "eos":
        return text.eq(_eos(tower)).int().argmax(dim=-1) + 1
    return text.argmax(dim=-1) + 1


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
    first, length = _first_equal(text), _lengths(tower, text)
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


def _trimmed_class(base: type) -> type:
    """A subclass of the tower's class that encodes trimmed; a class, so that a deep copy of the model is right too."""
    method = "encode_text" if hasattr(base, "encode_text") else "forward"
    plain = getattr(base, method)

    def trimmed(self: Any, text: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        lengths = self._trim_lengths
        if not self.training or torch.compiler.is_compiling() or text.shape[1:] != lengths[-1:] or not len(text):
            answer: Tensor = plain(self, text, *args, **kwargs)
            return answer
        return _encode(self, text, lengths, lambda part: plain(self, part, *args, **kwargs))

    members = {method: trimmed, "_untrimmed_class": base, "__module__": base.__module__, "__doc__": base.__doc__}
    return type(base.__name__, (base,), members)


@torch.no_grad()
def _probe(tower: Any, lengths: Sequence[int]) -> tuple[float, float]:
    """The largest relative difference between trimmed and plain features of made-up texts, and what is allowed."""
    generator = torch.Generator().manual_seed(0)
    vocabulary, full = tower.token_embedding.weight.shape[0], lengths[-1]
    end = _eos(tower) if _pool_type(tower) == "eos" else vocabulary - 1
    text = torch.randint(0, max(1, vocabulary - 1), (2 * len(lengths), full), generator=generator)
    text[text == end] = (end + 1) % max(1, vocabulary - 1)
    for row, length in enumerate([*lengths, *lengths]):
        text[row, length - 1] = end
        if row < len(lengths):
            text[row, length:] = 0  # half the texts are padded as usual, half with any tokens
    text = text.to(tower.token_embedding.weight.device)
    encode = tower.encode_text if hasattr(tower, "encode_text") else tower
    with torch.autocast(text.device.type, enabled=False):
        plain = encode(text)
        trimmed = _encode(tower, text, lengths, encode)
    error = float(((trimmed - plain).norm(dim=-1) / plain.norm(dim=-1)).max())
    return error, 1e-4 if torch.finfo(plain.dtype).bits >= 32 else 3e-2

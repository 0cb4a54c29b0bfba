"""Which text towers of open_clip's models can do without the padding, where a text ends in them, and a trial of them.

Known are ``CLIP`` and ``CustomTextCLIP`` with a causal tower, by their attributes and not by their class, so that
models made by other versions of open_clip and by subclasses are judged too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def unwrapped(model: nn.Module) -> nn.Module:
    """``model`` without DistributedDataParallel around it."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def text_tower(model: nn.Module) -> Any:
    """What encodes the texts: ``CustomTextCLIP.text``, or a ``CLIP`` itself; None where it is neither."""
    text = getattr(model, "text", None)
    if isinstance(text, nn.Module):
        return text
    return model if hasattr(model, "text_pool_type") and hasattr(model, "encode_text") else None


def wrapper_fault(model: nn.Module) -> str:
    """Why what is around or inside the model forbids trimming; empty if nothing does."""
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            return "the model is compiled by torchscript"
        if hasattr(module, "_orig_mod"):
            return "the model is compiled by torch.compile, which would compile anew for each shape"
        if any("FSDP" in base.__name__ or "FullySharded" in base.__name__ for base in type(module).__mro__):
            return "FSDP keeps the model's parameters in shards, so they cannot be sliced for a call"
    return ""


def tower_fault(tower: Any) -> str:
    """Why the tower's features could depend on the padding; empty if they cannot."""
    if tower is None or not isinstance(getattr(tower, "positional_embedding", None), Tensor):
        return "the text tower is none of open_clip's own"
    if getattr(tower, "variable_text", False):
        return "the tower takes texts without padding by itself"
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


def text_lengths(tower: Any, text: Tensor) -> Tensor:
    """``[B, L]`` token ids to ``[B]``: the pooled position plus one. The padding's id could be a token's too."""
    pool = _pool_type(tower)
    if pool == "first":
        return text.new_ones(len(text))
    if pool == "eos":
        return text.eq(_eos(tower)).int().argmax(dim=-1) + 1
    return text.argmax(dim=-1) + 1


def made_up_texts(tower: Any, lengths: Sequence[int]) -> Tensor:
    """``[2 * len(lengths), L]`` token ids: texts of each length, padded as usual and with any tokens."""
    generator = torch.Generator().manual_seed(0)
    vocabulary, full = tower.token_embedding.weight.shape[0], lengths[-1]
    end = _eos(tower) if _pool_type(tower) == "eos" else vocabulary - 1
    text = torch.randint(0, max(1, vocabulary - 1), (2 * len(lengths), full), generator=generator)
    text[text == end] = (end + 1) % max(1, vocabulary - 1)
    for row, length in enumerate([*lengths, *lengths]):
        text[row, length - 1] = end
        if row < len(lengths):
            text[row, length:] = 0  # half the texts are padded as usual, half with any tokens
    return text.to(tower.token_embedding.weight.device)


@torch.no_grad()
def features_and_positions(model: nn.Module, tower: Any, text: Tensor) -> tuple[Tensor, int]:
    """The features that the model's ``forward`` gives of ``text`` in training, and how many positions it ran."""
    positions = 0

    def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal positions
        positions += inputs[0].shape[:2].numel()  # batch and length, in whichever order

    modes = {module: module.training for module in model.modules()}
    handle = tower.transformer.register_forward_pre_hook(count)
    try:
        model.train()
        with torch.autocast(text.device.type, enabled=False):
            answer = model(None, text)
    finally:
        handle.remove()
        for module, training in modes.items():
            module.training = training
    features: Tensor = answer["text_features"] if isinstance(answer, Mapping) else answer[1]
    return features, positions

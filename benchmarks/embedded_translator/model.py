"""The embedded translator's network: an encoder-decoder Transformer laid out like Marian's.

Post-norm layers, sinusoidal positions (sines, then cosines), one table of embeddings shared by both sides and by the
output, and a decoder that starts from a zero embedding. The parameters carry the names of the Marian model of Hugging
Face transformers, so the same weights load there (for the benchmark) and into CTranslate2 (for the package).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Size:
    """The network's dimensions. ``vocabulary`` counts the pieces; the padding row comes after them."""

    vocabulary: int
    width: int = 128
    feed_forward: int = 384
    heads: int = 4
    encoder_layers: int = 3
    decoder_layers: int = 2
    positions: int = 256


def positions_table(count: int, width: int) -> Tensor:
    """Sinusoids ``[count, width]``: sines, then cosines (Vaswani et al. 2017, section 3.5)."""
    angles = torch.arange(count)[:, None] / 10000 ** (2 * torch.arange(width // 2) / width)
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, causal: bool = False) -> Tensor:  # (B, T, D), (B, S, D)
        def split(t: Tensor) -> Tensor:  # (B, T, D) -> (B, H, T, D/H)
            return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q, k, v = split(self.q_proj(x)), split(self.k_proj(memory)), split(self.v_proj(memory))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out_proj(out.transpose(1, 2).flatten(-2))


class Layer(nn.Module):
    """One encoder layer, or with ``cross`` one decoder layer."""

    def __init__(self, size: Size, dropout: float, cross: bool) -> None:
        super().__init__()
        self.dropout = dropout
        self.self_attn = Attention(size.width, size.heads, dropout)
        self.self_attn_layer_norm = nn.LayerNorm(size.width)
        self.encoder_attn = Attention(size.width, size.heads, dropout) if cross else None
        self.encoder_attn_layer_norm = nn.LayerNorm(size.width) if cross else None
        self.fc1, self.fc2 = nn.Linear(size.width, size.feed_forward), nn.Linear(size.feed_forward, size.width)
        self.final_layer_norm = nn.LayerNorm(size.width)

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        x = self.self_attn_layer_norm(x + self.drop(self.self_attn(x, x, causal=memory is not None)))
        if self.encoder_attn is not None and self.encoder_attn_layer_norm is not None and memory is not None:
            x = self.encoder_attn_layer_norm(x + self.drop(self.encoder_attn(x, memory)))
        return self.final_layer_norm(x + self.drop(self.fc2(self.drop(F.relu(self.fc1(x))))))


class Stack(nn.Module):
    def __init__(self, size: Size, layers: int, dropout: float, cross: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(size, dropout, cross) for _ in range(layers)])


class Translator(nn.Module):
    """``forward`` gives the decoder's states ``[B, T, D]`` for source ids ``[B, S]`` and target ids ``[B, T]``.

    A state times the table of embeddings gives the logits. All sources of a batch have one length, so no padding mask
    is needed on that side. ``targets`` are shifted right here: position 0 sees the padding row, which is all zeros.
    """

    def __init__(self, size: Size, dropout: float = 0.15) -> None:
        super().__init__()
        self.size, self.dropout = size, dropout
        self.shared = nn.Embedding(size.vocabulary + 1, size.width, padding_idx=size.vocabulary)
        self.encoder = Stack(size, size.encoder_layers, dropout, cross=False)
        self.decoder = Stack(size, size.decoder_layers, dropout, cross=True)
        self.register_buffer("positions", positions_table(size.positions, size.width), persistent=False)
        for name, weight in self.named_parameters():
            if name.startswith("shared"):
                nn.init.normal_(weight, std=size.width**-0.5)
            elif weight.dim() == 2:
                nn.init.xavier_uniform_(weight)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)
        with torch.no_grad():
            self.shared.weight[size.vocabulary].zero_()

    def embed(self, ids: Tensor) -> Tensor:
        x = self.shared(ids) * math.sqrt(self.size.width) + self.positions[: ids.shape[1]]
        return F.dropout(x, self.dropout, self.training)

    def forward(self, sources: Tensor, targets: Tensor) -> Tensor:
        memory = self.embed(sources)
        for layer in self.encoder.layers:
            memory = layer(memory)
        shifted = F.pad(targets[:, :-1], (1, 0), value=self.size.vocabulary)
        x = self.embed(shifted)
        for layer in self.decoder.layers:
            x = layer(x, memory)
        return x

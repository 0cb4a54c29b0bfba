"""A llama-architecture decoder in plain PyTorch: RMSNorm, rotary positions, SwiGLU, tied embeddings.

Rotary pairs are (2i, 2i+1), as in llama.cpp's ``llama`` architecture, so that no weight is permuted on export.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """Sizes of the model. ``context`` is the number of positions that llama.cpp will allow."""

    vocabulary: int = 4000
    width: int = 192
    layers: int = 5
    heads: int = 6
    hidden: int = 512
    context: int = 512
    rope_base: float = 10000.0
    eps: float = 1e-5

    def dict(self) -> dict[str, int | float]:
        return asdict(self)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions. x ``[B, H, T, D]``; cos, sin ``[B, 1, T, D/2]``."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d = shape.width
        self.heads = shape.heads
        self.norm_attention = nn.RMSNorm(d, eps=shape.eps)
        self.norm_mlp = nn.RMSNorm(d, eps=shape.eps)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(d, shape.hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(shape.hidden, d, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        h = self.norm_attention(x)
        q, k, v = (p(h).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.q, self.k, self.v))
        a = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, attn_mask=mask)
        x = x + self.o(a.transpose(1, 2).flatten(2))
        h = self.norm_mlp(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Rewriter(nn.Module):
    """``forward`` gives hidden states; ``logits`` projects those that are scored onto the tied embedding."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=shape.eps)
        for name, p in self.named_parameters():
            if p.ndim == 2:
                std = 0.02 if name.startswith("embedding") else shape.width**-0.5
                if name.endswith(("o.weight", "down.weight")):
                    std = 0.5 * std * (2 * shape.layers) ** -0.5
                nn.init.normal_(p, std=std)

    def forward(self, ids: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """ids, positions ``[B, T]``; mask ``[B, 1, T, T]``, true where a key may be seen. Returns ``[B, T, width]``."""
        s = self.shape
        d = s.width // s.heads
        frequency = s.rope_base ** (-torch.arange(0, d, 2, device=ids.device) / d)
        angle = (positions[..., None] * frequency)[:, None]
        cos, sin = angle.cos(), angle.sin()
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, cos, sin, mask)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.embedding.weight)

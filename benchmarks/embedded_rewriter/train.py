"""Train the rewriter: target tokens scored only, Muon for the matrices and AdamW for the rest, checkpoints.

Muon (Jordan et al. 2024: momentum, then the nearest semi-orthogonal matrix by a Newton-Schulz iteration) is written
out here because PyTorch's own iterates in bfloat16, which is emulated on most CPUs. The learning rate holds, and
falls to zero over the last steps, so that a run can be cut short or made longer without starting again. An
exponential mean of the weights gives usable models before the fall.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.embedded_rewriter.batches import Rows
from benchmarks.embedded_rewriter.model import Rewriter, Shape
from benchmarks.embedded_rewriter.vocabulary import Tokenizer


@dataclass(frozen=True)
class Recipe:
    """``steps`` in all, the last ``fall`` of them with a falling rate; ``tokens`` positions a batch."""

    steps: int = 4000
    fall: int = 1000
    warmup: int = 60
    tokens: int = 3072
    matrix_rate: float = 0.02
    other_rate: float = 3e-3
    seed: int = 1
    clean: float = 0.7
    save_every: int = 40
    ema: float = 0.99

    def copy(self, step: int) -> float:
        """The share of rows that only copy: much at first, little after 500 steps."""
        return max(0.05, 0.4 * (1 - step / 500))

    def rate(self, step: int) -> float:
        """The share of the peak rate at ``step``."""
        return min(1.0, (step + 1) / self.warmup, max(0.0, (self.steps - step) / max(self.fall, 1)))


def orthogonal(g: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices to ``g`` ``[N, rows, columns]``, roughly: Muon's quintic Newton-Schulz."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.mT if g.size(-2) > g.size(-1) else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if g.size(-2) > g.size(-1) else x


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum over matrices; those of one shape are orthogonalised together."""

    def __init__(self, params: list[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.01) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for p in group["params"]:
                by_shape[p.shape].append(p)
            for shape, params in by_shape.items():
                updates = []
                for p in params:
                    assert p.grad is not None
                    mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                    mean.lerp_(p.grad, 1 - group["momentum"])
                    updates.append(p.grad.lerp(mean, group["momentum"]))
                scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for p, update in zip(params, orthogonal(torch.stack(updates)), strict=True):
                    p.mul_(1 - group["lr"] * group["decay"]).add_(update, alpha=-scale)


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint so that a kill leaves the old one or the new one."""
    temporary = path.with_suffix(".new")
    torch.save(content, temporary)
    temporary.replace(path)


def train(data: Path, out: Path, shape: Shape, recipe: Recipe, threads: int = 1, seconds: float = math.inf) -> Path:
    """Train, or go on from ``out/checkpoint.pt``; returns that path. The log is ``out/log.jsonl``.

    Stops after ``seconds`` too, with a checkpoint. A restart may change the recipe; the shape must stay.
    """
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "checkpoint.pt"
    torch.manual_seed(recipe.seed)
    tokenizer = Tokenizer(data / "vocabulary.model")
    model = Rewriter(shape)
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and n.startswith("blocks")]
    others = [p for n, p in model.named_parameters() if not (p.ndim == 2 and n.startswith("blocks"))]
    muon = Muon(matrices, recipe.matrix_rate)
    adam = torch.optim.AdamW(others, recipe.other_rate, betas=(0.9, 0.95), weight_decay=0.0)
    average = {n: p.detach().clone() for n, p in model.named_parameters()}
    step, scored, spent = 0, 0, 0.0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        muon.load_state_dict(state["muon"])
        adam.load_state_dict(state["adam"])
        average, step, scored, spent = state["average"], state["step"], state["scored"], state["spent"]
    rows = Rows(data, tokenizer, recipe.seed + 1_000_003 * step, recipe.clean)
    began, window, since = time.monotonic(), [], time.monotonic()

    def checkpoint() -> None:
        content = {"model": model.state_dict(), "muon": muon.state_dict(), "adam": adam.state_dict()}
        more = {"average": average, "step": step, "scored": scored, "spent": spent + time.monotonic() - began}
        save(path, {**content, **more, "shape": shape.dict()})

    for batch in rows.batches(recipe.tokens):
        if step >= recipe.steps or time.monotonic() - began > seconds:
            break
        rows.copy = recipe.copy(step)
        for optimizer, peak in ((muon, recipe.matrix_rate), (adam, recipe.other_rate)):
            for group in optimizer.param_groups:
                group["lr"] = peak * recipe.rate(step)
        hidden = model(batch.ids, batch.positions, batch.mask)
        loss = F.cross_entropy(model.logits(hidden.flatten(0, 1)[batch.index]), batch.labels)
        for optimizer in (muon, adam):
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(others, 1.0)
        muon.step()
        adam.step()
        step += 1
        scored += len(batch.labels)
        with torch.no_grad():
            for name, p in model.named_parameters():
                average[name].lerp_(p, 1 - min(recipe.ema, step / (step + 10)))
        window.append((loss.item(), len(batch.labels), batch.ids.numel()))
        if step % 10 == 0:
            now = time.monotonic()
            line = {
                "step": step,
                "scored": scored,
                "loss": round(sum(a * n for a, n, _ in window) / sum(n for _, n, _ in window), 4),
                "positions_per_s": round(sum(m for _, _, m in window) / (now - since)),
                "rate": round(recipe.rate(step), 3),
                "minutes": round((spent + now - began) / 60, 2),
            }
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            print(line, flush=True)
            window, since = [], now
        if step % recipe.save_every == 0:
            checkpoint()
    checkpoint()
    return path

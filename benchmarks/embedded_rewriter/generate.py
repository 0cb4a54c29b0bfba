"""Sample from the PyTorch model, without a cache: for looks during training and as the reference of the export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.embedded_rewriter.model import Rewriter, Shape
from benchmarks.embedded_rewriter.vocabulary import BOS, EOS, Tokenizer


def load(checkpoint: Path, average: bool = True) -> Rewriter:
    """The model of a checkpoint, by default with the mean weights."""
    state = torch.load(checkpoint, weights_only=True)
    model = Rewriter(Shape(**state["shape"]))
    model.load_state_dict(state["average"] if average else state["model"])
    return model.eval()


def prompt(tokenizer: Tokenizer, caption: str, strategy: str) -> list[int]:
    """``<s> caption <|strategy|>``."""
    return [BOS, *tokenizer.encode(caption), tokenizer.strategies[strategy]]


@torch.no_grad()
def generate(
    model: Rewriter,
    prompts: Sequence[list[int]],
    temperature: float = 0.0,
    top_p: float = 0.95,
    limit: int = 60,
    seed: int = 0,
) -> list[list[int]]:
    """New ids for each prompt, without EOS; greedy at temperature 0."""
    source = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([len(p) for p in prompts])
    width = int(lengths.max()) + limit
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    for i, p in enumerate(prompts):
        ids[i, : len(p)] = torch.tensor(p)
    done = torch.zeros(len(prompts), dtype=torch.bool)
    made: list[list[int]] = [[] for _ in prompts]
    for _ in range(limit):
        n = int(lengths.max())
        mask = torch.ones(n, n, dtype=torch.bool).tril()[None, None]
        positions = torch.arange(n).expand(len(prompts), n)
        hidden = model(ids[:, :n], positions, mask)[torch.arange(len(prompts)), lengths - 1]
        logits = model.logits(hidden)
        if temperature <= 0:
            pick = logits.argmax(-1)
        else:
            p, order = torch.softmax(logits / temperature, -1).sort(-1, descending=True)
            p[p.cumsum(-1) - p > top_p] = 0
            pick = order.gather(-1, torch.multinomial(p, 1, generator=source))[:, 0]
        done |= pick == EOS
        if bool(done.all()):
            break
        for i in torch.nonzero(~done)[:, 0].tolist():
            made[i].append(int(pick[i]))
            ids[i, lengths[i]] = pick[i]
            lengths[i] += 1
    return made

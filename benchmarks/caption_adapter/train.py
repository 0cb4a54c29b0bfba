"""Train a LoRA adapter on packed rows: logits and loss at rewrite positions only, checkpoints, resumable.

The base is read from the GGUF that the engine runs, dequantised. On a CPU with AVX512-BF16 the frozen weights are kept
in bfloat16, 1.5 times as fast as float32; the adapter's own are float32.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from peft.utils import get_peft_model_state_dict
from torch.nn import functional as F
from tqdm import tqdm
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.caption_adapter.rows import Batch, Row, batches

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Settings:
    """Of one run. ``tokens`` positions a batch, in sequences of ``length``."""

    rank: int = 16
    alpha: int = 32
    rate: float = 1e-3
    length: int = 256
    tokens: int = 512
    epochs: int = 1
    end: float = 0.02  # of the rate, at the last step
    warmup: int = 20
    dropout: float = 0.0
    seed: int = 1
    bfloat16: bool = True


def load(gguf: Path, settings: Settings) -> PeftModel:
    """The base model of a GGUF file with a fresh adapter."""
    base: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, attn_implementation="sdpa"
    )
    return attach(base, settings)


def attach(base: PreTrainedModel, settings: Settings) -> PeftModel:
    """``base`` with a fresh adapter, frozen weights in the type of ``settings``, on the GPU if there is one."""
    torch.manual_seed(settings.seed)
    base = base.to(
        "cuda" if torch.cuda.is_available() else "cpu", torch.bfloat16 if settings.bfloat16 else torch.float32
    )
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=MODULES,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(base, config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def loss_of(model: PeftModel, batch: Batch) -> tuple[torch.Tensor, int]:
    """Summed cross-entropy over the scored positions, and their number; other positions make no logits."""
    causal = model.get_base_model()
    ids, positions, mask, targets = (
        t.to(model.device) for t in (batch.ids, batch.positions, batch.mask, batch.targets)
    )
    hidden = causal.model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).last_hidden_state
    scored = targets >= 0
    logits = causal.lm_head(hidden[scored])
    return F.cross_entropy(logits.float(), targets[scored], reduction="sum"), int(scored.sum())


def train(model: PeftModel, rows: Sequence[Row], settings: Settings, folder: Path, every: int = 50) -> None:
    """Run to the end, or on from the last checkpoint in ``folder``; ``log.jsonl`` there gets a line a step.

    Raises:
        ValueError: the checkpoint is of other rows or settings.
    """
    plan = [
        batch
        for epoch in range(settings.epochs)
        for batch in batches(rows, settings.length, settings.tokens // settings.length, settings.seed + epoch)
    ]

    def loss(batch: Batch) -> torch.Tensor:
        with torch.autocast(model.device.type, torch.bfloat16, enabled=settings.bfloat16):
            total, count = loss_of(model, batch)
        return total / count

    folder.mkdir(parents=True, exist_ok=True)
    start, seen = time.perf_counter(), 0
    with (folder / "log.jsonl").open("a") as log:
        for step, value in steps(model, plan, loss, settings, folder, repr((rows, settings)), every):
            seen += plan[step].ids.numel()
            line = {
                "step": step + 1, "of": len(plan), "loss": value, "scored": int((plan[step].targets >= 0).sum()),
                "rate": rate(settings, step, len(plan)), "tokens_per_second": seen / (time.perf_counter() - start),
            }  # fmt: skip
            log.write(json.dumps(line) + "\n")
            log.flush()


def steps(
    model: PeftModel, plan: Sequence[Any], loss: Callable[[Any], torch.Tensor], settings: Settings, folder: Path,
    of: str, every: int,
) -> Iterator[tuple[int, float]]:  # fmt: skip
    """Take a step on the ``loss`` of each batch of ``plan``, and yield its number, from 0, and that loss.

    Goes on from the last checkpoint in ``folder``, made after ``every`` steps and the last. ``of`` stands for all that
    decides what the steps do.

    Raises:
        ValueError: the checkpoint is of another ``of``.
    """
    own = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(own, lr=settings.rate, betas=(0.9, 0.98), weight_decay=0.0)
    saved, done, of = folder / "checkpoint.pt", 0, hashlib.blake2b(of.encode()).hexdigest()
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        if state.get("of") != of:
            raise ValueError(f"{saved} is of other texts or settings; take another folder, or delete it")
        torch.set_rng_state(state["random"])
        set_peft_model_state_dict(model, state["adapter"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
    with tqdm(total=len(plan), initial=done, unit=" steps") as bar:
        for step in range(done, len(plan)):
            model.train()
            for group in optimizer.param_groups:
                group["lr"] = rate(settings, step, len(plan))
            value = loss(plan[step])
            value.backward()
            torch.nn.utils.clip_grad_norm_(own, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            bar.set_postfix(loss=f"{value.item():.3f}")
            bar.update()
            if (step + 1) % every == 0 or step + 1 == len(plan):
                state = {
                    "of": of,
                    "step": step + 1,
                    "adapter": get_peft_model_state_dict(model),
                    "optimizer": optimizer.state_dict(),
                    "random": torch.get_rng_state(),
                }
                torch.save(state, saved.with_suffix(".new"))
                saved.with_suffix(".new").replace(saved)
            yield step, value.item()


def rate(settings: Settings, step: int, steps: int) -> float:
    """The learning rate of a step: linear warm-up, then a cosine down to ``settings.end`` of the whole."""
    if step < settings.warmup:
        return settings.rate * (step + 1) / settings.warmup
    way = (step - settings.warmup) / max(1, steps - settings.warmup)
    return settings.rate * (settings.end + (1 - settings.end) * 0.5 * (1 + math.cos(math.pi * way)))

"""Train the embedded English-German translator, both directions in one network, on Multi30k's 29,000 caption pairs.

    python train.py MULTI30K_DIR OUT_DIR [--epochs 24] [--cooldown 6]

MULTI30K_DIR holds ``task1_train.en.gz``, ``task1_train.de.gz`` and the ``val`` pair, as published in
https://github.com/multi30k/dataset (data/task1/raw). One thread. Every ``--save-minutes`` the state goes to
``OUT_DIR/checkpoint.pt``; the same command resumes from it, and may name other ``--epochs``. ``OUT_DIR/weights.pt`` is
the running average of the weights, which is what ``export.py`` reads.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import time
from pathlib import Path

import sentencepiece as spm
import torch
from corpus import LANGUAGES, Pair, batches, epoch_pairs, read_lines, train_vocabulary
from model import Size, Translator


def tensors(batch: list[Pair]) -> tuple[torch.Tensor, torch.Tensor]:
    """Sources ``[B, S]`` and targets ``[B, T]``, targets padded with -100, which the loss leaves out."""
    longest = max(len(target) for _, target in batch)
    return (
        torch.tensor([source for source, _ in batch]),
        torch.tensor([target + [-100] * (longest - len(target)) for _, target in batch]),
    )


def loss_of(model: Translator, batch: list[Pair], smoothing: float) -> tuple[torch.Tensor, int]:
    """Cross-entropy per target token with label smoothing, and the number of target tokens.

    With log Z the log-sum-exp of the logits, it is log Z - (1 - s) * logit of the target - s * mean of the logits. The
    last two are products with single rows, so only log Z needs all the logits: half the cost of the library's loss.
    """
    sources, targets = tensors(batch)
    states = model(sources, targets.clamp(min=0))
    real = targets != -100
    states, wanted = states[real], targets[real]  # (N, D), (N,)
    table = model.shared.weight[:-1]  # (V, D)
    normaliser = torch.logsumexp(states @ table.T, dim=1)
    hit = (states * table[wanted]).sum(1)
    loss = normaliser - (1 - smoothing) * hit - smoothing * (states @ table.mean(0))
    return loss.mean(), len(wanted)


@torch.no_grad()
def validation_loss(model: Translator, pairs: list[Pair]) -> float:
    model.eval()
    total = count = 0.0
    for batch in batches(list(pairs), 4096, random.Random(0)):
        loss, tokens = loss_of(model, batch, 0.0)
        total, count = total + loss.item() * tokens, count + tokens
    model.train()
    return total / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pieces", type=int, default=4000, help="pieces of the shared vocabulary")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--feed-forward", type=int, default=384)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--encoder-layers", type=int, default=3)
    parser.add_argument("--decoder-layers", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.15)
    parser.add_argument("--epochs", type=float, default=12, help="passes over both directions, a fraction counts")
    parser.add_argument("--cooldown", type=float, default=4, help="the last epochs, in which the rate falls to zero")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--warmup", type=int, default=400)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--web-share", type=float, default=0.3, help="share of pairs in the web's style")
    parser.add_argument("--average", type=float, default=0.998, help="decay of the running average of the weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-minutes", type=float, default=4)
    parser.add_argument("--max-steps", type=int, default=0, help="stop here, to measure the speed")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)

    vocabulary = args.out / "sentencepiece.model"
    pieces = (
        spm.SentencePieceProcessor(model_file=str(vocabulary))
        if vocabulary.exists()
        else train_vocabulary(args.data, vocabulary, args.pieces)
    )
    size = Size(
        pieces.get_piece_size(), args.width, args.feed_forward, args.heads, args.encoder_layers, args.decoder_layers
    )
    model = Translator(size, args.dropout)
    average = {name: weight.clone() for name, weight in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.01)
    train = {language: read_lines(args.data, "train", language) for language in LANGUAGES}
    held_out = epoch_pairs({x: read_lines(args.data, "val", x) for x in LANGUAGES}, pieces, random.Random(0), 0.0)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters, {len(pieces)} pieces", flush=True)

    checkpoint = args.out / "checkpoint.pt"
    epoch = done = step = 0
    cpu_seconds = 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average, epoch, done, step = state["average"], state["epoch"], state["done"], state["step"]
        cpu_seconds = state["cpu_seconds"]
        print(f"resumed at epoch {epoch}, step {step}", flush=True)

    def save() -> None:
        spent = cpu_seconds + time.process_time() - started
        for path, state in (
            (checkpoint, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average,
                          "epoch": epoch, "done": done, "step": step, "cpu_seconds": spent}),
            (args.out / "weights.pt", average),
        ):  # fmt: skip
            torch.save(state, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").replace(path)
        record = {"size": dataclasses.asdict(size), "epoch": epoch, "step": step, "cpu_minutes": round(spent / 60, 1)}
        (args.out / "training.json").write_text(json.dumps(record, indent=1) + "\n")

    started, saved = time.process_time(), time.monotonic()
    while epoch < args.epochs:
        rng = random.Random(args.seed * 1000 + epoch)
        plan = list(batches(epoch_pairs(train, pieces, rng, args.web_share), args.batch_tokens, rng))
        clock, total, count = time.process_time(), 0.0, 0
        for position, batch in enumerate(plan[done:], start=done):
            progress = epoch + position / len(plan)
            if progress >= args.epochs:
                save()
                return
            rate = args.rate * min((step + 1) / args.warmup, (args.warmup / (step + 1)) ** 0.5)
            rate *= min(1.0, (args.epochs - progress) / max(args.cooldown, 1e-9))
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss, tokens = loss_of(model, batch, 0.1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step, done = step + 1, position + 1
            keep = min(args.average, step / (step + 10))
            with torch.no_grad():
                for name, weight in model.state_dict().items():
                    average[name].lerp_(weight, 1 - keep)
            total, count = total + loss.item() * tokens, count + tokens
            if step % 100 == 0:
                speed = count / (time.process_time() - clock)
                print(f"epoch {epoch} batch {done}/{len(plan)} step {step} loss {total / count:.3f} "
                      f"rate {rate:.1e} {speed:,.0f} target tokens a CPU second", flush=True)  # fmt: skip
            if args.max_steps and step >= args.max_steps:
                return
            if time.monotonic() - saved > args.save_minutes * 60:
                save()
                saved = time.monotonic()
        epoch, done = epoch + 1, 0
        save()
        averaged = Translator(size, args.dropout)
        averaged.load_state_dict(average)
        print(f"epoch {epoch} done: validation loss {validation_loss(averaged, held_out):.3f} (averaged weights), "
              f"{time.strftime('%H:%M:%S')}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

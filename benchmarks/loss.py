"""Time and peak memory of the multi-text loss, forward and backward, against open_clip's own loss in a loop.

Why it matters: the K matrices of logits, not the model, set the batch size that fits once texts are cheap to encode.

Three ways to the same value and gradients:

- naive: open_clip's ``ClipLoss`` on each of the K slices, averaged;
- batched: one product to ``[K, B, B]`` logits, then cross-entropy both ways;
- tiled: ``laclip_aug.training.loss.MultiTextLoss``.

Each runs in a process of its own on the same random features, so that peaks do not hide behind each other. On a CPU the
peak is the process's largest resident size less its size before the first step; on a GPU it is the allocator's.
Processes take turns for ``--rounds`` rounds and the fastest of each counts; with one thread on a CPU the time is the
process's own, so that other work on the machine counts little. The last line is one JSON document.

    python benchmarks/loss.py --batch 4096 --texts 5 --dim 512
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

WAYS = ("naive", "batched", "tiled")


def way(name: str, k: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The loss called ``name`` as a function of images ``[B, D]``, texts ``[B * k, D]`` and the logit scale."""
    from open_clip.loss import ClipLoss

    from laclip_aug.training.loss import MultiTextLoss

    single = ClipLoss()
    if name == "tiled":
        return MultiTextLoss(single)
    if name == "naive":
        return lambda images, texts, scale: (
            sum(single(images, texts.view(len(images), k, -1)[:, j], scale) for j in range(k)) / k
        )

    def batched(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
        logits = scale * images @ texts.view(len(images), k, -1).permute(1, 2, 0)  # [K, B, B]
        labels = torch.arange(len(images), device=images.device).expand(k, -1)
        return (F.cross_entropy(logits.transpose(1, 2), labels) + F.cross_entropy(logits, labels)) / 2

    return batched


def resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def peak_of(step: Callable[[], None], device: torch.device) -> int:
    """Bytes that ``step`` holds at its peak beyond what was held before."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() - before
    before, peak, done = resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    step()
    done.set()
    watcher.join()
    return max(peak, resident()) - before


def measure(name: str, args: argparse.Namespace, pipe: Connection) -> None:
    """Runs in a child: the peak, then the time, then value and gradient norms for a cross-check."""
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    generator = torch.Generator().manual_seed(0)
    images, texts = (
        F.normalize(torch.randn(rows, args.dim, generator=generator), dim=-1).to(device).requires_grad_()
        for rows in (args.batch, args.batch * args.texts)
    )
    scale = torch.tensor(100.0, device=device, requires_grad=True)
    loss = way(name, args.texts)
    warm = [x[:64].detach().requires_grad_() for x in (images, texts[: 64 * args.texts])]
    loss(warm[0], texts[: 64 * args.texts].detach().requires_grad_(), scale).backward()
    found: list[Tensor] = []

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=args.bf16):
            value = loss(images, texts, scale)
        found[:] = [value.detach(), *torch.autograd.grad(value, (images, texts, scale))]
        if device.type == "cuda":
            torch.cuda.synchronize()

    peak = peak_of(step, device)
    clock = time.process_time if device.type == "cpu" and args.threads == 1 else time.perf_counter
    started = clock()
    step()
    seconds = clock() - started
    pipe.send({"seconds": seconds, "peak_bytes": peak, "check": [float(x.norm()) for x in found]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--texts", type=int, default=5)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--bf16", action="store_true", help="run under bfloat16 autocast")
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--json", type=Path, help="also write the JSON document here")
    args = parser.parse_args()
    runs: dict[str, list[dict]] = {name: [] for name in args.ways}
    context = multiprocessing.get_context("spawn")
    for _ in range(args.rounds):
        for name in args.ways:
            receive, send = context.Pipe(duplex=False)
            child = context.Process(target=measure, args=(name, args, send))
            child.start()
            send.close()
            runs[name].append(receive.recv())
            child.join()
    base = args.ways[0]
    rows = {}
    for name, found in runs.items():
        seconds, peak = (min(run[key] for run in found) for key in ("seconds", "peak_bytes"))
        rows[name] = {"seconds": seconds, "peak_mb": peak / 2**20, "check": found[0]["check"]}
    print(f"| loss | seconds | against {base} | peak MB | against {base} |\n|---|---|---|---|---|")
    for name, row in rows.items():
        times, memory = row["seconds"] / rows[base]["seconds"], row["peak_mb"] / rows[base]["peak_mb"]
        print(f"| {name} | {row['seconds']:.2f} | {times:.2f} | {row['peak_mb']:.0f} | {memory:.2f} |")
    settings = {key: getattr(args, key) for key in ("batch", "texts", "dim", "device", "threads", "rounds", "bf16")}
    document = json.dumps({"settings": settings, "torch": torch.__version__, "cores": os.cpu_count(), "rows": rows})
    if args.json:
        args.json.write_text(document + "\n")
    print(document)


if __name__ == "__main__":
    main()

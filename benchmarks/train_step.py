"""Time of a whole training step: forward of image and text, loss, backward, optimizer, against open_clip as it is.

Why it matters: it is the price of training with text augmentation. Texts are encoded without their padding, so one
text per image costs less than open_clip's own step, and five texts per image not much more than it.

Compared in one process and in turns, each round on a new batch that all ways share, in an order that changes:

- plain: the caption at 77 tokens and open_clip's ``ClipLoss`` (the base of the ratios);
- plain, trimmed: the same with trimmed texts. The fair base for what augmentation itself costs;
- laclip: one text drawn from the caption and its rewrites, trimmed;
- laclip-mt: the caption and all rewrites, ``MultiTextLoss``, trimmed; and the same untrimmed.

The model is open_clip's real configuration with random weights, the optimizer AdamW as its trainer sets it up, the
images are noise (they take the time that any images take), and texts are drawn and tokenised before the clock starts:
that is the loader's work, see ``benchmarks/loader.py``. Ratios are medians over the rounds of time / time of plain in
the same round. With one thread on a CPU the time is the process's own, so that other work on the machine counts little.

Captions and rewrites as in ``benchmarks/text_tower.py``: files of real texts, since their lengths decide the result.
Human captions of MS-COCO (``annotations/captions_val2017.json`` on https://cocodataset.org, one line per image with a
list ``captions``) are about as long as LaCLIP's rewrites, CapsFusion's much longer. The last line is one JSON document.

    python benchmarks/train_step.py --captions coco_captions.jsonl --caption-key captions --model ViT-B-32 --batch 16
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import open_clip
import torch
from open_clip.loss import ClipLoss
from text_tower import mean_length, read_texts
from torch import Tensor

from laclip_aug.augmenter import Rewrite
from laclip_aug.training.loss import MultiTextLoss
from laclip_aug.training.sampling import TextSampler
from laclip_aug.training.trim import install_trimming, remove_trimming


class Rewrites:
    """The rewrites of each caption, in memory."""

    def __init__(self, captions: Sequence[str], rewrites: Sequence[str], each: int) -> None:
        self.sources = tuple(f"rewrite {j}" for j in range(each))
        self._texts = {caption: rewrites[i * each : (i + 1) * each] for i, caption in enumerate(captions)}

    def get(self, caption: str) -> tuple[Rewrite, ...]:
        return tuple(map(Rewrite, self.sources, self._texts[caption]))


class Trainer:
    """open_clip's training step, and a count of the tokens that the text tower has seen in it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.model = open_clip.create_model(args.model, device=args.device, output_dict=True).train()
        named = list(self.model.named_parameters())
        plain = [p for name, p in named if p.ndim < 2 or "bn" in name or "ln" in name or "bias" in name]
        chosen = {id(p) for p in plain}
        groups = [
            {"params": plain, "weight_decay": 0.0},
            {"params": [p for _, p in named if id(p) not in chosen], "weight_decay": 0.2},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=5e-4, betas=(0.9, 0.98), eps=1e-6)
        self.device = torch.device(args.device)
        self.bf16 = args.bf16
        own_clock = args.device == "cpu" and args.threads == 1
        self._clock = time.process_time if own_clock else time.perf_counter
        self.tokens = 0
        text = self.model.text if hasattr(self.model, "text") else self.model
        text.transformer.register_forward_pre_hook(self._count)

    def _count(self, _: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.tokens += inputs[0].shape[0] * inputs[0].shape[1]

    def step(self, images: Tensor, texts: Tensor, loss: Callable[..., dict[str, Tensor]], trim: bool) -> dict:
        """Seconds, text tokens and loss of one step."""
        if trim and not (report := install_trimming(self.model)).exact:
            raise SystemExit(f"the model cannot be trimmed: {report.reason}")
        self.tokens = 0
        self._wait()
        started = self._clock()
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            losses = loss(**self.model(images, texts), output_dict=True)
            total = sum(losses.values())
        total.backward()
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(100))
        self._wait()
        seconds = self._clock() - started
        remove_trimming(self.model)
        return {"seconds": seconds, "tokens": self.tokens, "loss": float(total.detach())}

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, required=True)
    parser.add_argument("--caption-key", default="caption")
    parser.add_argument("--rewrites", type=Path, help="the same file as --captions if left out")
    parser.add_argument("--rewrite-key", help="the same column as --caption-key if left out")
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--texts", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true", help="run under bfloat16 autocast")
    parser.add_argument("--json", type=Path, help="also write the JSON document here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    captions = read_texts(args.captions, args.caption_key)
    rewrites = read_texts(args.rewrites or args.captions, args.rewrite_key or args.caption_key)
    images_seen, others = args.batch * args.rounds, args.texts - 1
    captions, rewrites = list(dict.fromkeys(captions))[:images_seen], rewrites[-images_seen * others :]
    lookup = Rewrites(captions, rewrites, others)
    one, all_of_them = TextSampler(lookup), TextSampler(lookup, multi=True)
    tokenizer = open_clip.get_tokenizer(args.model)
    clip, multi = ClipLoss(), MultiTextLoss(ClipLoss())
    ways: dict[str, tuple[Callable[[str], Sequence[str]], torch.nn.Module, bool]] = {
        "plain": (lambda caption: [caption], clip, False),
        "plain, trimmed": (lambda caption: [caption], clip, True),
        "laclip": (lambda caption: one.texts(caption, 0), clip, True),
        f"laclip-mt, {args.texts} texts": (lambda caption: all_of_them.texts(caption, 0), multi, True),
        f"laclip-mt, {args.texts} texts, untrimmed": (lambda caption: all_of_them.texts(caption, 0), multi, False),
    }

    def tokens(texts_of: Callable[[str], Sequence[str]], batch: Sequence[str]) -> Tensor:
        return tokenizer([text for caption in batch for text in texts_of(caption)]).to(args.device)

    trainer = Trainer(args)
    side = trainer.model.visual.image_size
    shape = (3, *(side if isinstance(side, tuple) else (side, side)))
    few = captions[: args.batch if args.device == "cuda" else 2]
    for texts_of, loss, trim in ways.values():  # makes the optimizer's state, loads kernels
        trainer.step(torch.randn(len(few), *shape, device=args.device), tokens(texts_of, few), loss, trim)

    runs: dict[str, list[dict]] = {name: [] for name in ways}
    for number in range(args.rounds):
        batch = captions[number * args.batch : (number + 1) * args.batch]
        images = torch.randn(len(batch), *shape, device=args.device)
        order = list(ways)[number % len(ways) :] + list(ways)[: number % len(ways)]
        for name in order:
            texts_of, loss, trim = ways[name]
            runs[name].append(trainer.step(images, tokens(texts_of, batch), loss, trim))

    rows = {}
    bases = {name: [run["seconds"] for run in runs[name]] for name in ("plain", "plain, trimmed")}
    for name, found in runs.items():
        seconds = [run["seconds"] for run in found]
        ratios = {base: [s / b for s, b in zip(seconds, bases[base], strict=True)] for base in bases}
        rows[name] = {
            "seconds": statistics.median(seconds),
            "images_per_second": args.batch / statistics.median(seconds),
            "tokens": round(statistics.mean(run["tokens"] for run in found)),
            "against_plain": statistics.median(ratios["plain"]),
            "against_plain_trimmed": statistics.median(ratios["plain, trimmed"]),
            "all_against_plain": [round(ratio, 3) for ratio in ratios["plain"]],
        }
    print(
        f"| {args.model} | seconds | images/s | text tokens | against plain | least to most | against plain, trimmed |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        spread = f"{min(row['all_against_plain']):.2f} to {max(row['all_against_plain']):.2f}"
        numbers = f"{row['seconds']:.2f} | {row['images_per_second']:.2f} | {row['tokens']}"
        print(f"| {name} | {numbers} | {row['against_plain']:.2f} | {spread} | {row['against_plain_trimmed']:.2f} |")
    keys = ("model", "batch", "texts", "rounds", "threads", "device", "bf16")
    settings = {key: getattr(args, key) for key in keys}
    settings |= {"captions": args.captions.name, "rewrites": (args.rewrites or args.captions).name}
    lengths = {name: tokens(ways[name][0], captions) for name in ("plain", "laclip", f"laclip-mt, {args.texts} texts")}
    settings["mean_length"] = {name: mean_length(text) for name, text in lengths.items()}
    document = json.dumps({"settings": settings, "torch": torch.__version__, "cores": os.cpu_count(), "rows": rows})
    if args.json:
        args.json.write_text(document + "\n")
    print(document)


if __name__ == "__main__":
    main()

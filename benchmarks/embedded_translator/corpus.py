"""Multi30k as training pairs in both directions, and the SentencePiece model over both languages."""

from __future__ import annotations

import gzip
import io
import random
from collections.abc import Iterator
from pathlib import Path

import sentencepiece as spm

LANGUAGES = ("en", "de")
END, UNKNOWN = 0, 1  # Marian's order: "</s>", "<unk>"


def language_token(language: str) -> str:
    """``">>de<<"``: the first source piece, which names the language to translate into, as in OPUS-MT."""
    return f">>{language}<<"


def read_lines(folder: Path, split: str, language: str) -> list[str]:
    """The captions of ``task1_{split}.{language}.gz``, one a line."""
    with gzip.open(folder / f"task1_{split}.{language}.gz", "rt", encoding="utf-8", newline="\n") as file:
        return [line.strip() for line in file]


def web_style(text: str, source: bool) -> str:
    """The same caption as the web writes it: no full stop, a small first letter; a source has its commas spaced.

    Alt-texts come in this form, and a model that only saw full sentences adds capitals and full stops to them.
    """
    text = text.rstrip(" .")
    text = text[:1].lower() + text[1:]
    return text.replace(",", " ,") if source else text


def train_vocabulary(folder: Path, out: Path, pieces: int) -> spm.SentencePieceProcessor:
    """Write ``sentencepiece.model`` trained on both sides in both styles; unknown characters fall back to bytes."""
    texts = [line for language in LANGUAGES for line in read_lines(folder, "train", language)]
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(texts + [web_style(text, True) for text in texts[::3]]),
        model_writer=model,
        vocab_size=pieces,
        model_type="unigram",
        byte_fallback=True,
        character_coverage=1.0,
        eos_id=END,
        unk_id=UNKNOWN,
        bos_id=-1,
        pad_id=-1,
        control_symbols=[language_token(language) for language in LANGUAGES],
        num_threads=1,
        minloglevel=2,
    )
    out.write_bytes(model.getvalue())
    return spm.SentencePieceProcessor(model_proto=model.getvalue())


Pair = tuple[list[int], list[int]]


def epoch_pairs(
    texts: dict[str, list[str]], pieces: spm.SentencePieceProcessor, rng: random.Random, web_share: float
) -> list[Pair]:
    """Every caption pair once in each direction, as ids; a share of ``web_share`` in the web's style."""
    sources: list[str] = []
    targets: list[str] = []
    heads: list[int] = []
    for source, target in (LANGUAGES, LANGUAGES[::-1]):
        for a, b in zip(texts[source], texts[target], strict=True):
            web = rng.random() < web_share
            sources.append(web_style(a, True) if web else a)
            targets.append(web_style(b, False) if web else b)
            heads.append(pieces.piece_to_id(language_token(target)))
    encoded = zip(heads, pieces.encode(sources), pieces.encode(targets), strict=True)
    return [([head, *a, END], [*b, END]) for head, a, b in encoded if len(a) < 100 and len(b) < 100]


def batches(pairs: list[Pair], tokens: int, rng: random.Random) -> Iterator[list[Pair]]:
    """Shuffled batches of about ``tokens`` target tokens, all sources of one batch equally long."""
    rng.shuffle(pairs)
    pairs.sort(key=lambda pair: (len(pair[0]), len(pair[1]) // 2))  # stable: random within a group
    out: list[list[Pair]] = []
    batch: list[Pair] = []
    for pair in pairs:
        if batch and (
            len(pair[0]) != len(batch[0][0]) or (len(batch) + 1) * max(len(pair[1]), len(batch[0][1])) > tokens
        ):
            out.append(batch)
            batch = []
        batch.append(pair)
    out.append(batch)
    rng.shuffle(out)
    yield from out

"""The SentencePiece vocabulary: byte-pair pieces with byte fallback, and one control token per strategy.

BPE, because llama.cpp's SPM tokenizer merges by score just so; no normalisation and no dummy prefix, because
llama.cpp does neither in the way SentencePiece does. Texts are therefore always encoded with a leading space.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import sentencepiece

STRATEGIES = ("chatgpt", "bard", "mscoco", "human")
UNK, BOS, EOS = 0, 1, 2


def control(strategy: str) -> str:
    """The control token that asks for a strategy: ``"<|mscoco|>"``."""
    return f"<|{strategy}|>"


def train(texts: Iterable[str], prefix: Path, size: int = 4000) -> Path:
    """Train on ``texts`` and write ``prefix.model``; returns its path."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(" " + text for text in texts),
        model_prefix=str(prefix),
        vocab_size=size,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.9999,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_digits=True,
        control_symbols=[control(s) for s in STRATEGIES],
        unk_id=UNK,
        bos_id=BOS,
        eos_id=EOS,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return prefix.with_suffix(".model")


class Tokenizer:
    """Captions to ids and back: ``encode`` puts the leading space, ``decode`` takes it off."""

    def __init__(self, path: Path) -> None:
        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.size: int = self.processor.vocab_size()
        self.strategies = {s: int(self.processor.piece_to_id(control(s))) for s in STRATEGIES}

    def encode(self, text: str) -> list[int]:
        return list(self.processor.encode(" " + text))

    def decode(self, ids: list[int]) -> str:
        return str(self.processor.decode(ids)).strip()

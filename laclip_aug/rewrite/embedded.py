"""The rewriter that ships with the package: a small GGUF model, trained to rewrite captions.

It takes no in-context examples. A control token after the caption names the strategy, and one token before it starts
the text: ``<s> caption <|mscoco|>``. The model card beside the weights tells what it was trained on, its terms, its
figures and what it is bad at. It runs in the same engine as any other model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laclip_aug.errors import ModelError
from laclip_aug.generation.models import file_sha256
from laclip_aug.rewrite.prompt import ConditionedPrompt

WEIGHTS = Path(__file__).parent / "weights"
FILE = "laclip-rewriter.gguf"
SHA256 = "8d36fabd976cae3f6a3573ed94966ab001e4fca5a82465e5c598b59e2365434b"
DEFAULTS: Mapping[str, Any] = {
    "temperature": 1.0, "top_p": 0.95, "max_new_tokens": 64, "candidates": 4, "max_attempts": 5,
    "gate": "truth>=0.5", "good_score": 1.95, "n_ctx": 192, "n_slots": 64,
}  # fmt: skip
STRATEGIES = ("chatgpt", "bard", "mscoco", "human")


@dataclass(frozen=True)
class EmbeddedModel:
    """The shipped model with what goes with it.

    ``layout`` makes its prompts; ``defaults`` are the options of ``LLMAugmenter`` at which the model card's figures
    were measured.
    """

    path: Path
    sha256: str
    layout: ConditionedPrompt
    defaults: Mapping[str, Any]


def layout() -> ConditionedPrompt:
    """``<s> caption <|strategy|>``; the space before the caption makes its first word a piece like any other."""
    tails: Mapping[str, str] = {strategy: f"<|{strategy}|>" for strategy in STRATEGIES}
    return ConditionedPrompt(dict.fromkeys(STRATEGIES, "<s>"), tails, lead=" ")


def find(folder: Path = WEIGHTS, sha256: str = SHA256) -> EmbeddedModel:
    """The shipped model, its file checked against the SHA-256 that this version was released with.

    Raises:
        ModelError: the file is missing, or is not the one that was released.
    """
    path = folder / FILE
    if not path.is_file():
        raise ModelError(f"the embedded model {FILE} is missing; install laclip-aug again, or name a model of your own")
    found = file_sha256(path)
    if found != sha256:
        raise ModelError(
            f"the embedded model {FILE} is damaged: its sha256 is {found}, that of the release {sha256}; "
            "install laclip-aug again"
        )
    return EmbeddedModel(path, found, layout(), DEFAULTS)

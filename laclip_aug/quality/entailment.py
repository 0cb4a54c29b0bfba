"""Entailment by a natural-language-inference model that the user names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from laclip_aug.errors import ConfigurationError, MissingExtraError, ModelError
from laclip_aug.quality.models import model_folder
from laclip_aug.quality.signals import Signal, TextPair

_BATCH = 32


class Entails(Signal):
    """Probability that the caption entails the text, 0 to 1, by an NLI model: entails(hf:REPO)."""

    def __init__(self, model: str = "") -> None:
        try:
            import torch
            from transformers import AutoModelForSequenceClassification, AutoTokenizer
        except ImportError as error:
            raise MissingExtraError("quality", "transformers") from error
        folder = model_folder(model)
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
            self._model: Any = AutoModelForSequenceClassification.from_pretrained(str(folder)).eval()
        except (OSError, ValueError) as error:
            raise ModelError(f"{model} is no classifier of text pairs that can be read ({error})") from error
        labels = {str(label).lower(): int(number) for number, label in self._model.config.id2label.items()}
        if "entailment" not in labels:
            raise ConfigurationError(
                f"{model} has the labels {', '.join(labels)}, none of them entailment; name an NLI model"
            )
        self._label, self._torch = labels["entailment"], torch

    def measure(self, pairs: Sequence[TextPair]) -> list[float]:
        """The probability for each pair; long texts are cut at the model's limit."""
        premises, hypotheses = self.sides(pairs)
        found: list[float] = []
        with self._torch.inference_mode():
            for at in range(0, len(pairs), _BATCH):
                batch = self._tokenizer(
                    premises[at : at + _BATCH],
                    hypotheses[at : at + _BATCH],
                    padding=True,
                    truncation=True,
                    max_length=min(self._tokenizer.model_max_length, self._model.config.max_position_embeddings),
                    return_tensors="pt",
                )
                found += self._model(**batch).logits.softmax(-1)[:, self._label].tolist()
        return found

    def sides(self, pairs: Sequence[TextPair]) -> tuple[list[str], list[str]]:
        """Premises and hypotheses."""
        return [pair.caption for pair in pairs], [pair.text for pair in pairs]


class EntailedBy(Entails):
    """Probability that the text entails the caption, 0 to 1: low where something was left out."""

    def sides(self, pairs: Sequence[TextPair]) -> tuple[list[str], list[str]]:
        """Premises and hypotheses."""
        return [pair.text for pair in pairs], [pair.caption for pair in pairs]

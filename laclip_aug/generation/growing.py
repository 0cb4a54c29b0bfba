"""The text of one completion as it grows, token by token, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from laclip_aug.generation.backend import Completion, Job, Sampling, told
from laclip_aug.generation.sampling import draw


class Speller(Protocol):
    """The part of a vocabulary that turns tokens into text."""

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; none for a control token."""

    def ends(self, token: int) -> bool:
        """Whether the token ends a text."""


@dataclass(slots=True)
class GrowingText:
    """The text of one completion as it grows, the same for every backend in this process."""

    job: Job
    sampling: Sampling
    speller: Speller
    count: int = 0
    data: bytearray = field(default_factory=bytearray)
    log_probability: float = 0.0

    def choose(self, logits: npt.NDArray[np.float32]) -> int | None:
        """The next token, None if the logits allow none."""
        drawn = draw(logits, self.sampling, self.job.seed, self.count)
        if drawn is None:
            return None
        self.log_probability += drawn.log_probability
        return drawn.token

    def add(self, token: int) -> Completion | None:
        """Take a token in; the completion if that ends it."""
        self.count += 1
        if self.speller.ends(token):
            return self._done("stop")
        piece = self.speller.piece(token)
        self.data += piece
        if (b"\n" in piece or b"\r" in piece) and told(self.job, self._text())[1]:
            return self._done("stop")
        return self._done("length") if self.count >= self.sampling.max_new_tokens else None

    def refused(self, why: str) -> Completion:
        """The completion of a job that can never be run."""
        return Completion(self.job, why, "error", self.count)

    def failed(self, why: str) -> Completion:
        """The completion of a job that the model, not the prompt, brought to nothing."""
        return Completion(self.job, why, "failed", self.count)

    def _text(self) -> str:
        return self.data.decode("utf-8", "replace")

    def _done(self, finish: str) -> Completion:
        text, mean = told(self.job, self._text())[0], self.log_probability / self.count
        return Completion(self.job, text, "stop" if finish == "stop" else "length", self.count, mean)

"""The text of one completion as it grows, token by token, and how it ends."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from laclip_aug.generation.backend import Completion, Draws, Job, Sampling, told
from laclip_aug.generation.sampling import draw


class Speller(Protocol):
    """The part of a vocabulary that turns tokens into text."""

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; none for a control token."""

    def ends(self, token: int) -> bool:
        """Whether the token ends a text."""

    def word(self, text: str) -> int:
        """The token that ``text`` is, alone."""


@dataclass(slots=True)
class GrowingText:
    """The text of one completion as it grows, the same for every backend in this process.

    Known texts K are left out exactly: the others are as likely as before, among themselves, if each next token t is
    drawn with p(t) (1 - Σ r). The sum is over those of K that begin with what was drawn and t, r is the probability of
    the rest of such a text, Πpᵢ over its tokens; so 1 - Σ r is what t leads to without them.
    """

    job: Job
    sampling: Sampling
    speller: Speller
    count: int = 0
    data: bytearray = field(default_factory=bytearray)
    log_probability: float = 0.0
    log_odds: float | None = None
    drawn: list[tuple[int, float]] = field(default_factory=list)
    _known: list[Draws] = field(init=False)

    def __post_init__(self) -> None:
        self._known = list({tuple(token for token, _ in draws): draws for draws in self.job.known}.values())

    def choose(self, logits: npt.NDArray[np.float32]) -> int | None:
        """The next token, None if the logits allow none."""
        drawn = draw(logits, self.sampling, self.job.seed, self.count, self._thinned() if self._known else None)
        if drawn is None:
            return None
        self._known = [draws for draws in self._known if self._next(draws) == drawn.token]
        self.drawn.append((drawn.token, drawn.probability))
        self.log_probability += drawn.log_probability
        if self.job.verdict_words is not None:  # of the text so far; it counts where the text ends
            yes, no = map(self.speller.word, self.job.verdict_words)
            self.log_odds = float(logits[yes]) - float(logits[no])
        return drawn.token

    def _next(self, draws: Draws) -> int | None:
        return draws[self.count][0] if self.count < len(draws) else None

    def _thinned(self) -> dict[int, float]:
        """What known texts that begin like this one leave of the next tokens, by token."""
        left: dict[int, float] = {}
        for draws in self._known:
            if (token := self._next(draws)) is not None:
                rest = math.prod(probability for _, probability in draws[self.count + 1 :])
                left[token] = max(0.0, left.get(token, 1.0) - rest)
        return left

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
        if finish == "length":
            return Completion(self.job, text, "length", self.count, mean, drawn=tuple(self.drawn))
        verdict = None if self.log_odds is None else 1 / (1 + math.exp(-max(-60.0, self.log_odds)))
        return Completion(self.job, text, "stop", self.count, mean, verdict, tuple(self.drawn))

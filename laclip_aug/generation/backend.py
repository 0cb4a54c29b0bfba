"""The seam between prompts and whatever completes them: llama.cpp in this process, or a server over HTTP."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a completion is drawn: temperature first, then top-p, no top-k, as in the released code of LaCLIP.

    ``temperature`` 0 is greedy. ``max_new_tokens`` is a limit in the model's own tokens.
    """

    temperature: float = 0.9
    top_p: float = 0.95
    max_new_tokens: int = 77


Draws = tuple[tuple[int, float], ...]
"""The tokens of a completion, its end included, each with the probability that it had of being drawn."""


@dataclass(frozen=True, slots=True)
class Job:
    """One completion to make.

    The model reads ``prefix + lead + body + tail``. ``prefix`` is shared by many jobs and is evaluated once;
    jobs of one prefix should follow each other. ``body`` is foreign text, such as a caption: it is never parsed for
    special tokens, and it alone is shortened when the prompt would not fit. ``chat`` makes the backend wrap it as
    the user's message of the model's chat template; with ``special`` the other three parts may hold special tokens.
    With ``shares_body`` the body is evaluated once for all its jobs, which should follow each other; that pays
    where prefixes are short and the tail begins with a special token.
    ``verdict_words`` are two words, each one token, that a model learned to say its verdict of a text with: how much
    likelier it finds the first than the second where the text ends is told with the completion, and neither is said.
    Only the engines in this process heed them.
    ``known`` are completions of the same prompt that were drawn before: they are not drawn again, and the others are as
    likely, among themselves, as they are without it. Only the engines in this process heed it, too.
    ``seed`` keys the draws; ``tag`` comes back untouched.
    """

    prefix: str
    lead: str
    body: str
    tail: str
    seed: int
    tag: Hashable = None
    chat: bool = False
    special: bool = False
    shares_body: bool = False
    verdict_words: tuple[str, str] | None = None
    known: tuple[Draws, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """What became of a job.

    ``text`` is the first line that has a visible character, without the white space around it (:func:`first_line`);
    for a chat job it is all that the model said, wrappers and thoughts included.
    ``finish`` is ``"stop"`` (line or text ended by the model), ``"length"`` (cut at the token limit), ``"error"`` (the
    prompt could not be run and never will be) or ``"failed"`` (it was not run this time, as where a server did not
    answer or memory was short; a later run may ask again). With the last two ``text`` says why, and other jobs go on.
    ``tokens`` counts the tokens generated.
    ``log_likelihood`` is the mean log-probability of those tokens under the model, in nats, whatever the temperature
    was; 0 where the backend does not tell it.
    ``verdict`` is the probability of the job's first word of verdict against the second, 0 to 1; None where it is not
    known: no words were given, the backend does not tell it, or the text was cut.
    ``drawn`` is how it was drawn, to be told in the ``known`` of a later job; empty where the backend does not tell it.
    """

    job: Job
    text: str
    finish: Literal["stop", "length", "error", "failed"]
    tokens: int
    log_likelihood: float = field(default=0.0, compare=False)
    verdict: float | None = field(default=None, compare=False)
    drawn: Draws = field(default=(), compare=False)


def first_line(text: str) -> tuple[str, bool]:
    """The first line of ``text`` that is not blank, stripped; and whether a line break ends it.

    ``"\\n a dog \\nmore"`` -> ``("a dog", True)``, ``" a dog"`` -> ``("a dog", False)``. ``\\r`` breaks lines too.
    """
    line, line_break, _ = text.lstrip().replace("\r", "\n").partition("\n")
    return line.rstrip(), bool(line_break)


def told(job: Job, text: str) -> tuple[str, bool]:
    """What of ``text`` is the completion of ``job``, and whether it had ended before ``text`` does."""
    return (text.strip(), False) if job.chat else first_line(text)


class Backend(Protocol):
    """Completes jobs; the draws of a job depend on its ``seed`` and prompt, not on its neighbours."""

    def complete(self, jobs: Iterable[Job]) -> Iterator[Completion]:
        """One completion per job, in any order; ``jobs`` is read lazily, so slots refill without a pause."""

    def describe(self) -> dict[str, Any]:
        """What can change what a text says, such as the model file's sha256. JSON types, no secrets."""

    def provenance(self) -> dict[str, Any]:
        """What else a record of a run holds: engine, versions, mode, address. JSON types, no secrets."""

    def close(self) -> None:
        """Free the model."""

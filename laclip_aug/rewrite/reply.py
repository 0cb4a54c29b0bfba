"""From a completion to a rewrite, or to a named rejection.

:mod:`laclip_aug.rewrite.reading` finds the text in a completion. It is then checked: by the checks of
``laclip_aug.quality.checks``, which need the two texts only, and by those of this module, which know what a prompt is.
``CHECKS`` names them in the order in which they are asked, so that the first reason that applies is the one counted.
Which checks are on is data: ``Acceptance(allow=("cut",))`` keeps what the token limit cut off.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from laclip_aug.errors import ConfigurationError, UnknownNameError
from laclip_aug.generation.backend import Completion
from laclip_aug.quality.checks import TEXT_CHECKS, TEXT_REASONS, Candidate, folded
from laclip_aug.quality.context import CLIP, TextContext
from laclip_aug.rewrite.about import speaks, unrelated
from laclip_aug.rewrite.examples import Pair
from laclip_aug.rewrite.prompt import CHAT_INSTRUCTION, INSTRUCTION
from laclip_aug.rewrite.reading import read

REASONS: dict[str, str] = {
    "source-empty": "the caption itself has no letter or digit, so no completion was asked for",
    "error": "the engine could not run the prompt",
    "prompt-leaked": "the delimiter =>, the instruction or a special token came back",
    "cut": "the token limit ended it in mid-sentence",
    "example-copied": "an in-context example again",
    "wrapped": "braces, tags or other marks of a format, which the caption does not have",
    **TEXT_REASONS,
    "spoken": "it speaks to the user: a question, an offer or an excuse",
    "unrelated": "it has no content word of the caption",
    "repeated": "the same text for captions of different content, little of which it has",
}
"""Every reason for a rejection but for those of the gate, which are the names of its signals. The names are stable."""

ALWAYS_ON = ("source-empty", "error", "empty")

_LEAKED = re.compile(r"=>|<\|[^<>]*\|>|</?s>|\[/?INST\]|\b(?:caption|rewrite):", re.IGNORECASE)
_WRAPPED = re.compile(r"[{}]|</?\w[^<>]*>|\[[^\[\]]*\]|\\[a-zA-Z]+|```|\*\*|◁|｜")
_INSTRUCTIONS = (folded(INSTRUCTION), folded(CHAT_INSTRUCTION)[:40])


@dataclass(frozen=True)
class Reply(Candidate):
    """A text read out of a completion. ``caption`` is as the prompt showed it, ``examples`` are that prompt's pairs."""

    finish: str = "stop"
    examples: Sequence[Pair] = ()


def _prompt_leaked(draft: Reply) -> bool:
    return _foreign(_LEAKED, draft) or any(part in folded(draft.text) for part in _INSTRUCTIONS)


def _foreign(marks: re.Pattern[str], draft: Reply) -> bool:
    """Whether the text has one of ``marks`` that its caption has not."""
    return any(found[0] not in draft.caption for found in marks.finditer(draft.text))


def _example_copied(draft: Reply) -> bool:
    """Equal to an example's side, or one of the two holds the other whole (four words at least)."""
    text = folded(draft.text)
    for pair in draft.examples:
        for side in (folded(pair.rewrite), folded(pair.caption)):
            short, long = sorted((text, side), key=len)
            if text == side or (short.count(" ") >= 3 and f" {short} " in f" {long} "):
                return True
    return False


_ATTRIBUTES = ("number-changed", "number-lost", "colour-added", "colour-lost", "negation-added", "negation-lost")

CHECKS: dict[str, Callable[[Reply], bool]] = {
    "error": lambda draft: draft.finish == "error",
    "empty": TEXT_CHECKS["empty"],
    "prompt-leaked": _prompt_leaked,
    "cut": lambda draft: draft.finish == "length",
    "unprintable": TEXT_CHECKS["unprintable"],
    "wrapped": lambda draft: _foreign(_WRAPPED, draft),
    "too-short": TEXT_CHECKS["too-short"],
    "repetition": TEXT_CHECKS["repetition"],
    "example-copied": _example_copied,
    **{reason: check for reason, check in TEXT_CHECKS.items() if reason not in _ATTRIBUTES},
    "spoken": lambda draft: speaks(draft.caption, draft.text),
    "unrelated": lambda draft: unrelated(draft.caption, draft.text),
    **{reason: TEXT_CHECKS[reason] for reason in _ATTRIBUTES},
}
"""Reason → check, in the order in which they are asked."""


class Acceptance:
    """The checks that are on. ``allow`` names reasons not to reject for; ``context`` bounds the length of texts.

    Raises:
        UnknownNameError: ``allow`` names no reason; suggests the nearest.
        ConfigurationError: it names a reason that leaves no text to accept.
    """

    def __init__(self, allow: Collection[str] = (), context: TextContext = CLIP) -> None:
        for reason in allow:
            if reason not in REASONS:
                raise UnknownNameError("rejection reason", reason, REASONS)
            if reason in ALWAYS_ON:
                raise ConfigurationError(f"{reason!r} cannot be allowed: it leaves no text; take it out of allow")
        self._allowed, self._context = frozenset(allow), context
        self._checks = {reason: check for reason, check in CHECKS.items() if reason not in allow}

    def reason(self, draft: Reply) -> str | None:
        """Why ``draft`` is rejected, or None if it is a rewrite."""
        return next((reason for reason, check in self._checks.items() if check(draft)), None)

    def judge(
        self, completion: Completion, examples: Sequence[Pair] = (), others: Collection[str] = ()
    ) -> tuple[str, str | None]:
        """The text read out of ``completion`` and why it is rejected, None if it is accepted."""
        caption, text, finish = completion.job.body, completion.text, completion.finish
        if finish != "error":
            text, last = read(text, caption)
            if finish == "length" and text and not last:
                finish = "stop"  # what the limit cut off is another line
        return text, self.reason(Reply(caption, text, others, self._context, finish, examples))

    def allows(self, reason: str) -> bool:
        """Whether texts are kept that ``reason`` would reject."""
        return reason in self._allowed

    def describe(self) -> dict[str, Any]:
        """The checks that are on, for a manifest."""
        return {"checks": [*self._checks, *([] if self.allows("repeated") else ["repeated"])]}

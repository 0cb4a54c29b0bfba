"""From a completion to a rewrite, or to a named rejection.

A completion is cleaned (quotes, list marks and lead-ins such as ``Caption:`` go) and then checked: by the checks of
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
from laclip_aug.quality.wording import faithfulness
from laclip_aug.rewrite.examples import Pair
from laclip_aug.rewrite.prompt import CHAT_INSTRUCTION, INSTRUCTION

REASONS: dict[str, str] = {
    "source-empty": "the caption itself has no letter or digit, so no completion was asked for",
    "error": "the engine could not run the prompt",
    "prompt-leaked": "the delimiter =>, the instruction or a special token came back",
    "cut": "the token limit ended it in mid-sentence",
    "example-copied": "an in-context example again",
    **TEXT_REASONS,
    "drifted": "it leaves out or adds more than least_faithfulness allows",
}
"""Every reason for a rejection, with its meaning. The names are stable."""

ALWAYS_ON = ("source-empty", "error", "empty")

_LEAD_IN = re.compile(
    r"(?:[-*•·–—>#]+|\(?\d{1,2}[.)])\s+"
    r"|(?:(?:new|image|rewritten|my) )?(?:caption|rewrite|rewritten|output|answer)\s*:\s*",
    re.IGNORECASE,
)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "「": "」", "`": "`", "*": "*", "**": "**"}
_LEAKED = re.compile(
    r"=>|<\|[^<>]*\|>|</?s>|<think>|\[/?INST\]|\b(?:caption|rewrite):|\bas an ai\b"
    r"|^(?:sure|certainly|of course)\b.{0,40}[:!]|^here(?:'s| is| are)\b.{0,60}:",
    re.IGNORECASE,
)
_INSTRUCTIONS = (folded(INSTRUCTION), folded(CHAT_INSTRUCTION)[:40])


@dataclass(frozen=True)
class Reply(Candidate):
    """A cleaned completion. ``caption`` is as the prompt showed it, ``examples`` are the pairs of that prompt."""

    finish: str = "stop"
    examples: Sequence[Pair] = ()


def clean(text: str) -> str:
    """``text`` without what a model puts around a caption: list marks, ``Caption:`` lead-ins, quotes, stray marks.

    >>> clean('1. Caption: "A dog runs."')
    'A dog runs.'
    """
    text = " ".join(text.split())
    for _ in range(4):  # each may hide another: - "1. ..."
        before = text
        text = text.lstrip(" ,.;:!?")
        text = text[lead_in.end() :].strip() if (lead_in := _LEAD_IN.match(text)) else text
        for mark, closing in _QUOTES.items():
            inner = text[len(mark) : -len(closing)]
            if len(text) > 2 * len(mark) and text.startswith(mark) and text.endswith(closing) and mark not in inner:
                text = inner.strip()
        if text == before:
            break
    return text


def _prompt_leaked(draft: Reply) -> bool:
    return bool(_LEAKED.search(draft.text)) or any(part in folded(draft.text) for part in _INSTRUCTIONS)


def _example_copied(draft: Reply) -> bool:
    """Equal to an example's side, or one of the two holds the other whole (four words at least)."""
    text = folded(draft.text)
    for pair in draft.examples:
        for side in (folded(pair.rewrite), folded(pair.caption)):
            short, long = sorted((text, side), key=len)
            if text == side or (short.count(" ") >= 3 and f" {short} " in f" {long} "):
                return True
    return False


CHECKS: dict[str, Callable[[Reply], bool]] = {
    "error": lambda draft: draft.finish == "error",
    "empty": TEXT_CHECKS["empty"],
    "prompt-leaked": _prompt_leaked,
    "cut": lambda draft: draft.finish == "length",
    "unprintable": TEXT_CHECKS["unprintable"],
    "too-short": TEXT_CHECKS["too-short"],
    "repetition": TEXT_CHECKS["repetition"],
    "example-copied": _example_copied,
    **TEXT_CHECKS,
}
"""Reason → check, in the order in which they are asked."""


class Acceptance:
    """The checks that are on. ``allow`` names reasons not to reject for.

    With ``least_faithfulness`` a text below it is rejected as ``drifted``; see
    :func:`laclip_aug.quality.wording.faithfulness`.

    Raises:
        UnknownNameError: ``allow`` names no reason; suggests the nearest.
        ConfigurationError: it names a reason that leaves no text to accept.
    """

    def __init__(self, allow: Collection[str] = (), least_faithfulness: float | None = None) -> None:
        for reason in allow:
            if reason not in REASONS:
                raise UnknownNameError("rejection reason", reason, REASONS)
            if reason in ALWAYS_ON:
                raise ConfigurationError(f"{reason!r} cannot be allowed: it leaves no text; take it out of allow")
        self._checks = {reason: check for reason, check in CHECKS.items() if reason not in allow}
        self.least_faithfulness = None if "drifted" in allow else least_faithfulness
        if (least := self.least_faithfulness) is not None:
            self._checks["drifted"] = lambda draft: faithfulness(draft.caption, draft.text) < least

    def reason(self, draft: Reply) -> str | None:
        """Why ``draft`` is rejected, or None if it is a rewrite."""
        return next((reason for reason, check in self._checks.items() if check(draft)), None)

    def judge(
        self, completion: Completion, examples: Sequence[Pair] = (), others: Collection[str] = ()
    ) -> tuple[str, str | None]:
        """The cleaned text of ``completion`` and why it is rejected, None if it is accepted."""
        text = completion.text if completion.finish == "error" else clean(completion.text)
        return text, self.reason(Reply(completion.job.body, text, others, completion.finish, examples))

    def describe(self) -> dict[str, Any]:
        """The checks that are on, for a manifest."""
        return {"checks": list(self._checks), "least_faithfulness": self.least_faithfulness}

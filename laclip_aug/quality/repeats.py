"""The same text for captions that have little in common: a refusal or a stock phrase that shares a word by accident.

No list of refusals is needed: a text that says at most a third of its caption's content is held back, with its outcome,
until the run ends or the text turns up for a third caption of other content. Then it is rejected as ``repeated``
everywhere, so that the order of the captions does not matter. Outcomes held back by a killed run are asked for again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from laclip_aug.augmenter import Outcome, Rejection
from laclip_aug.quality.checks import folded
from laclip_aug.quality.content import content, share_kept

LITTLE = 1 / 3
MANY = 3
MOST_HELD = 20_000
"""Outcomes held back at a time; beyond it the oldest is let go as it is, which bounds the memory to some 20 MB."""


def without_repeats(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """``outcomes``, some of them later, with repeated texts rejected."""
    held: OrderedDict[str, Outcome] = OrderedDict()
    users: dict[str, dict[frozenset[str], None]] = {}  # of a suspect text, the contents of its captions
    for outcome in outcomes:
        suspects = [folded(rewrite.text) for rewrite in outcome.rewrites if _little(outcome.caption, rewrite.text)]
        if not suspects:
            yield outcome
            continue
        for text in suspects:
            of = users.setdefault(text, {})
            if len(of) < MANY:
                of[content(outcome.caption)] = None
        held[outcome.caption] = outcome
        if len(held) > MOST_HELD:
            yield _judged(held.popitem(last=False)[1], users)
    for outcome in held.values():
        yield _judged(outcome, users)


def _little(caption: str, text: str) -> bool:
    return share_kept(caption, text) <= LITTLE


def _judged(outcome: Outcome, users: dict[str, dict[frozenset[str], None]]) -> Outcome:
    repeated = [
        rewrite
        for rewrite in outcome.rewrites
        if len(users.get(folded(rewrite.text), ())) >= MANY and _little(outcome.caption, rewrite.text)
    ]
    return replace(
        outcome,
        rewrites=tuple(rewrite for rewrite in outcome.rewrites if rewrite not in repeated),
        rejections=(*outcome.rejections, *(Rejection(r.source, "repeated", r.text, told=r.told) for r in repeated)),
    )

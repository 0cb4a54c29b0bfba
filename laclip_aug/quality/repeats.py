"""The same text for captions that have little in common: a refusal or a stock phrase that shares a word by accident.

No list of refusals is needed: a text that says at most a third of its caption's content is held back, with its outcome,
until the run ends or the text turns up for a third caption of other content. Then it is rejected as ``repeated``
everywhere, so that the order of the captions does not matter, as far as so many are held back. Of a text that did not
turn up while ``MOST_HELD`` outcomes were, nothing is known any more. Outcomes held back by a killed run are asked for
again.
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
"""Outcomes held back at a time; beyond it the oldest is let go as it is, which bounds the memory: to some 20 MB where
each has one text of usual length, 50 MB where each has four."""


class _Users:
    """Who has a suspect text: hashes of what up to ``MANY`` captions say, and the last of the captions."""

    __slots__ = ("contents", "last")

    def __init__(self) -> None:
        self.contents: tuple[int, ...] = ()
        self.last = ""

    def add(self, caption: str) -> None:
        said = hash(content(caption))
        if len(self.contents) < MANY and said not in self.contents:
            self.contents += (said,)
        self.last = caption


def without_repeats(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """``outcomes``, some of them later, with repeated texts rejected."""
    held: OrderedDict[str, tuple[Outcome, tuple[str, ...]]] = OrderedDict()  # with its suspect texts
    users: dict[str, _Users] = {}
    for outcome in outcomes:
        suspects = {folded(rewrite.text) for rewrite in outcome.rewrites if _little(outcome.caption, rewrite.text)}
        if not suspects:
            yield outcome
            continue
        for text in suspects:
            users.setdefault(text, _Users()).add(outcome.caption)
        held[outcome.caption] = outcome, tuple(suspects)
        if len(held) > MOST_HELD:
            caption, (oldest, texts) = held.popitem(last=False)
            yield _judged(oldest, users)
            for text in texts:
                if text in users and users[text].last == caption:
                    del users[text]
    for outcome, _ in held.values():
        yield _judged(outcome, users)


def _little(caption: str, text: str) -> bool:
    return share_kept(caption, text) <= LITTLE


def _judged(outcome: Outcome, users: dict[str, _Users]) -> Outcome:
    repeated = [
        rewrite
        for rewrite in outcome.rewrites
        if (of := users.get(folded(rewrite.text)))
        and len(of.contents) >= MANY
        and _little(outcome.caption, rewrite.text)
    ]
    return replace(
        outcome,
        rewrites=tuple(rewrite for rewrite in outcome.rewrites if rewrite not in repeated),
        rejections=(*outcome.rejections, *(Rejection(r.source, "repeated", r.text, told=r.told) for r in repeated)),
    )

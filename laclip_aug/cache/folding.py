"""Near-duplicate captions in a build: one of them is rewritten, the others get its rewrites under their own keys.

Which caption leads is a function of the input's order alone, so a killed build goes on as it would have gone. The
record of a folded caption says onto which leader it was folded, and no later run folds a caption onto it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from laclip_aug.augmenter import Outcome, Rejection
from laclip_aug.cache.config import Config
from laclip_aug.cache.format import INPUT_SOURCE
from laclip_aug.cache.keys import caption_key
from laclip_aug.quality.leaders import Leaders
from laclip_aug.quality.letters import RULE

FOLDED = "folded"
"""Reason in the record of a folded caption; the text beside it is the leader."""


class Folding:
    """The captions of one run that wait for their leader's rewrites.

    Args:
        threshold: the least cosine of a caption with its leader, from 0.98 to 1.
        before: the records that the cache holds already.

    Raises:
        ConfigurationError, MissingExtraError: as ``Leaders``.
    """

    def __init__(self, threshold: float, before: Iterable[Outcome]) -> None:
        self._leaders = Leaders(threshold)
        self._followers = {caption_key(record.caption) for record in before if leader_of(record) is not None}
        self._waiting: dict[bytes, list[str]] = {}
        self._failed: dict[bytes, str] = {}

    def hold(self, captions: list[str], new: list[bool]) -> list[bool]:
        """Take the next captions of the input; for each, whether it is new and waits for a leader from now on."""
        may_lead = [caption_key(caption) not in self._followers for caption in captions]
        held = []
        for caption, leader, is_new in zip(captions, self._leaders.fold(captions, may_lead), new, strict=True):
            held.append(leader is not None and is_new)
            if leader is not None and is_new:
                self._waiting.setdefault(caption_key(leader), []).append(caption)
        return held

    def released(self, outcome: Outcome) -> list[Outcome]:
        """The outcomes of the captions that wait for that of ``outcome``."""
        key = caption_key(outcome.caption)
        if outcome.failed:
            self._failed[key] = outcome.failed
        return [folded_onto(outcome, caption) for caption in self._waiting.pop(key, [])]

    def rest(self, records: Callable[[], Iterable[Outcome]]) -> Iterator[Outcome]:
        """The outcomes of captions whose leader was settled before they came; ``records`` reads all of the cache."""
        for key, reason in self._failed.items():
            for caption in self._waiting.pop(key, []):
                yield Outcome(caption, (), (), 0, reason)
        if self._waiting:
            for record in records():
                yield from self.released(record)


def folded_onto(leader: Outcome, caption: str) -> Outcome:
    """What becomes of ``caption``, which folds onto the caption of ``leader``."""
    note = Rejection(INPUT_SOURCE, FOLDED, leader.caption)
    return Outcome(caption, leader.rewrites, (note,), 0, leader.failed)


def leader_of(record: Outcome) -> str | None:
    """The caption that ``record``'s was folded onto, if it was."""
    notes = (r.text for r in record.rejections if r.source == INPUT_SOURCE and r.reason == FOLDED)
    return next(notes, None)


def folded_config(config: Config, threshold: float) -> Config:
    """The configuration of a build that folds: by what likeness, and by what rule of words."""
    fingerprint = f"{config.fingerprint}-fold-{threshold:g}-words-{RULE}"
    return replace(config, fingerprint=fingerprint, describe={**config.describe, "fold": threshold})

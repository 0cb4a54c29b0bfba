"""Outcomes through a gate, again and again: what is refused stays with the record, and a looser gate brings it back.

All texts of a caption that could stand for it make one list: the accepted ones and those that a gate refused, which
know their place in it. A gate divides the list anew, so the result depends on the list and the gate alone, not on the
gates in between.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from laclip_aug.augmenter import CaptionAugmenter, Outcome, Rejection, Rewrite, texts_of
from laclip_aug.quality.checks import folded
from laclip_aug.quality.gate import Gate, Noted
from laclip_aug.quality.signals import TextPair

SURPLUS = "surplus"
"""Reason of a text that passes the gate where its caption has as many texts as were asked for."""
DUPLICATE = "duplicate"

Image = Callable[[], bytes]
_CHUNK = 64  # of a slow augmenter, so much may be lost to a kill


def candidates(record: Outcome) -> list[Rejection]:
    """All texts of ``record`` that a gate decides about, in their order; an accepted one has no reason."""
    refused = sorted((r for r in record.rejections if r.place is not None), key=lambda r: r.place or 0)
    found: list[Rejection] = []
    rewrites = iter(record.rewrites)
    for rejection in refused:
        while len(found) < (rejection.place or 0) and (rewrite := next(rewrites, None)) is not None:
            found.append(Rejection(rewrite.source, "", rewrite.text, told=rewrite.told))
        found.append(rejection)
    return found + [Rejection(rewrite.source, "", rewrite.text, told=rewrite.told) for rewrite in rewrites]


def pairs_of(record: Outcome, image: Image | None = None) -> list[TextPair]:
    """The pairs that a gate decides about, in the order of :func:`candidates`."""
    return [
        TextPair.recalled(record.caption, text.text, text.reason, text.value, image, text.told)
        for text in candidates(record)
    ]


def regated(
    records: Sequence[Outcome],
    gate: Gate,
    wanted: dict[str, int] | None = None,
    image: Callable[[str], Image | None] = lambda caption: None,
    noted: Noted = lambda part: None,
) -> list[Outcome]:
    """``records`` with their texts divided by ``gate``; whatever else was rejected stays as it is.

    Args:
        records: judged together, as far as signals compare texts with each other.
        wanted: texts of each source that a caption may have; a caption that has more that pass keeps the first, and
            none twice. Without it all that pass are kept.
        image: reads a caption's image, if there is one.
        noted: told of each part of the judging that is done.
    """
    pairs = [pairs_of(record, image(record.caption)) for record in records]
    refusals = iter(gate.judge([pair for own in pairs for pair in own], noted))
    return [_divided(record, refusals, gate, wanted) for record in records]


def _divided(record: Outcome, refusals: Iterator[Any], gate: Gate, wanted: dict[str, int] | None) -> Outcome:
    texts = candidates(record)
    crowded = wanted is not None and len(texts) > sum(wanted.values())
    kept: list[Rewrite] = []
    out = [rejection for rejection in record.rejections if rejection.place is None]
    taken: Counter[str] = Counter()
    seen: set[str] = set()
    for place, text in enumerate(texts):
        refusal = next(refusals)
        if refusal is not None:
            out.append(replace(text, reason=refusal.signal, value=refusal.value, place=place))
        elif crowded and wanted is not None and taken[text.source] >= wanted.get(text.source, 0):
            out.append(replace(text, reason=SURPLUS, value=None, place=place))
        elif crowded and folded(text.text) in seen:
            out.append(replace(text, reason=DUPLICATE, value=None, place=place))
        else:
            taken[text.source] += 1
            if crowded:
                seen.add(folded(text.text))
            kept.append(Rewrite(text.source, text.text, text.told))
    return replace(record, rewrites=tuple(kept), rejections=tuple(out))


class GatedAugmenter(CaptionAugmenter):
    """Any augmenter behind a gate: what the gate refuses becomes a rejection. Nothing is made again for it.

    Raises:
        ConfigurationError: a signal of the gate needs other texts or images.
    """

    def __init__(self, augmenter: CaptionAugmenter, gate: Gate) -> None:
        self._augmenter, self._gate = augmenter, gate.without_corpus()
        self.name, self.sources = augmenter.name, augmenter.sources

    def augment(self, captions: Sequence[str], n: int, seed: int) -> list[list[str]]:
        """See :meth:`CaptionAugmenter.augment`."""
        return texts_of(self.outcomes(dict.fromkeys(captions), n, seed), captions, n, self.sources)

    def outcomes(self, captions: Iterable[str], n: int, seed: int) -> Iterator[Outcome]:
        """The augmenter's outcomes through the gate, 64 at a time."""
        source = self._augmenter.outcomes(captions, n, seed)
        while chunk := list(islice(source, _CHUNK)):
            yield from regated(chunk, self._gate)

    def fingerprint(self) -> str:
        """The augmenter's, with a hash of the gate."""
        return gated_fingerprint(self._augmenter.fingerprint(), self._gate)

    def describe(self) -> dict[str, Any]:
        """The augmenter's description, with the gate."""
        return {**self._augmenter.describe(), "gate": self._gate.describe()}

    def provenance(self) -> dict[str, Any]:
        """The augmenter's."""
        return self._augmenter.provenance()

    def close(self) -> None:
        """Close the augmenter."""
        self._augmenter.close()


def gated_fingerprint(fingerprint: str, gate: Gate) -> str:
    """A fingerprint of texts made as ``fingerprint`` says and divided by ``gate``."""
    decides = json.dumps(gate.describe(), sort_keys=True)
    return f"{fingerprint}-gate-{hashlib.sha256(decides.encode()).hexdigest()[:16]}"

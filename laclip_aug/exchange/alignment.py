"""Do texts belong to the captions that they stand beside? Judged by shared rare words, row by row, without a model.

Of each row the texts are compared with their own caption, with those of the rows around it, and with some far away. Two
texts agree if the words that they share are together rare enough that chance hardly explains them. How often a text
agrees with its own caption, and with a far one, is counted, never assumed: a caption of the image agrees with the
alt-text less often than a rewrite does, and both are in line. What is out of line is found as a *run* of rows
(:mod:`laclip_aug.exchange.runs`): single odd rows are what language models and the web make, runs are not.

A row counts as judged only if both its sides are made of words that the other side uses too: an English text says
nothing about a Japanese caption. Memory: 4,096 rows, and the words of each side with their counts, at most 200,000.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from laclip_aug.exchange.runs import OFFSETS, WINDOW, Rates, Run, Runs
from laclip_aug.quality.content import content

CHUNK = 4096
FEW = 50
"""Under this number of judged rows nothing is said of the whole."""

_FAR = (0.5, 0.37, 0.61)
"""Where in the chunk the captions for comparison stand, from the row on, as parts of it."""
_LEVELS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_CHARS = 2000
_VOCABULARY = 200_000
_BLOCK = 64
_SMALL = 500
_PART = 0.05
_USED = 3
"""A word counts as used by a side from this number of its texts on."""

Words = frozenset[str]


@dataclass(frozen=True)
class Verdict:
    """What the audit says of one source's texts. Rates are of the ``judged`` rows.

    ``own``: how often a text agrees with its caption; ``far``: how often with that of a row far away. ``related``:
    whether the first is more than the second; ``None`` where the rows that could be judged are too few to say so.
    """

    source: str
    rows: int
    judged: int
    own: float
    far: float
    related: bool | None
    misaligned: int
    first: Run | None

    def line(self) -> str:
        """The verdict in a sentence."""
        head = f"alignment, {self.source}: {self.rows} rows"
        if not self.judged and self.rows < _SMALL:
            return f"{head}, too few to be judged"
        if not self.judged:
            return f"{head}, none could be judged, as texts and captions share no vocabulary (another language?)"
        rates = (
            f"{head}, {self.judged} judged, {self.own:.1%} agree with their own caption and {self.far:.1%} with that "
            "of a row far away"
        )
        if self.first is not None:
            return f"{rates}; {self.misaligned} out of line, the first is {self.first.place}: {self.first.sentence()}"
        if self.related is None:
            return f"{rates}: not enough to tell whether they are in line"
        if not self.related:
            return f"{rates}: the texts are of other images, or all are out of line"
        if self.judged < self.rows / 2:
            return f"{rates}: these are in line, of the others nothing can be said"
        return f"{rates}: in line"


@dataclass
class _Row:
    caption: Words
    text: Words
    place: str


class SourceAudit:
    """The audit of one source's texts, given row by row in the order of the input."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.rows = self.judged = 0
        self._agree = Counter[int]()  # judged rows by offset whose text agrees with the caption there
        self._far = 0.0
        self._documents = 0
        self._captions, self._texts = Counter[str](), Counter[str]()
        self._buffer: list[_Row] = []
        self._start = 0  # of the buffer's rows, those before are judged already and stay as neighbours
        self._level = 0.0
        self._gain = 0.0
        self._best = 0.0
        self._rarity: dict[str, float] = {}  # as long as the counts stay
        self._runs = Runs()

    def add(self, caption: Words, text: Words, place: str) -> None:
        """One row, with the words of its caption and of its texts."""
        self._buffer.append(_Row(caption, text, place))
        self._documents += 1
        self._captions.update(caption)
        self._texts.update(text)
        if len(self._buffer) >= self._start + CHUNK + WINDOW:
            self._judge(len(self._buffer) - WINDOW)

    def verdict(self) -> Verdict:
        """What all rows say; nothing can be added any more."""
        self._judge(len(self._buffer))
        misaligned, first = self._runs.close()
        judged, own, far = self.judged, self._rate(0), self._far / max(1, self.judged)
        error = math.sqrt((own * (1 - own) + far * (1 - far)) / max(1, judged)) + 1 / max(1, judged)
        related = None
        if judged < _PART * self.rows:
            pass  # a few rows of a language that is not the others'
        elif judged >= FEW and own - far > 5 * error:
            related = True
        elif judged >= FEW and own - far + 3 * error < 0.1 and far < 0.3:
            related = False
        if related is False:  # the run that begins first tells more, if it is not a part of the mess only
            first, misaligned = (first if misaligned > self.rows / 2 else None), self.rows
        return Verdict(self.source, self.rows, judged, own, far, related, misaligned, first)

    def _judge(self, end: int) -> None:
        """Judge the buffer's rows from ``_start`` to ``end``, and keep as many as the next ones need."""
        rows = self._buffer[self._start : end]
        if rows:
            self._rarity = {}
            fit = np.array([self._fit(row) for row in rows], dtype=bool)
            near = np.array([self._near(at) for at in range(self._start, end)], dtype=np.float32)
            far = self._compared_far(rows)
            self._choose_level(near[fit], far[fit])
            could = [min(self._weight(row.text), self._weight(row.caption)) for row in rows]
            fit &= np.array(could) >= self._level
            agree = near >= self._level
            self.rows += len(rows)
            self.judged += int(fit.sum())
            for column, offset in enumerate(OFFSETS):
                self._agree[offset] += int(agree[fit, column].sum())
            self._far += float((far[fit] >= self._level).mean(axis=1).sum()) if fit.any() else 0.0
            self._best = max(self._best, _best(agree[fit]))
            if self.judged >= FEW:
                found = Rates(self._best, self._far / self.judged, {offset: self._rate(offset) for offset in OFFSETS})
                self._runs.feed(found, agree, fit, self.rows - len(rows), [row.place for row in rows])
        keep = max(0, end - WINDOW)
        self._buffer, self._start = self._buffer[keep:], end - keep
        for counts in (self._captions, self._texts):
            if len(counts) > _VOCABULARY:
                for word in [word for word, number in counts.items() if number < _USED]:
                    del counts[word]

    def _rate(self, offset: int) -> float:
        return self._agree[offset] / max(1, self.judged)

    def _fit(self, row: _Row) -> bool:
        """Whether each side is made of words that the other side uses."""
        return _share(row.caption, self._texts) >= 0.5 and _share(row.text, self._captions) >= 0.5

    def _near(self, at: int) -> list[float]:
        text = self._buffer[at].text
        return [
            self._shared(text, self._buffer[at + offset].caption) if 0 <= at + offset < len(self._buffer) else 0.0
            for offset in OFFSETS
        ]

    def _compared_far(self, rows: Sequence[_Row]) -> npt.NDArray[np.float32]:
        size = len(rows)
        steps = [int(size * part) for part in _FAR]
        return np.array(
            [
                [self._shared(row.text, rows[(at + step) % size].caption) for step in steps]
                for at, row in enumerate(rows)
            ],
            dtype=np.float32,
        )

    def _shared(self, text: Words, caption: Words) -> float:
        """How unlikely it is by chance that these share the words that they share, as a logarithm."""
        both = text & caption
        return self._weight(both) if both else 0.0

    def _weight(self, these: Words) -> float:
        known, total = self._rarity, 0.0
        for word in these:
            rarity = known.get(word)
            if rarity is None:
                number = self._captions[word]
                known[word] = rarity = math.log((self._documents + 1) / number) if number else 0.0
            total += rarity
        return total

    def _choose_level(self, near: npt.NDArray[np.float32], far: npt.NDArray[np.float32]) -> None:
        """Take the level from which on texts agree that tells the best offset from far rows best."""
        if len(near) < FEW or self._gain > 0.1:
            if not self._level:
                self._level = _LEVELS[3]
            return
        for level in _LEVELS:
            rates = (near >= level).mean(axis=0)
            gain = _divergence(float(rates.max()), float((far >= level).mean()))
            if gain > self._gain or not self._level:
                self._gain, self._level = gain, level


def _best(agree: npt.NDArray[np.bool_]) -> float:
    """The rate of the block that agrees most, at whichever offset, less two standard errors; blocks are small, as one
    that lines are missing from holds few good ones.
    """
    blocks = agree[: len(agree) // _BLOCK * _BLOCK].reshape(-1, _BLOCK, len(OFFSETS)).mean(axis=1)
    most = float(blocks.max()) if blocks.size else 0.0
    return max(0.0, most - 2 * math.sqrt(most * (1 - most) / _BLOCK))


def words(text: str) -> Words:
    """What of ``text`` is compared: the stems of its content words, in any script."""
    return content(text[:_CHARS])


def _share(mine: Words, theirs: Counter[str]) -> float:
    return sum(theirs[word] >= _USED for word in mine) / len(mine) if mine else 0.0


def _divergence(a: float, b: float) -> float:
    """What one row tells where it happens at rate ``a`` and not at ``b``."""
    a, b = min(max(a, 0.002), 0.998), min(max(b, 0.002), 0.998)
    return a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b)) if a > b else 0.0

"""The augmenter registered as ``"sentences"``: sentences of a long caption, alone or up to three in a row."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from random import Random
from typing import Any

from laclip_aug.augmenter import CaptionAugmenter
from laclip_aug.errors import ConfigurationError
from laclip_aug.quality.context import context_for
from laclip_aug.seeding import derive, generator
from laclip_aug.sentences.splitting import ABBREVIATIONS, join, sentences_of

_VERSION = 1


class SentencesAugmenter(CaptionAugmenter):
    """Texts of a long caption's sentences; each is read to its end where the caption would be cut.

    A caption is laid out in groups of 1 to ``most`` sentences that follow each other, and the groups are given in an
    order that is drawn. So the texts of one caption say all that it says before any sentence comes again, and each
    sentence is as likely to come first as another. A group is made shorter where it is over the model's context. A
    caption of one sentence has no texts: it stands in for itself.

    Args:
        most: sentences in a text at most; 1 gives single sentences.
        for_model: the model that is to read the texts to their end (:func:`~laclip_aug.quality.context.context_for`);
            by default CLIP with its 77 tokens.

    Raises:
        ConfigurationError: ``most`` is below 1.

    Source: DreamLIP (Zheng et al. 2024) draws single sentences, FLAIR (Xiao et al. 2025) joins one to three.
    """

    name = "sentences"
    sources = ("sentences",)

    def __init__(self, most: int = 3, for_model: str | None = None) -> None:
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise ConfigurationError(f"most is {most!r}; give the number of sentences in a text, 1 or more")
        self.most = most
        self.context = context_for(for_model)

    def augment(self, captions: Sequence[str], n: int, seed: int) -> list[list[str]]:
        """``n`` texts for each caption; see :meth:`CaptionAugmenter.augment`. No text comes twice."""
        return [self._texts(caption, n, seed) for caption in captions]

    def _texts(self, caption: str, n: int, seed: int) -> list[str]:
        sentences = sentences_of(caption) if n else []
        if len(sentences) < 2:
            return [caption] * n
        draws = generator(seed, caption, "sentences")
        texts: dict[str, None] = {}
        longest = min(self.most, len(sentences) - 1)
        there_are = sum(len(sentences) - size + 1 for size in range(1, longest + 1))
        for _ in range(4 * n):  # a group that is left may be rare
            for text in self._laid_out(sentences, longest, draws):
                texts.setdefault(text)
            if len(texts) >= min(n, there_are):
                break
        return [*list(texts)[:n], *[caption] * (n - len(texts))]

    def _laid_out(self, sentences: list[str], longest: int, draws: Random) -> list[str]:
        """All sentences in groups of drawn lengths, in a drawn order."""
        groups, start = [], 0
        while start < len(sentences):
            size = min(draws.randint(1, longest), len(sentences) - start)
            text = join(sentences[start : start + size])
            while size > 1 and not self.context.holds(text):
                size -= 1
                text = join(sentences[start : start + size])
            groups.append(text)
            start += size
        draws.shuffle(groups)
        return groups

    def describe(self) -> dict[str, Any]:
        """Name, the sentences in a text, and the context that they are held to."""
        return {**super().describe(), "most": self.most, "context": self.context.describe()}

    def fingerprint(self) -> str:
        """A hash of the parameters, the abbreviations and the version of the rules."""
        context = f"{self.context.tokens} {self.context.tokenizer}"
        return f"sentences-{_VERSION}-{derive(self.most, context, *sorted(ABBREVIATIONS)):016x}"

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """``--most``."""
        group = parser.add_argument_group("sentences of long captions (sentences)")
        group.add_argument(
            "--most", type=int, default=3, metavar="N", help="sentences in a text at most, one after the other (3)"
        )

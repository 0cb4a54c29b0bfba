"""The augmenter registered as ``"eda"``: Wei and Zou's four operations and their mixture, on captions."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import permutations
from typing import Any

from laclip_aug.augmenter import CaptionAugmenter
from laclip_aug.eda.operations import OPERATIONS, Draws, Operation
from laclip_aug.eda.sources import load_table
from laclip_aug.eda.tokens import split
from laclip_aug.errors import ConfigurationError, UnknownNameError
from laclip_aug.quality.cleaning import as_clip_reads
from laclip_aug.quality.context import context_for
from laclip_aug.seeding import caption_number, derive

_TRIES = 5
_Turn = tuple[Operation, float, bool]  # operation, alpha, and whether drawing it again may change its outcome


class EDAAugmenter(CaptionAugmenter):
    """Easy data augmentation for captions that keeps colours, numbers, negation and places.

    Each text is made by one operation. The operations take turns in an order drawn for the caption, so ``n`` texts
    hold each in equal shares, as in the paper. A text that ends up equal to its caption is drawn again, with the next
    operation in turn, a few times; then the caption stands in.

    Args:
        alpha_sr: share of words replaced by a synonym; at least one word is. 0 leaves the operation out.
        alpha_ri: share of words for which a synonym of a random word is inserted. 0 leaves the operation out.
        alpha_rs: number of swaps as a share of words. 0 leaves the operation out.
        alpha_rd: probability with which each word is deleted. 0 leaves the operation out.
        operations: which of ``sr``, ``ri``, ``rs``, ``rd`` take part; names in a sequence or joined by commas.
        synonyms: ``"builtin"``, ``"wordnet"``, ``"wordnet+builtin"``, or the path of a synonym file; see
            :func:`laclip_aug.eda.sources.load_table`.
        for_model: the model that is to read the texts to their end (:func:`~laclip_aug.quality.context.context_for`);
            a text over its context is drawn again like one that is the caption. By default length is not looked at.

    Raises:
        ConfigurationError: an alpha outside 0..1, no operation left, or a synonym source that cannot be used.

    Source: Wei and Zou 2019, section 2; alpha 0.1 is their recommendation.
    """

    name = "eda"
    sources = ("eda",)

    def __init__(
        self,
        alpha_sr: float = 0.1,
        alpha_ri: float = 0.1,
        alpha_rs: float = 0.1,
        alpha_rd: float = 0.1,
        operations: str | Sequence[str] = ("sr", "ri", "rs", "rd"),
        synonyms: str = "builtin",
        for_model: str | None = None,
    ) -> None:
        chosen = [name.strip() for name in operations.split(",")] if isinstance(operations, str) else list(operations)
        alphas = {"sr": alpha_sr, "ri": alpha_ri, "rs": alpha_rs, "rd": alpha_rd}
        for name in chosen:
            if name not in OPERATIONS:
                raise UnknownNameError("EDA operation", name, OPERATIONS)
        for name, alpha in alphas.items():
            if not 0 <= alpha <= 1:
                raise ConfigurationError(f"alpha_{name} is {alpha}; give a share of the words between 0 and 1")
        self.alphas = {name: float(alphas[name]) for name in OPERATIONS if name in chosen and alphas[name] > 0}
        if not self.alphas:
            raise ConfigurationError("no EDA operation is left; name one of sr, ri, rs, rd with an alpha above 0")
        self.table = load_table(synonyms)
        self.context = None if for_model is None else context_for(for_model)
        # a swap or a deletion that changed nothing may change something when drawn again; a synonym will not appear
        self._orders = list(
            permutations((OPERATIONS[name], alpha, name in ("rs", "rd")) for name, alpha in self.alphas.items())
        )

    def augment(self, captions: Sequence[str], n: int, seed: int) -> list[list[str]]:
        """``n`` texts for each caption; see :meth:`CaptionAugmenter.augment`. Needs no model and no network."""
        return [self._texts(caption, n, seed) for caption in captions]

    def _texts(self, caption: str, n: int, seed: int) -> list[str]:
        read = as_clip_reads(caption) if "&" in caption else caption  # &amp; holds no word to replace
        parts = split(read)
        if len(parts) < 5:  # fewer than two words that may be touched
            return [caption] * n
        draws = Draws(caption_number(seed, caption))
        count = len(self.alphas)
        texts = []
        for j in range(n):
            if j % count == 0:
                order = self._orders[draws.below(len(self._orders))] if count > 1 else self._orders[0]
            operation, alpha, _ = order[j % count]
            edited = parts.copy() if j < n - 1 else parts  # the last text needs no copy
            operation(edited, alpha, self.table, draws)
            text = "".join(edited)
            texts.append(text if self._serves(text, read) else self._again(read, order, j, draws) or caption)
        return texts

    def _again(self, read: str, order: tuple[_Turn, ...], j: int, draws: Draws) -> str | None:
        """A text for the place of one that does not serve: by the operations next in turn."""
        for attempt in range(1, _TRIES):
            operation, alpha, varies = order[(j + attempt) % len(order)]
            if attempt < len(order) or varies:
                edited = split(read)
                operation(edited, alpha, self.table, draws)
                if self._serves(text := "".join(edited), read):
                    return text
        return None

    def _serves(self, text: str, read: str) -> bool:
        return text != read and (self.context is None or self.context.holds(text))

    def describe(self) -> dict[str, Any]:
        """Name, parameters, and the origin and sha256 of the synonym table."""
        return {
            **super().describe(),
            "alphas": dict(self.alphas),
            "synonyms": {"origin": self.table.origin, "sha256": self.table.digest, "words": len(self.table.entries)},
            **({} if self.context is None else {"context": self.context.describe()}),
        }

    def fingerprint(self) -> str:
        """A hash of the parameters, the synonym table's content and the version of the operations."""
        parameters = [f"{name}={alpha!r}" for name, alpha in self.alphas.items()]
        if self.context is not None:
            parameters.append(f"context={self.context.tokens} {self.context.tokenizer}")
        return f"eda-4-{derive(self.table.digest, *parameters):016x}"

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """``--alpha-sr`` … ``--alpha-rd``, ``--operations`` and ``--synonyms``."""
        group = parser.add_argument_group("word-level augmentation (eda)")
        for name, what in (
            ("sr", "share of words replaced by synonyms"),
            ("ri", "share of words for which a synonym is inserted"),
            ("rs", "swaps of two words, as a share of words"),
            ("rd", "probability of deleting each word"),
        ):
            group.add_argument(f"--alpha-{name}", type=float, default=0.1, metavar="SHARE", help=f"{what} (0.1)")
        group.add_argument("--operations", default="sr,ri,rs,rd", help="operations that take part (sr,ri,rs,rd)")
        group.add_argument(
            "--synonyms",
            default="builtin",
            help="builtin, wordnet, wordnet+builtin, or a synonym file (builtin); nothing is downloaded",
        )

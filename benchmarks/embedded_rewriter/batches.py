"""Batches: one source caption with up to four target captions shares the source's part of the row.

A row is ``<s> source <|a|> target a </s> <|b|> target b </s> ...``. Each target sees the source and itself only, and
its positions go on from the source's end, so that the model sees exactly what it will see alone. That saves a third
of the tokens against one row per pair. Rows are made on the fly, so no disturbance comes twice.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.embedded_rewriter.forms import count
from benchmarks.embedded_rewriter.metrics import novelty, tokens
from benchmarks.embedded_rewriter.noise import disturb
from benchmarks.embedded_rewriter.paraphrase import announced, completed, paraphrase
from benchmarks.embedded_rewriter.transplant import Donors, transplant
from benchmarks.embedded_rewriter.vocabulary import BOS, EOS, STRATEGIES, Tokenizer
from benchmarks.embedded_rewriter.words import concepts

_FINITE = re.compile(r"\b(?:is|are|was|were|has|have)\b")
_SPACED = re.compile(r"(?<=\w)(?=[.,!?:;](?:\s|$))")


@dataclass(frozen=True)
class Row:
    """``source`` ids with BOS; each target is control token, ids, EOS."""

    source: list[int]
    targets: list[list[int]]

    def __len__(self) -> int:
        return len(self.source) + sum(len(t) - 1 for t in self.targets)


@dataclass(frozen=True)
class Batch:
    """ids, positions ``[B, T]``; mask ``[B, 1, T, T]``; ``index`` of the flattened ``[B·T]`` predict ``labels``."""

    ids: Tensor
    positions: Tensor
    mask: Tensor
    index: Tensor
    labels: Tensor


def style(source: str, target: str, dataset: str) -> str:
    """The strategy that a pair is an example of.

    COCO's captions are ``mscoco``; of the others, longer ones than the source are ``chatgpt``, those that begin with
    something else ``bard``, the rest ``human``.
    """
    if dataset == "coco":
        return "mscoco"
    longer = len(target.split()) - len(source.split())
    if longer >= 2 or dataset == "fused":
        return "chatgpt"
    first, second = concepts(source)[:1], concepts(target)[:1]
    return "bard" if first != second else "human"


class Rows:
    """Draws rows for ever.

    ``clean`` is the share of rows that show near captions, where a caption has some; ``rules`` the share of the other
    rows of human captions whose targets are paraphrases by rule; the rest is denoising.
    """

    def __init__(
        self, folder: Path, tokenizer: Tokenizer, seed: int, clean: float = 0.6, rules: float = 0.4, most: int = 64
    ) -> None:
        self.rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()]
        for row in self.rows:
            row["text"] = row["text"].capitalize() if row["text"].isupper() else row["text"]
        self.tokenizer, self.clean, self.rules, self.most = tokenizer, clean, rules, most
        self.copy = 0.0
        """Share of rows that copy words without sense, which teaches the attention to copy before it can write."""
        self.moved = 0.35
        """Share of rows with transplanted words."""
        self.rng = random.Random(seed)
        texts = [row["text"] for row in self.rows]
        self.forms, self.donors = count(texts), Donors(texts)
        for row in self.rows:
            row["near"] = [i for i in row["near"] if novelty(row["text"], self.rows[i]["text"]) >= 0.35]
        with_near = [i for i, row in enumerate(self.rows) if row["near"]]
        web = [i for i, row in enumerate(self.rows) if row["set"] in ("cc3m", "fused")]
        coco = [i for i, row in enumerate(self.rows) if row["set"] == "coco"]
        pools = [(0.56, with_near), (0.22, web), (0.10, coco), (0.12, list(range(len(self.rows))))]
        self.pools = [(weight, pool) for weight, pool in pools if pool]

    def copying(self) -> Row:
        """Words of many captions in no order; the target is the same words, so that nothing but copying helps."""
        rng = self.rng
        captions = (self.rows[rng.choice(rng.choice(self.pools)[1])]["text"] for _ in range(rng.randint(5, 14)))
        mixed = " ".join(rng.choice(caption.split(" ")) for caption in captions)
        ids, control = self.tokenizer.encode(mixed), self.tokenizer.strategies
        return Row([BOS, *ids], [[control[s], *ids, EOS] for s in rng.sample(STRATEGIES, 2)])

    def ruled(self, text: str, most: int, least: float = 0.3, human: bool = True) -> list[tuple[str, str]]:
        """Up to ``most`` paraphrases by rule, of novelty ``least``, that differ from ``text`` and from each other.

        Alt-texts (not ``human``) get the articles and verbs that they lack first.
        """
        found: dict[str, str] = {}
        for strategy in self.rng.sample(STRATEGIES, most):
            whole = text if human else completed(text, self.forms, self.rng)
            made = paraphrase(whole, strategy, self.rng)
            if novelty(text, made) >= least and tokens(made) != tokens(text):
                found.setdefault(made, strategy)
        return [(strategy, made) for made, strategy in found.items()]

    def alt_text(self, text: str) -> list[tuple[str, str]]:
        """Targets for an alt-text: by rule, now and then one that says that it is a picture."""
        made = self.ruled(text, 3, 0.1, human=False)
        if self.rng.random() < (0.03 if made else 0.2) and not _FINITE.search(text):
            made.append((self.rng.choice(STRATEGIES), announced(text, self.rng)))
        return made

    def row(self) -> Row | None:
        rng = self.rng
        if rng.random() < self.copy:
            return self.copying()
        pool = rng.choices([p for _, p in self.pools], [w for w, _ in self.pools])[0]
        own = self.rows[rng.choice(pool)]
        near = [self.rows[i] for i in rng.sample(own["near"], min(len(own["near"]), 4))]
        human = own["set"] in ("coco", "multi30k")
        if near and rng.random() < self.clean:
            source, targets = own["text"], [(style(own["text"], t["text"], t["set"]), t["text"]) for t in near]
            if len(near) < 3:
                targets += self.ruled(source, 1)
            if rng.random() < 0.15:
                source = source.lower().rstrip(".")
        elif own["from"] and rng.random() < 0.5:
            source, targets = own["from"][0], [("chatgpt", own["text"])]
        elif human and rng.random() < self.rules:
            source, targets = own["text"], self.ruled(own["text"], 3)
            if rng.random() < 0.15:
                source = source.lower().rstrip(".")
        elif not human and rng.random() < 0.6 and (targets := self.alt_text(own["text"])):
            source = own["text"]
            if rng.random() < 0.6:
                source = source.lower().rstrip(".")
        else:
            source, kind = disturb(own["text"], rng)
            if novelty(source, own["text"]) < (0.3 if human else 0.15):
                return None
            label = "mscoco" if own["set"] == "coco" else {"order": "bard", "short": "chatgpt", "words": "human"}[kind]
            if own["set"] == "cc3m":
                label = rng.choice(STRATEGIES)
            targets = [(label, own["text"])]
            targets += [(style(source, t["text"], t["set"]), t["text"]) for t in near[:3]]
        if targets and rng.random() < self.moved:
            source, targets = transplant(source, targets, self.donors, rng)
        if not targets:
            return None
        if rng.random() < (0.05 if human else 0.4):
            source = _SPACED.sub(" ", source)
        encode, control = self.tokenizer.encode, self.tokenizer.strategies
        row = Row([BOS, *encode(source)], [[control[s], *encode(t), EOS] for s, t in targets])
        if len(row.source) > self.most or any(len(t) > self.most for t in row.targets):
            return None
        return row

    def batches(self, tokens: int, pool: int = 512) -> Iterator[Batch]:
        """Batches of about ``tokens`` positions, padding included; rows of like length go together."""
        while True:
            rows = sorted((r for r in (self.row() for _ in range(pool)) if r is not None), key=len)
            cuts: list[list[Row]] = [[]]
            for row in rows:
                if (len(cuts[-1]) + 1) * len(row) > tokens:
                    cuts.append([])
                cuts[-1].append(row)
            self.rng.shuffle(cuts)
            yield from (collate(cut) for cut in cuts if cut)


def collate(rows: list[Row]) -> Batch:
    """Rows as tensors; padding sees itself only."""
    longest = max(len(row) for row in rows)
    ids = np.zeros((len(rows), longest), np.int64)
    positions = np.zeros_like(ids)
    segment = np.full_like(ids, -1)
    index, labels = [], []
    for b, row in enumerate(rows):
        at = len(row.source)
        ids[b, :at], positions[b, :at], segment[b, :at] = row.source, np.arange(at), 0
        for number, target in enumerate(row.targets, 1):
            n = len(target) - 1
            ids[b, at : at + n] = target[:-1]
            positions[b, at : at + n] = len(row.source) + np.arange(n)
            segment[b, at : at + n] = number
            index.append(b * longest + at + np.arange(n))
            labels.append(target[1:])
            at += n
    keys, queries = segment[:, None, :], segment[:, :, None]
    causal = np.tril(np.ones((longest, longest), bool))
    mask = causal & ((keys == queries) | (keys == 0)) & (keys >= 0) | np.eye(longest, dtype=bool)
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(positions),
        torch.from_numpy(mask)[:, None],
        torch.from_numpy(np.concatenate(index)),
        torch.tensor([i for target in labels for i in target]),
    )

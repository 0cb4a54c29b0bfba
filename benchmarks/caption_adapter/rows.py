"""Training rows: a caption with its rewrites, as token ids, packed into fixed-length sequences.

A row is a tree: the caption is the trunk, each rewrite a branch, ``<|im_start|> caption`` then
``<|im_end|> word rewrite<|im_end|>`` for each. A branch sees the trunk and itself, never another branch or row, and
counts its positions from the end of the trunk, so that each reads exactly what the engine will show it. The caption is
computed once for its four rewrites, and packing leaves almost no padding.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from laclip_aug.rewrite.embedded import WORDS

START, END = 1, 2
TAILS = {strategy: f" {word}" for strategy, word in WORDS.items()}
"""The word that stands for a strategy; each is one token."""

Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class Pair:
    """``texts`` are (strategy, rewrite), at least one."""

    caption: str
    texts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Row:
    """Token ids of one caption and its rewrites."""

    trunk: list[int]
    branches: list[list[int]]

    def __len__(self) -> int:
        return len(self.trunk) + sum(map(len, self.branches))


def row(pair: Pair, encode: Encode) -> Row:
    """Tokens of ``pair``; the spaces make first words pieces like any other."""
    branches = [[END, *encode(TAILS[strategy]), *encode(" " + text), END] for strategy, text in pair.texts]
    return Row([START, *encode(" " + pair.caption)], branches)


@dataclass(frozen=True)
class Batch:
    """``ids``, ``positions`` and ``targets`` are ``[B, L]``, ``mask`` is ``[B, 1, L, L]`` (True: may look).

    ``targets`` is the token to predict at a position, -100 where none is scored: only rewrites are.
    """

    ids: Tensor
    positions: Tensor
    mask: Tensor
    targets: Tensor


def collate(groups: Sequence[Sequence[Row]], length: int) -> Batch:
    """One sequence of ``length`` positions for each group of rows."""
    shape = (len(groups), length)
    ids, positions = torch.full(shape, END), torch.zeros(shape, dtype=torch.long)
    targets = torch.full(shape, -100)
    tree, branch = torch.full(shape, -1), torch.zeros(shape, dtype=torch.long)
    for b, group in enumerate(groups):
        at = 0
        for number, one in enumerate(group):
            for n, part in enumerate([one.trunk, *one.branches]):
                here = slice(at, at + len(part) - (n > 0))  # the closing token is predicted, not read
                size = here.stop - at
                ids[b, here] = torch.tensor(part[:size])
                positions[b, here] = torch.arange(size) + (len(one.trunk) if n else 0)
                tree[b, here], branch[b, here] = number, n
                if n:
                    targets[b, at + 1 : here.stop] = torch.tensor(part[2:])
                at = here.stop
    index = torch.arange(length)
    same = tree[:, :, None] == tree[:, None, :]
    trunk_or_own = (branch[:, None, :] == 0) | (branch[:, :, None] == branch[:, None, :])
    mask = same & trunk_or_own & (index[:, None] >= index[None, :])
    return Batch(ids, positions, mask[:, None], targets)


def pack(rows: Sequence[Row], length: int, seed: int, most_open: int = 64) -> list[list[Row]]:
    """Rows in random order, put together so that each group has at most ``length`` tokens; longer rows are left out.

    A row goes into the fullest of the open groups that it fits into; 2% of the positions stay empty.
    """
    rng = random.Random(seed)
    order = [r for r in rows if len(r) <= length]
    rng.shuffle(order)
    done: list[list[Row]] = []
    open_groups: list[tuple[int, list[Row]]] = []
    for one in order:
        fitting = [i for i, (used, _) in enumerate(open_groups) if used + len(one) <= length]
        if fitting:
            best = max(fitting, key=lambda i: open_groups[i][0])
            used, group = open_groups.pop(best)
            open_groups.append((used + len(one), [*group, one]))
        else:
            open_groups.append((len(one), [one]))
        if len(open_groups) > most_open:
            fullest = max(range(len(open_groups)), key=lambda i: open_groups[i][0])
            done.append(open_groups.pop(fullest)[1])
    done += [group for _, group in open_groups]
    rng.shuffle(done)
    return done


def batches(rows: Sequence[Row], length: int, size: int, seed: int) -> Iterator[Batch]:
    """One pass over ``rows``: ``size`` packed sequences at a time."""
    groups = pack(rows, length, seed)
    for start in range(0, len(groups), size):
        yield collate(groups[start : start + size], length)

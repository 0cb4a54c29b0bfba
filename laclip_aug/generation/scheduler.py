"""Continuous batching: many completions advance together, one decoder step at a time.

Each completion has a slot. A slot that ends is refilled at once, so the batch stays full until the jobs run out; waves
that wait for their longest member would need about twice the passes over the weights. Prompts that share a prefix take
a copy of it from a holder, where it was evaluated once. Several prefixes may be alive: slots keep the one that they
have, and a job prefers a free slot with its own.

This module knows slots and tokens only; what computes is a :class:`Decoder`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from laclip_aug.errors import ModelError
from laclip_aug.generation.backend import Completion, Job, Sampling
from laclip_aug.generation.growing import GrowingText, Speller
from laclip_aug.generation.tokens import PromptTokens

_LONG = 32  # tokens of a prompt, its prefix apart, that are worth a step of their own
_SPACING = 32  # tokens of a prefix that one step of the running completions makes up for

EMPTY_PROMPT = "the prompt is empty after its shared part"


class Feed(NamedTuple):
    """Tokens to append to a slot; with ``scores`` the logits after the last one are wanted."""

    slot: int
    tokens: Sequence[int]
    scores: bool


class Decoder(Protocol):
    """A model with ``n_slots`` sequences to generate in and ``n_holders`` more that keep prefixes."""

    n_slots: int
    n_holders: int
    most_tokens: int
    """Tokens in one step over all slots, at least ``n_slots``."""
    uniform: bool
    """Whether each step must have the same shape whatever runs: one token a slot, neighbouring slots, two at least."""

    def load(self, holder: int, tokens: Sequence[int]) -> bool:
        """Evaluate ``tokens`` as the whole content of a holder; False if the cache is full."""

    def unload(self, holder: int) -> None:
        """Empty a holder."""

    def copy(self, holder: int, slot: int) -> None:
        """Make the holder's content the slot's."""

    def trim(self, slot: int, length: int) -> None:
        """Keep the first ``length`` tokens of a slot."""

    def step(self, feeds: Sequence[Feed]) -> npt.NDArray[np.float32] | None:
        """Append; ``[feeds with scores, V]`` logits in their order. None if the cache is full: nothing happened."""


@dataclass(slots=True)
class _Running:
    draft: GrowingText
    prompt: PromptTokens
    pending: list[int]
    started: int


class Scheduler:
    """Runs jobs through a decoder. ``encode`` makes a job's tokens, ``sampling`` says how to draw."""

    def __init__(
        self, decoder: Decoder, speller: Speller, encode: Callable[[Job], PromptTokens], sampling: Sampling
    ) -> None:
        self._decoder = decoder
        self._speller = speller
        self._encode = encode
        self._sampling = sampling
        self._held: list[tuple[int, ...] | None] = [None] * decoder.n_slots
        self._holders: OrderedDict[tuple[int, ...], int] = OrderedDict()  # least recently used first
        self._running: dict[int, _Running] = {}
        self._busy = False
        self._started = 0
        self._loaded = 0  # tokens of prefixes read since, less what steps have made up for

    def run(self, jobs: Iterator[Job]) -> Iterator[Completion]:
        """One completion per job, as they end. At most one job per slot is read ahead.

        Raises:
            ModelError: an earlier run of the same scheduler is still open.
        """
        if self._busy:
            raise ModelError("this backend is completing other jobs; exhaust or close the earlier complete() first")
        self._busy = True
        try:
            yield from self._run(jobs)
        finally:
            for slot in list(self._running):  # the run was closed early or failed: nothing half-read may be left
                self._release(slot, keep=False)
            self._busy = False

    def _run(self, jobs: Iterator[Job]) -> Iterator[Completion]:
        waiting: deque[tuple[Job, PromptTokens]] = deque()  # jobs that had to give their place back
        limit = most = self._decoder.n_slots
        ended = 0  # completions since the limit was changed
        exhausted = False
        while True:
            while len(self._running) < limit:
                if waiting:
                    job, prompt = waiting.popleft()
                elif exhausted or (read := next(jobs, None)) is None:
                    exhausted = True
                    break
                else:
                    job, prompt = read, self._encode(read)
                if not self._may_load(prompt):
                    waiting.appendleft((job, prompt))
                    break
                if not prompt.suffix:
                    yield Completion(job, EMPTY_PROMPT, "error", 0)
                elif not self._start(job, prompt):
                    if not self._running:
                        yield Completion(job, "the prompt does not fit in the engine's cache", "error", 0)
                        continue
                    waiting.appendleft((job, prompt))
                    limit, ended = len(self._running), 0
            if not self._running:
                return
            feeds = self._feeds()
            self._loaded = max(0, self._loaded - _SPACING)
            rows = self._decoder.step(feeds)
            if rows is None:
                if self._make_room():
                    continue
                # The youngest has the least to lose; its draws depend on its seed alone, so it will say the same.
                youngest = max(self._running, key=lambda slot: self._running[slot].started)
                lost = self._running[youngest]
                self._release(youngest, keep=False)
                if self._running:
                    waiting.appendleft((lost.draft.job, lost.prompt))
                    limit, ended = len(self._running), 0
                else:
                    yield Completion(lost.draft.job, "the prompt does not fit in the engine's cache", "error", 0)
                continue
            for completion in self._advance(feeds, rows):
                ended += 1
                yield completion
            if limit < most and ended >= 2 * limit:  # those that filled the cache have gone
                limit, ended = limit + 1, 0

    def _may_load(self, prompt: PromptTokens) -> bool:
        """Whether ``prompt`` may start now. Prefixes read one after another would keep the running ones waiting."""
        return not (self._loaded and self._running) or prompt.prefix in self._holders or prompt.prefix in self._held

    def _start(self, job: Job, prompt: PromptTokens) -> bool:
        """Give ``job`` a free slot that holds its prefix; False if the cache is full."""
        free = [slot for slot in range(self._decoder.n_slots) if slot not in self._running]
        slot = next((slot for slot in free if self._held[slot] == prompt.prefix), None)
        if slot is None:
            if not self._hold(prompt.prefix):
                return False
            slot = next((slot for slot in free if self._held[slot] is None), free[0])
            self._decoder.copy(self._holders[prompt.prefix], slot)
            self._held[slot] = prompt.prefix
        pending = list(prompt.suffix)
        if self._decoder.uniform and len(pending) > _LONG:  # a step of its own, so of a shape of its own
            for start in range(0, len(pending) - 1, self._decoder.most_tokens):
                self._decoder.step([Feed(slot, pending[:-1][start : start + self._decoder.most_tokens], False)])
            pending = pending[-1:]
        self._started += 1
        self._running[slot] = _Running(GrowingText(job, self._sampling, self._speller), prompt, pending, self._started)
        return True

    def _hold(self, prefix: tuple[int, ...]) -> bool:
        if prefix not in self._holders:
            if len(self._holders) >= self._decoder.n_holders:
                _, holder = self._holders.popitem(last=False)
            else:
                holder = next(h for h in range(self._decoder.n_holders) if h not in self._holders.values())
            if not self._decoder.load(holder, prefix) and not (
                self._make_room() and self._decoder.load(holder, prefix)
            ):
                self._decoder.unload(holder)
                return False
            self._holders[prefix] = holder
            self._loaded += len(prefix)
        self._holders.move_to_end(prefix)
        return True

    def _make_room(self) -> bool:
        """Drop every prefix that no running job needs; False if there was none."""
        wanted = {running.prompt.prefix for running in self._running.values()}
        found = False
        for prefix in [prefix for prefix in self._holders if prefix not in wanted]:
            self._decoder.unload(self._holders.pop(prefix))
            found = True
        for slot, held in enumerate(self._held):
            if held is not None and slot not in self._running:
                self._decoder.trim(slot, 0)
                self._held[slot] = None
                found = True
        return found

    def _feeds(self) -> list[Feed]:
        """What each running slot reads next: one token where it generates, as much of a prompt as there is room for."""
        if self._decoder.uniform:
            return self._uniform_feeds()
        room = self._decoder.most_tokens - len(self._running)
        feeds = []
        for slot, running in sorted(self._running.items()):
            size = min(len(running.pending), room + 1)
            room -= size - 1
            feeds.append(Feed(slot, running.pending[:size], size == len(running.pending)))
        return feeds

    def _uniform_feeds(self) -> list[Feed]:
        """One token a slot. Idle slots between running ones, or beside a lone one, read a token that is then dropped.

        Neighbours are computed together; a gap would split the step into parts of other shapes.
        """
        low, high = min(self._running), max(self._running)
        if low == high:
            low, high = (low, high + 1) if high + 1 < self._decoder.n_slots else (low - 1, high)
        feeds = []
        for slot in range(low, high + 1):
            if running := self._running.get(slot):
                feeds.append(Feed(slot, running.pending[:1], len(running.pending) == 1))
            else:
                feeds.append(Feed(slot, (0,), False))
        return feeds

    def _advance(self, feeds: Sequence[Feed], rows: npt.NDArray[np.float32]) -> Iterator[Completion]:
        row = iter(rows)
        finished = []
        for feed in feeds:
            running = self._running.get(feed.slot)
            if running is None:  # it only kept the step's shape
                self._decoder.trim(feed.slot, len(self._held[feed.slot] or ()))
                continue
            del running.pending[: len(feed.tokens)]
            if not feed.scores:
                continue
            token = running.draft.choose(next(row))
            if token is None:
                done: Completion | None = running.draft.failed("the model gave no finite scores; is its file damaged?")
            else:
                done = running.draft.add(token)
                running.pending.append(token)
            if done is not None:
                finished.append(done)
                self._release(feed.slot)
        yield from finished

    def _release(self, slot: int, keep: bool = True) -> None:
        running = self._running.pop(slot)
        self._decoder.trim(slot, len(running.prompt.prefix) if keep else 0)
        if not keep:
            self._held[slot] = None

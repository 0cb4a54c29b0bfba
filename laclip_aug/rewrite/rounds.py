"""Which completions a caption still needs, and what became of those that it got.

A caption has ``n`` places, each of one strategy. In every round each open place asks for some candidates. When all of
the caption's completions of the round are there, the places are settled in their order, so that the outcome depends on
neither the order in which completions arrive nor on other captions. A place whose prompt could not be run, and never
will be, is not asked for again.

What was drawn from a prompt is not drawn from it again in a later round: at a low temperature half of the further
attempts would bring the text that was refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from laclip_aug.augmenter import Outcome, Rejection, Rewrite, Told
from laclip_aug.errors import ModelError
from laclip_aug.generation.backend import Completion, Draws, Job
from laclip_aug.quality.gate import Gate
from laclip_aug.quality.signals import TextPair
from laclip_aug.rewrite.prompt import Prompt, shown_caption
from laclip_aug.rewrite.reply import Acceptance
from laclip_aug.seeding import derive

_KEPT_OF_A_REJECTION = 1000
_DIGITS = 4  # of what a writer tells; so few compress, and the gate sees no more of them than a later one will


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask for each caption: ``n`` texts, at most ``attempts`` rounds of ``candidates`` each, the best kept.

    A text that scores below ``good_score`` is kept, and better ones are looked for in the rounds that are left.
    """

    prompt: Prompt
    acceptance: Acceptance
    gate: Gate
    score: Callable[[str, str, float], float]
    n: int
    seed: int
    attempts: int
    candidates: int
    good_score: float | None = None

    @property
    def scores(self) -> bool:
        """Whether texts are compared at all."""
        return self.candidates > 1 or self.good_score is not None

    def strategy(self, place: int) -> str:
        """The strategy that makes text ``place``."""
        return self.prompt.strategies[place % len(self.prompt.strategies)]


@dataclass(slots=True)
class CaptionWork:
    """One caption on its way to an :class:`Outcome`."""

    caption: str
    plan: Plan
    shown: str = field(init=False)
    attempt: int = 0
    _texts: dict[int, Rewrite] = field(default_factory=dict)
    _scores: dict[int, float] = field(default_factory=dict)
    _rejections: list[Rejection] = field(default_factory=list)
    _refused: list[Rejection] = field(default_factory=list)
    _unrunnable: set[int] = field(default_factory=set)
    _tokens: int = 0
    _failed: str = ""
    _asked: dict[tuple[int, int], tuple[int, Job]] = field(default_factory=dict)
    _arrived: dict[tuple[int, int], Completion] = field(default_factory=dict)
    _known: dict[Job, tuple[Draws, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shown = shown_caption(self.caption)
        if not any(c.isalnum() for c in self.shown):
            self._rejections = [Rejection(self.plan.strategy(p), "source-empty") for p in range(self.plan.n)]
            self.attempt = self.plan.attempts

    @property
    def done(self) -> bool:
        """Whether every place is filled well enough, or no attempt is left, or there will be no result this time."""
        return bool(self._failed) or self.attempt >= self.plan.attempts or not self._open()

    def _open(self) -> list[int]:
        least = self.plan.good_score
        return [
            place
            for place in range(self.plan.n)
            if place not in self._unrunnable
            and (place not in self._texts or (least is not None and self._scores[place] < least))
        ]

    def jobs(self, number: int) -> Iterator[Job]:
        """The jobs of the next round; ``number`` names this caption in the tags."""
        plan = self.plan
        for place in self._open():
            strategy = plan.strategy(place)
            variant = plan.prompt.variant(strategy, self.caption, place, self.attempt)
            for candidate in range(plan.candidates):
                seed = derive(plan.seed, "completion", strategy, self.caption, place, self.attempt, candidate)
                job = plan.prompt.job(strategy, variant, self.shown, seed, (number, place, candidate))
                job = replace(job, known=self._known.get(_bare(job), ()))
                self._asked[place, candidate] = variant, job
                yield job

    def take(self, place: int, candidate: int, completion: Completion) -> bool:
        """Note a completion; True once the last of the round is there and the places are settled.

        Raises:
            ModelError: the completion answers no job of this caption, or one that was answered.
        """
        asked = self._asked.get((place, candidate))
        if asked is None or (place, candidate) in self._arrived or completion.job != asked[1]:
            raise ModelError("the backend answered a job that was not asked; a rewrite could reach a wrong caption")
        self._arrived[place, candidate] = completion
        self._tokens += completion.tokens
        if completion.finish == "failed" and not self._failed:
            self._failed = completion.text or "the backend gave no reason"
        if len(self._arrived) < len(self._asked):
            return False
        if not self._failed:
            self._settle()
        return True

    def _settle(self) -> None:
        plan = self.plan
        for key in sorted(self._asked):
            (place, _), (variant, _) = key, self._asked[key]
            strategy = plan.strategy(place)
            if self._arrived[key].finish == "error":
                self._unrunnable.add(place)
            if drawn := self._arrived[key].drawn:
                bare = _bare(self._asked[key][1])
                self._known[bare] = (*self._known.get(bare, ()), drawn)
            others = [rewrite.text for other, rewrite in self._texts.items() if other != place]
            text, reason = plan.acceptance.judge(self._arrived[key], plan.prompt.examples(strategy, variant), others)
            if reason is not None:
                self._rejections.append(Rejection(strategy, reason, text[:_KEPT_OF_A_REJECTION]))
                continue
            told = _told(self._arrived[key])
            (refusal,) = plan.gate.judge([TextPair.recalled(self.shown, text, told=told)])
            if refusal is not None:
                self._refused.append(Rejection(strategy, refusal.signal, text, refusal.value, told=told))
                continue
            score = plan.score(self.shown, text, self._arrived[key].log_likelihood) if plan.scores else 0.0
            if place not in self._texts or score > self._scores[place]:
                self._scores[place] = score
                self._texts[place] = Rewrite(strategy, text, told)
        self.attempt += 1
        self._asked.clear()
        self._arrived.clear()

    def outcome(self) -> Outcome:
        """What became of the caption: no result at all if one of its completions failed for no fault of its own."""
        if self._failed:
            return Outcome(self.caption, (), (), self._tokens, self._failed)
        rewrites = tuple(self._texts[place] for place in sorted(self._texts))
        # behind the texts that were accepted, which another gate is to prefer
        refused = [replace(r, place=place) for place, r in enumerate(self._refused, len(rewrites))]
        return Outcome(self.caption, rewrites, (*self._rejections, *refused), self._tokens)


def _bare(job: Job) -> Job:
    """The prompt alone: what was drawn from it is known to every later job that has it."""
    return replace(job, seed=0, tag=None, known=())


def _told(completion: Completion) -> Told | None:
    """What the writer told of the text, as it is kept; a likelihood of exactly 0 is that of an engine that has none."""
    return Told.of(_rounded(completion.log_likelihood or None), _rounded(completion.verdict))


def _rounded(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else round(float(number), _DIGITS)

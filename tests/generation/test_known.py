"""Texts that are known are not drawn again, and the others are as likely among themselves as they were."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare

from laclip_aug.generation.backend import Completion, Draws, Job, Sampling
from laclip_aug.generation.growing import GrowingText
from laclip_aug.generation.llamacpp import LlamaCppBackend
from laclip_aug.generation.local import LocalBackend
from laclip_aug.generation.plain import PlainLlamaBackend
from tests.generation.test_draws import textbook

SAMPLING = Sampling(temperature=0.6, top_p=0.9, max_new_tokens=4)
END = 0


class Letters:
    """A vocabulary: 0 ends a text, the others are letters."""

    def piece(self, token: int) -> bytes:
        return bytes([96 + token])

    def ends(self, token: int) -> bool:
        return token == END

    def word(self, text: str) -> int:
        raise AssertionError(text)


def logits(text: tuple[int, ...]) -> np.ndarray:
    """What a model that reads ``text`` would say of the five tokens."""
    return np.random.default_rng([7, *text]).normal(0, 1, 5).astype(np.float32)


def drawn(seed: int, known: tuple[Draws, ...] = (), sampling: Sampling = SAMPLING) -> Completion:
    draft = GrowingText(Job("", "", "", "", seed, known=known), sampling, Letters())
    text: tuple[int, ...] = ()
    while True:
        token = draft.choose(logits(text))
        assert token is not None
        text += (token,)
        if done := draft.add(token):
            return done


def every_text() -> dict[tuple[int, ...], float]:
    """Each text of at most four tokens, and how likely it is: the product of the textbook's probabilities."""
    found = {}
    for length in (1, 2, 3, 4):
        for text in itertools.product(range(5), repeat=length):
            ended = text[-1] == END or length == 4
            if ended and END not in text[:-1]:
                found[text] = math.prod(part for _, part in path(text))
    assert sum(found.values()) == pytest.approx(1)
    return {text: p for text, p in found.items() if p > 0}


def path(text: tuple[int, ...]) -> Draws:
    parts = [textbook(logits(text[:i]), SAMPLING.temperature, SAMPLING.top_p)[t] for i, t in enumerate(text)]
    return tuple((token, float(part)) for token, part in zip(text, parts, strict=True))


@pytest.mark.parametrize(("number", "times"), [(0, 1), (1, 1), (2, 1), (6, 1), (2, 2)])
def test_without_the_likeliest_texts_the_others_keep_their_odds(number: int, times: int) -> None:
    """Also where a text is told twice."""
    expected = every_text()
    known = sorted(expected, key=lambda text: -expected[text])[:number]
    draws = 3000
    counts = dict.fromkeys(expected, 0)
    for seed in range(draws):
        counts[tuple(token for token, _ in drawn(seed, tuple(map(path, known * times))).drawn)] += 1
    assert [counts[text] for text in known] == [0] * number
    left = 1 - sum(expected[text] for text in known)
    wanted = {text: draws * p / left for text, p in expected.items() if text not in known}
    common = [text for text in wanted if wanted[text] >= 5]
    rest = [text for text in wanted if wanted[text] < 5]
    observed = [*(counts[text] for text in common), sum(counts[text] for text in rest)]
    hoped = [*(wanted[text] for text in common), sum(wanted[text] for text in rest)]
    assert chisquare(observed, hoped).pvalue > 1e-3


def test_what_a_completion_tells_is_what_a_later_job_needs() -> None:
    """One after another, each told of all before: every text that top-p keeps comes once, until none is left."""
    known: tuple[Draws, ...] = ()
    for seed in range(len(every_text())):
        known += (drawn(seed, known).drawn,)
    texts = [tuple(token for token, _ in draws) for draws in known]
    assert sorted(texts) == sorted(every_text())


@pytest.mark.parametrize("engine", [LlamaCppBackend, PlainLlamaBackend])
def test_an_engine_draws_no_text_twice(tiny_gguf: Path, engine: type[LocalBackend]) -> None:
    """Three tokens at a low temperature: what is drawn from one prompt is often the same."""
    backend = engine(tiny_gguf, Sampling(0.3, 0.9, max_new_tokens=3), n_ctx=64, n_slots=2, n_threads=1)

    def texts(told: bool) -> list[tuple[int, ...]]:
        known: tuple[Draws, ...] = ()
        for seed in range(12):
            (found,) = backend.complete([Job("", "", "a dog", " =>", seed, known=known if told else ())])
            known += (found.drawn,)
        return [tuple(token for token, _ in draws) for draws in known]

    assert len(set(texts(told=False))) < 12
    assert len(set(texts(told=True))) == 12
    backend.close()


def test_a_text_that_is_the_only_one_comes_again() -> None:
    """At temperature 0 there is no other."""
    greedy = Sampling(temperature=0, max_new_tokens=4)
    first = drawn(0, sampling=greedy)
    assert drawn(1, (first.drawn,), greedy).text == first.text

"""The draw against the textbook computation: sort, cut at top-p, renormalise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from laclip_aug.errors import ConfigurationError
from laclip_aug.generation import sampling as ours
from laclip_aug.generation.backend import Sampling
from laclip_aug.generation.sampling import check, uniform


def draw(logits: np.ndarray, sampling: Sampling, seed: int, position: int) -> int | None:
    drawn = ours.draw(logits, sampling, seed, position)
    return None if drawn is None else drawn.token


def textbook(logits: np.ndarray, temperature: float, top_p: float) -> np.ndarray:
    """Probabilities ``[V]`` by sorting, in float64."""
    scaled = logits.astype(np.float64) / temperature
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    order = np.argsort(-p)
    before = np.cumsum(p[order]) - p[order]
    kept = np.zeros_like(p)
    kept[order[before < top_p]] = p[order[before < top_p]]
    return kept / kept.sum()


@pytest.mark.parametrize(
    ("size", "temperature", "top_p"),
    [(7, 0.9, 0.95), (300, 0.9, 0.95), (600, 1.5, 0.6), (40, 0.5, 1.0), (300, 3.0, 0.02)],
)
def test_frequencies_follow_temperature_then_top_p(size: int, temperature: float, top_p: float) -> None:
    logits = np.random.default_rng(size).normal(0, 2, size).astype(np.float32)
    expected = textbook(logits, temperature, top_p)
    sampling = Sampling(temperature, top_p)
    n = 6000
    counts = np.bincount([draw(logits, sampling, seed, 0) for seed in range(n)], minlength=size)
    assert counts[expected == 0].sum() == 0
    common = expected * n >= 5
    groups = [*counts[common], counts[~common].sum()], [*(expected[common] * n), expected[~common].sum() * n]
    observed, wanted = (np.array(g)[np.array(groups[1]) > 0] for g in groups)
    if len(observed) > 1:
        assert chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue > 1e-3


def test_temperature_comes_before_top_p() -> None:
    # Probabilities 0.6, 0.3, 0.1. At T = 2 they become 0.474, 0.335, 0.193: at p = 0.7 two tokens stay. With top-p
    # first, 0.6 alone is below 0.7, so two stay as well; at p = 0.5 only the first one does either way; p = 0.85 tells.
    logits = np.log(np.array([0.6, 0.3, 0.1], np.float32))
    seen = {draw(logits, Sampling(2.0, 0.85), seed, 0) for seed in range(400)}
    assert seen == {0, 1, 2}
    assert {draw(logits, Sampling(1.0, 0.85), seed, 0) for seed in range(400)} == {0, 1}


def test_greedy_takes_the_first_largest() -> None:
    assert draw(np.array([0, 3, 3, 1], np.float32), Sampling(temperature=0), 1, 0) == 1


def test_draws_depend_on_seed_and_position_only() -> None:
    logits = np.random.default_rng(0).normal(0, 1, 50).astype(np.float32)
    kept = logits.copy()
    first = [draw(logits, Sampling(), seed, position) for seed in range(20) for position in range(5)]
    assert first == [draw(logits, Sampling(), seed, position) for seed in range(20) for position in range(5)]
    assert len({draw(logits, Sampling(), 1, position) for position in range(60)}) > 5
    assert (logits == kept).all()


@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.02])
def test_the_log_probability_is_the_model_s_own(top_p: float) -> None:
    """Not that of the draw: a likelihood says the same of a text at any temperature."""
    logits = np.random.default_rng(5).normal(0, 2, 300).astype(np.float32)
    logits[7] = -np.inf
    p = textbook(logits, 1.0, 1.0)
    for seed in range(50):
        drawn = ours.draw(logits, Sampling(0.7, top_p), seed, 0)
        assert drawn is not None and drawn.log_probability == pytest.approx(np.log(p[drawn.token]), abs=1e-3)
    greedy = ours.draw(logits, Sampling(temperature=0), 0, 0)
    assert greedy == (int(logits.argmax()), pytest.approx(np.log(p.max()), abs=1e-5), 1.0)


@pytest.mark.parametrize(("temperature", "top_p"), [(0.7, 0.9), (2.0, 1.0), (0.5, 0.02)])
def test_a_draw_tells_the_probability_that_it_had(temperature: float, top_p: float) -> None:
    logits = np.random.default_rng(6).normal(0, 2, 300).astype(np.float32)
    expected = textbook(logits, temperature, top_p)
    for seed in range(50):
        drawn = ours.draw(logits, Sampling(temperature, top_p), seed, 0)
        assert drawn is not None and drawn.probability == pytest.approx(expected[drawn.token], rel=1e-4)


def test_uniform_is_uniform() -> None:
    values = np.array([uniform(seed, 3) for seed in range(4000)])
    assert values.min() >= 0
    assert values.max() < 1
    assert chisquare(np.histogram(values, bins=20, range=(0, 1))[0]).pvalue > 1e-3


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=700),
    st.floats(0.01, 5),
    st.floats(1e-6, 1),
    st.integers(0, 2**63),
)
def test_what_is_drawn_is_in_the_set(values: list[float], temperature: float, top_p: float, seed: int) -> None:
    logits = np.array(values, np.float32)
    token = draw(logits, Sampling(temperature, top_p), seed, 0)
    assert token is not None
    weights = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    assert weights[weights > weights[token] * (1 + 1e-4)].sum() < top_p * weights.sum() * (1 + 1e-4)


def test_excluded_tokens_and_broken_scores() -> None:
    logits = np.full(300, -np.inf, np.float32)
    logits[[17, 290]] = 0
    assert {draw(logits, Sampling(), seed, 0) for seed in range(50)} == {17, 290}
    assert draw(np.full(4, -np.inf, np.float32), Sampling(), 0, 0) is None
    assert draw(np.array([0, np.nan, 1], np.float32), Sampling(), 0, 0) is None


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=-1),
        Sampling(temperature=float("nan")),
        Sampling(temperature=1e-5),
        Sampling(top_p=0),
        Sampling(top_p=1.5),
        Sampling(max_new_tokens=0),
    ],
)
def test_impossible_sampling_is_refused(sampling: Sampling) -> None:
    with pytest.raises(ConfigurationError):
        check(sampling)

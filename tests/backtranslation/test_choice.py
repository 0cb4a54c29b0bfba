"""The keyed draw among translations."""

from __future__ import annotations

import math
from itertools import permutations

from laclip_aug.backtranslation.choice import ranked
from laclip_aug.backtranslation.translator import Translation, clean

THREE = [Translation("a", math.log(0.5)), Translation("b", math.log(0.3)), Translation("c", math.log(0.2))]


def test_temperature_zero_keeps_the_order() -> None:
    assert ranked(THREE, 0.0, 1, "caption") == THREE


def test_the_draw_is_a_function_of_its_key() -> None:
    drawn = [tuple(t.text for t in ranked(THREE, 1.0, seed, "caption")) for seed in range(50)]
    assert drawn == [tuple(t.text for t in ranked(THREE, 1.0, seed, "caption")) for seed in range(50)]
    assert set(drawn) == set(permutations("abc"))


def test_orders_come_as_often_as_sampling_without_replacement_says() -> None:
    """p(b, a, c) = 0.3 * 0.5 / 0.7 * 1, and so on; 6,000 keys, four standard deviations."""
    chances = {"a": 0.5, "b": 0.3, "c": 0.2}
    draws = 6000
    counts: dict[tuple[str, ...], int] = {}
    for seed in range(draws):
        order = tuple(t.text for t in ranked(THREE, 1.0, seed))
        counts[order] = counts.get(order, 0) + 1
    for order in permutations("abc"):
        first, second, _ = (chances[name] for name in order)
        expected = first * second / (1 - first)
        slack = 4 * math.sqrt(expected * (1 - expected) / draws)
        assert abs(counts[order] / draws - expected) < slack, order


def test_a_low_temperature_prefers_the_likeliest() -> None:
    firsts = [ranked(THREE, 0.05, seed)[0].text for seed in range(200)]
    assert firsts.count("a") > 190  # odds of a over b: (0.5 / 0.3) ** 20, above 27,000


def test_clean() -> None:
    assert clean("a\x00 dog\r\n\truns \ud800 ") == "a dog runs"
    assert clean("  ") == ""
    assert clean("日本語\u00a0犬 🐶") == "日本語 犬 🐶"

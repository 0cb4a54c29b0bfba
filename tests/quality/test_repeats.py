"""One text for many captions, by hand."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Iterable, Iterator

import pytest

from laclip_aug.augmenter import Outcome, Rewrite, Told
from laclip_aug.quality import repeats
from laclip_aug.quality.checks import folded
from laclip_aug.quality.content import content
from laclip_aug.quality.repeats import without_repeats

STOCK = "Children and pictures are not for this service"
OUTCOMES = [
    Outcome("children on a swing in a garden", (Rewrite("bard", STOCK), Rewrite("human", "a garden swing, children"))),
    Outcome("three children with a blue kite", (Rewrite("bard", STOCK.lower() + "."),)),
    Outcome("school children cross a street", (Rewrite("bard", STOCK),)),
    Outcome("the children of a farmer ride a horse", (Rewrite("bard", "Children somewhere far away"),)),
    Outcome("a dog sleeps", (Rewrite("bard", "A dog is asleep"),)),
    Outcome("A dog sleeps!", (Rewrite("bard", "A dog is asleep"),)),
    Outcome("a dog that sleeps", (Rewrite("bard", "A dog is asleep"),)),
]


def test_a_text_of_three_captions_that_says_little_of_any_is_rejected_in_any_order() -> None:
    expected = {outcome.caption: outcome.rewrites for outcome in OUTCOMES}
    expected[OUTCOMES[0].caption] = OUTCOMES[0].rewrites[1:]
    expected[OUTCOMES[1].caption] = expected[OUTCOMES[2].caption] = ()
    for order in range(20):
        shuffled = random.Random(order).sample(OUTCOMES, len(OUTCOMES))
        found = list(without_repeats(shuffled))
        assert {outcome.caption: outcome.rewrites for outcome in found} == expected
        assert sorted(r.text for o in found for r in o.rejections if r.reason == "repeated") == sorted(
            [STOCK, STOCK, STOCK.lower() + "."]
        )


def test_a_repeated_text_keeps_what_its_writer_told() -> None:
    told = Told(-0.5, 0.25)
    outcomes = [Outcome(o.caption, tuple(Rewrite(r.source, r.text, told) for r in o.rewrites)) for o in OUTCOMES]
    found = [text for o in without_repeats(outcomes) for text in (*o.rewrites, *o.rejections)]
    assert len(found) == 8 and all(text.told == told for text in found)


def test_two_captions_may_share_a_text_and_what_fits_is_not_held_back() -> None:
    assert list(without_repeats(OUTCOMES[:2])) == OUTCOMES[:2]
    stream = without_repeats(iter([OUTCOMES[3], OUTCOMES[4]]))
    assert next(stream) == OUTCOMES[4]


def test_captions_of_equal_content_are_one() -> None:
    same = [
        Outcome(f"{article} children in a big old red bus", (Rewrite("bard", STOCK),)) for article in ("", "the", "a")
    ]
    assert [outcome.rewrites for outcome in without_repeats(same)] == [(Rewrite("bard", STOCK),)] * 3


def suspects(names: Iterable[object]) -> Iterator[Outcome]:
    """Captions of different content, each with a text of its own that says nothing of it."""
    return (Outcome(f"vehicle {name} parked", (Rewrite("bard", f"Somewhere else, {name}th"),)) for name in names)


def test_a_text_is_known_as_long_as_it_turns_up_again_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "MOST_HELD", 3)
    children = OUTCOMES[:3]  # of other content, with the same text
    first, second, third, *others = suspects("abcdefgh")
    again = [children[0], first, children[1], second, children[2], third]
    kept = {outcome.caption: [r.text for r in outcome.rewrites] for outcome in without_repeats(again)}
    assert kept[children[0].caption] == [STOCK, "a garden swing, children"]  # let go before the third
    assert kept[children[1].caption] == kept[children[2].caption] == []
    long_ago = [children[0], children[1], first, second, third, *others, children[2]]
    assert [outcome.rewrites for outcome in without_repeats(long_ago)] == [outcome.rewrites for outcome in long_ago]


def test_memory_is_that_of_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "MOST_HELD", 100)
    used = []
    tracemalloc.start()
    try:
        stream = without_repeats(suspects(range(10_000)))
        for taken in range(1, 9_001):
            next(stream)
            if taken in (1_000, 9_000):
                content.cache_clear()
                folded.cache_clear()
                gc.collect()
                used.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert used[1] < 1.5 * used[0]

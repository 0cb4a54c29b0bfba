"""In-context examples by nearest neighbours: what is shown, to whom, and what it costs."""

import pytest

from laclip_aug import create_augmenter
from laclip_aug.errors import ConfigurationError
from laclip_aug.generation.scripted import ScriptedBackend
from laclip_aug.rewrite.choosing import choose_prompt
from laclip_aug.rewrite.examples import STRATEGIES, Pair, builtin_pairs

PAIRS = [
    Pair("a dog runs on the beach", "on the beach a dog is running"),
    Pair("a dog runs along the beach", "along the shore, a dog at a run"),
    Pair("two dogs run on a beach", "a beach with two running dogs"),
    Pair("vintage red sports car parked in a street", "parked: an old red sports car"),
    Pair("bowl of soup with bread", "bread beside a bowl of soup"),
    Pair("portrait of the president", "the president, portrayed"),
]


def shown(prompt, strategy: str, caption: str, place: int = 0, attempt: int = 0) -> tuple[Pair, ...]:
    return prompt.examples(strategy, prompt.variant(strategy, caption, place, attempt))


def test_the_three_nearest_are_shown_and_the_nearest_stands_last() -> None:
    prompt = choose_prompt(variants="nearest", examples={"own": PAIRS})
    assert shown(prompt, "own", "a dog runs on the beach") == (PAIRS[2], PAIRS[1], PAIRS[0])
    assert shown(prompt, "own", "a red sports car in the street")[-1] == PAIRS[3]
    job = prompt.job("own", prompt.variant("own", "soup with bread", 0, 0), "soup with bread", 1, None)
    assert job.prefix.endswith("\n\nbowl of soup with bread => bread beside a bowl of soup")
    assert (job.prefix + job.lead + job.body + job.tail).endswith("\n\nsoup with bread =>")


def test_further_attempts_and_further_texts_see_other_pairs() -> None:
    prompt = choose_prompt(variants="nearest", examples={"own": PAIRS})
    first, second, third = (shown(prompt, "own", "a dog runs on the beach", attempt=k) for k in range(3))
    assert (second[1:], third[2:]) == (first[:2], first[:1])
    assert shown(prompt, "own", "a dog runs on the beach", place=1) == second
    assert all(len(set(pairs)) == 3 for pairs in (first, second, third))


def test_every_variant_number_stands_for_three_pairs_of_its_strategy() -> None:
    prompt = choose_prompt(variants="nearest")
    for strategy in STRATEGIES:
        for attempt in range(20):
            pairs = shown(prompt, strategy, "два пса бегут 🐕", attempt=attempt)
            assert len(set(pairs)) == 3 and set(pairs) <= set(builtin_pairs(strategy))


def test_prefixes_are_hardly_shared() -> None:
    captions = [pair.caption for strategy in STRATEGIES for pair in builtin_pairs(strategy)]
    fixed, nearest = choose_prompt(), choose_prompt(variants="nearest")
    counts = [
        len({p.job("human", p.variant("human", c, 0, 0), c, 0, None).prefix for c in captions})
        for p in (fixed, nearest)
    ]
    assert counts[0] == 8
    assert counts[1] > len(set(captions)) / 2


def test_an_augmenter_shows_them_and_records_it() -> None:
    backend = ScriptedBackend(lambda job: "a dog is running over the beach")
    augmenter = create_augmenter("llm", backend=backend, variants="nearest", examples={"own": PAIRS}, gate="none")
    assert augmenter.augment(["a dog runs on the beach"], 1, 0) == [["a dog is running over the beach"]]
    assert augmenter.describe()["prompt"]["variants"] == "nearest"
    assert augmenter.fingerprint() != create_augmenter("llm", backend=backend, examples={"own": PAIRS}).fingerprint()


def test_a_copied_example_is_refused() -> None:
    backend = ScriptedBackend(lambda job: PAIRS[1].rewrite)
    augmenter = create_augmenter("llm", backend=backend, variants="nearest", examples={"own": PAIRS}, gate="none")
    (outcome,) = augmenter.outcomes(["a dog runs on the beach"], 1, 0)
    assert {rejection.reason for rejection in outcome.rejections} == {"example-copied"}


def test_another_word_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="give a number of prompts, or nearest"):
        choose_prompt(variants="neerest")

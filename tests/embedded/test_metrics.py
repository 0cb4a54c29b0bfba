"""Metrics against values worked out by hand."""

import pytest

from benchmarks.embedded_rewriter import metrics


def test_novelty_is_one_minus_word_overlap() -> None:
    assert metrics.novelty("a dog", "A cat.") == pytest.approx(2 / 3)
    assert metrics.novelty("a dog", "A dog!") == 0


def test_recall_counts_ties_by_their_share() -> None:
    documents = [["a red dog"], ["a blue boat"], ["a blue boat"]]
    assert metrics.recall_of(["red dog"], [0], documents) == 1
    assert metrics.recall_of(["blue boat"], [1], documents) == pytest.approx(0.5)
    assert metrics.recall_of(["blue boat"], [0], documents) == 0


def test_shares_name_what_changed() -> None:
    pairs = [
        ("two grey cats in Paris", "Two gray cats in Paris."),
        ("a red car", "a blue car"),
        ("a dog", "three dogs"),
        ("no dog", "a dog"),
    ]
    assert metrics.shares(pairs) == {
        "identical": 0, "changed": 0.5, "lost": 0.25, "negation_changed": 0.25, "names_kept": 1,
    }  # fmt: skip


def test_distinct_and_spread() -> None:
    assert metrics.distinct([["a dog", "A dog.", "a cat"], ["x"]]) == 1.5
    assert metrics.spread([["a dog", "a cat"]]) == pytest.approx(2 / 3)


def test_perplexity_prefers_what_was_seen() -> None:
    model = metrics.Trigrams(["a dog runs", "a dog sits"])
    words = ["a", "dog", "runs", "sits", "</s>", "other"]
    assert sum(model.probability(("a", "dog"), w) for w in words) == pytest.approx(1)
    assert model.perplexity(["a dog runs"]) < model.perplexity(["runs a dog"])

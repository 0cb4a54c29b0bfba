"""What a cache says of its sources: all of them, and how many rewrites a caption has at most from some of them."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path

from laclip_aug.augmenter import Outcome, Rewrite
from laclip_aug.cache.config import Config
from laclip_aug.cache.format import Counts
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.writer import CacheWriter


def test_sources_that_only_rows_name_are_sources(tmp_path: Path) -> None:
    with CacheWriter(tmp_path / "cache", Config("import", "test", seed=0, n=1, sources=("mine",))) as writer:
        for caption, source, number in (("a dog", "gpt", 2), ("a cat", "mine", 3), ("a cow", "gpt", 1)):
            writer.new([caption])
            writer.add(Outcome(caption, tuple(Rewrite(source, f"{caption} {j}") for j in range(number))))
        writer.finish()
    cache = CaptionCache(tmp_path / "cache")

    assert cache.sources == ("mine", "gpt")
    assert [cache.most(names) for names in (("mine", "gpt"), ("gpt",), ("mine",), ())] == [3, 2, 3, 0]


def test_the_largest_number_is_exact_for_any_choice_of_sources() -> None:
    rows = [
        dict(zip("abc", numbers, strict=True)) for numbers in product((0, 1, 3), (0, 2), (1, 4)) if sum(numbers) < 6
    ]
    counts = Counts()
    for row in rows:
        counts.widen(row)

    for size in range(4):
        for chosen in combinations("abc", size):
            assert counts.most_from(chosen) == max(sum(row[name] for name in chosen) for row in rows)


def test_very_many_combinations_are_bounded_from_above() -> None:
    counts = Counts()
    for number in range(200):
        counts.widen({"a": number, "b": 199 - number})

    assert len(counts.largest) <= 64
    assert counts.most_from("ab") >= 199
    assert counts.most_from("a") == 199

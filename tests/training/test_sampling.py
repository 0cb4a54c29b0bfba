"""The sampler: distribution, order, repetition, fall-backs; expected values by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laclip_aug.augmenter import CaptionAugmenter, Outcome, Rewrite
from laclip_aug.cache.format import Config
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.errors import CacheMissError, ConfigurationError, UnknownNameError
from laclip_aug.training.options import TextAugOptions
from laclip_aug.training.samplers import sampler_for
from laclip_aug.training.sampling import TextSampler
from laclip_aug.training.sources import AugmenterLookup

from .conftest import CAPTIONS, STRATEGIES, rewrite


class Table:
    """A lookup over a mapping."""

    sources = STRATEGIES

    def __init__(self, rows: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        self.rows = {caption: [Rewrite(*pair) for pair in pairs] for caption, pairs in rows.items()}

    def get(self, caption: str) -> Sequence[Rewrite] | None:
        return self.rows.get(caption)


FULL = Table({"a dog": [("chatgpt", "the dog"), ("bard", "one dog"), ("human", "my dog")]})


def shares(sampler: TextSampler, caption: str, epochs: int = 4000) -> dict[str, float]:
    counts = Counter(sampler.texts(caption, epoch)[0] for epoch in range(epochs))
    return {text: count / epochs for text, count in counts.items()}


def test_laclip_is_uniform_over_the_original_and_the_rewrites() -> None:
    found = shares(TextSampler(FULL), "a dog")

    # four texts, 4,000 draws: the standard deviation of a share is 0.007
    assert found == pytest.approx({"a dog": 0.25, "the dog": 0.25, "one dog": 0.25, "my dog": 0.25}, abs=0.03)


def test_laclip_is_uniform_over_what_there_is() -> None:
    table = Table({"a dog": [("human", "my dog")], "a cat": []})

    assert shares(TextSampler(table), "a dog") == pytest.approx({"a dog": 0.5, "my dog": 0.5}, abs=0.03)
    assert shares(TextSampler(table), "a cat", epochs=20) == {"a cat": 1.0}


@pytest.mark.parametrize(("probability", "original"), [(0.0, None), (0.7, 0.7), (1.0, 1.0)])
def test_the_originals_share_can_be_set(probability: float, original: float | None) -> None:
    found = shares(TextSampler(FULL, original_prob=probability), "a dog")

    assert found.get("a dog") == (None if original is None else pytest.approx(original, abs=0.03))
    for text in ("the dog", "one dog", "my dog"):
        assert found.get(text, 0.0) == pytest.approx((1 - probability) / 3, abs=0.03)


def test_strategies_restrict_and_order_the_texts() -> None:
    several = TextSampler(FULL, multi=True, strategies=("human", "chatgpt"))

    assert several.num_texts == 3
    assert several.texts("a dog", 0) == ("a dog", "my dog", "the dog")
    assert set(shares(TextSampler(FULL, strategies=("bard",)), "a dog", 100)) == {"a dog", "one dog"}
    with pytest.raises(UnknownNameError, match="did you mean 'bard'"):
        TextSampler(FULL, strategies=("brad",))


def test_multi_text_has_the_original_first_and_repeats_what_there_is() -> None:
    table = Table(
        {
            "a dog": [("chatgpt", "the dog"), ("bard", "one dog"), ("human", "my dog")],
            "a cat": [("human", "my cat")],
            "a boat": [],
        }
    )
    sampler = TextSampler(table, multi=True)

    assert sampler.texts("a dog", 3) == ("a dog", "the dog", "one dog", "my dog")
    assert sampler.texts("a cat", 3) == ("a cat", "my cat", "a cat", "my cat")
    assert sampler.texts("a boat", 3) == ("a boat",) * 4


def test_fewer_texts_than_there_are_change_with_the_epoch() -> None:
    sampler = TextSampler(FULL, multi=True, num_texts=3)
    drawn = Counter(sampler.texts("a dog", epoch) for epoch in range(3000))

    expected = {("a dog", "the dog", "one dog"), ("a dog", "the dog", "my dog"), ("a dog", "one dog", "my dog")}
    assert set(drawn) == expected
    assert all(count == pytest.approx(1000, abs=120) for count in drawn.values())


def test_one_text_in_multi_text_is_the_original() -> None:
    sampler = TextSampler(FULL, multi=True, num_texts=1)

    assert [sampler.texts(text, 0) for text in ("a dog", "never seen")] == [("a dog",), ("never seen",)]
    assert not sampler.changes_texts


@pytest.mark.parametrize("number", [0, 5])
def test_a_number_of_texts_out_of_range_is_refused(number: int) -> None:
    with pytest.raises(ConfigurationError, match="1 to 4"):
        TextSampler(FULL, multi=True, num_texts=number)


def test_a_text_of_one_word_gives_way_to_the_original() -> None:
    sampler = TextSampler(Table({"a dog": [("chatgpt", "dog"), ("bard", " "), ("human", "my dog")]}), multi=True)
    draw = sampler.draw("a dog", 0)

    assert draw.texts == ("a dog", "a dog", "a dog", "my dog")
    assert draw.sources == ("original", "original", "original", "human")
    assert draw.short == 2


@pytest.mark.parametrize(
    ("caption", "text"),
    [
        ("一只狗在海滩上奔跑", "海滩上有一只狗在跑"),
        ("犬が浜辺を走る", "浜辺を犬が走っている"),
        ("สุนัขวิ่งบนชายหาด", "บนชายหาดมีสุนัขวิ่ง"),
        ("ခွေးတစ်ကောင် ပြေးနေသည်", "ကမ်းခြေတွင်ခွေးပြေးနေသည်"),
        ("ឆ្កែរត់លើឆ្នេរ", "លើឆ្នេរមានឆ្កែរត់"),
    ],
)
def test_a_script_without_spaces_has_words_too(caption: str, text: str) -> None:
    multi = TextSampler(Table({caption: [("human", text), ("bard", text[0])]}), multi=True).draw(caption, 0)
    assert multi.texts == (caption, caption, text, caption)
    assert multi.short == 1
    single = TextSampler(Table({caption: [("human", text)]}))
    drawn = [single.texts(caption, epoch)[0] for epoch in range(300)]
    assert 110 < drawn.count(text) < 190  # a fair draw between two: 150, standard deviation 8.7


def test_a_caption_of_one_word_stays() -> None:
    draw = TextSampler(Table({"dog": []}), multi=True).draw("dog", 0)

    assert draw.texts == ("dog",) * 4
    assert draw.short == 0


def test_misses() -> None:
    with pytest.raises(CacheMissError, match="on-miss original"):
        TextSampler(FULL).draw("a whale", 0)
    draw = TextSampler(FULL, multi=True, on_miss="original").draw("a whale", 0)
    assert draw.texts == ("a whale",) * 4
    assert draw.missed


def test_white_space_around_a_caption_changes_no_choice(cache: Path) -> None:
    sampler = TextSampler(CaptionCache(cache))
    for caption in CAPTIONS:
        plain, spaced = sampler.draw(caption, 0), sampler.draw(f" {caption}\n", 0)
        assert plain.sources == spaced.sources


def test_the_real_cache_gives_the_rewrites_in_order(cache: Path) -> None:
    sampler = TextSampler(CaptionCache(cache), multi=True)

    assert sampler.texts("a red dog", 0) == ("a red dog", *(rewrite("a red dog", name) for name in STRATEGIES))


@settings(max_examples=50, deadline=None)
@given(caption=st.text(), epoch=st.integers(0, 1000), seed=st.integers(0, 1000))
def test_any_caption_gets_its_number_of_texts(caption: str, epoch: int, seed: int) -> None:
    rows = {caption: [("chatgpt", f"the {caption}"), ("human", caption)]}
    for count in (1, 3, 4):
        sampler = TextSampler(Table(rows), multi=True, num_texts=count, seed=seed)
        texts = sampler.texts(caption, epoch)
        assert len(texts) == count
        assert texts[0] == caption
        assert texts == sampler.texts(caption, epoch)


class Numbering(CaptionAugmenter):
    """Appends the number of the text, and the seed if asked; the second text is the caption itself."""

    name = "numbering"
    sources = ("odd", "even")

    def __init__(self, seeded: bool = False) -> None:
        self.seeded = seeded

    def augment(self, captions: Sequence[str], n: int, seed: int) -> list[list[str]]:
        end = f" {seed}" if self.seeded else ""
        return [[caption if j == 1 else f"{caption} {j}{end}" for j in range(n)] for caption in captions]

    def fingerprint(self) -> str:
        return "1"


def test_an_augmenter_is_a_lookup_without_unchanged_texts() -> None:
    lookup = AugmenterLookup(Numbering(), n=4, seed=9)

    expected = (Rewrite("odd", "a dog 0"), Rewrite("odd", "a dog 2"), Rewrite("even", "a dog 3"))
    assert lookup.get("a dog") == expected
    found = shares(TextSampler(lookup, pool=5), "a dog")
    assert found == pytest.approx({"a dog": 0.25, **{r.text: 0.25 for r in expected}}, abs=0.03)


def test_an_augmenter_makes_new_texts_in_each_epoch() -> None:
    made = {
        (seed, epoch): AugmenterLookup(Numbering(seeded=True), n=4, seed=seed).get("a dog", epoch)
        for seed in (0, 1)
        for epoch in (0, 1, 2)
    }
    assert len(set(made.values())) == 6
    again = TextSampler(AugmenterLookup(Numbering(seeded=True), n=4, seed=1), pool=5, original_prob=0.0, seed=1)
    assert {again.texts("a dog", 2)[0] for _ in range(3)} <= {rewrite.text for rewrite in made[1, 2]}


def uneven(directory: Path) -> CaptionCache:
    """An import whose rows name their own sources, each with another number of texts."""
    rows = {"a dog": ("gpt", 3), "a cat": ("mine", 1), "a cow": ("gpt", 1)}
    with CacheWriter(directory, Config("import", "test", seed=0, n=1, sources=("mine",))) as writer:
        for caption, (source, number) in rows.items():
            writer.new([caption])
            writer.add(Outcome(caption, tuple(Rewrite(source, f"{caption} {j}") for j in range(number))))
        writer.finish()
    return CaptionCache(directory)


@pytest.mark.parametrize(("chosen", "expected"), [(None, 4), (("gpt",), 4), (("mine",), 2), (("mine", "gpt"), 4)])
def test_uneven_caches_give_as_many_texts_as_a_caption_has_at_most(
    tmp_path: Path, chosen: tuple[str, ...] | None, expected: int
) -> None:
    cache = uneven(tmp_path / "uneven")
    sampler = sampler_for(TextAugOptions(mode="laclip-mt", cache=str(cache.directory), strategies=chosen))

    assert sampler.num_texts == expected
    if chosen is None:
        assert sampler.texts("a dog", 0) == ("a dog", "a dog 0", "a dog 1", "a dog 2")
        assert sampler.texts("a cat", 0) == ("a cat", "a cat 0", "a cat", "a cat 0")


def test_sources_that_only_rows_name_are_drawn(tmp_path: Path) -> None:
    sampler = sampler_for(TextAugOptions(mode="laclip", cache=str(uneven(tmp_path / "uneven").directory)))

    assert {sampler.draw("a dog", epoch).sources for epoch in range(50)} == {("original",), ("gpt",)}
    assert {sampler.draw("a cat", epoch).sources for epoch in range(50)} == {("original",), ("mine",)}


def test_no_text_is_there_twice_while_another_is_free() -> None:
    rows = {
        "a dog": [("chatgpt", "the dog"), ("bard", "the dog"), ("human", "my dog")],  # one text of two sources
        "a cat": [("chatgpt", "cat"), ("bard", "a cat"), ("human", "my cat")],  # too short, and the caption itself
        "a cow": [("chatgpt", "the cow")],
    }
    sampler = TextSampler(Table(rows), multi=True, num_texts=3)
    for epoch in range(40):
        assert sampler.texts("a dog", epoch) == ("a dog", "the dog", "my dog")
        assert sampler.texts("a cat", epoch) == ("a cat", "my cat", "a cat")
        assert sampler.texts("a cow", epoch) == ("a cow", "the cow", "a cow")
    assert {TextSampler(Table(rows), multi=True, num_texts=2).texts("a cow", epoch) for epoch in range(20)} == {
        ("a cow", "the cow")
    }

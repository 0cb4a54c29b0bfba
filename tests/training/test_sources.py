"""Several sources of texts in one run: names, weights, repeats, misses; the same in every loader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from laclip_aug.augmenter import Outcome, Rewrite
from laclip_aug.cache.config import Config
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.errors import CacheMissError, ConfigurationError, UnknownNameError
from laclip_aug.sentences import SentencesAugmenter
from laclip_aug.training import hook
from laclip_aug.training.options import TextAugOptions
from laclip_aug.training.samplers import origin, sampler_for
from laclip_aug.training.sampling import TextSampler
from laclip_aug.training.sources import AugmenterLookup, names_of

from .conftest import CAPTIONS, STRATEGIES, Dataset, make_cache
from .test_loaders import epoch_texts

DOG = "a red dog"
LONG = "A dog runs on the beach. The sky is blue. Two boats are near."


def imported(directory: Path, rows: Mapping[str, list[tuple[str, str]]], sources: tuple[str, ...] = ("own",)) -> Path:
    with CacheWriter(directory, Config("import", "test", seed=0, n=1, sources=sources)) as writer:
        for caption, texts in rows.items():
            writer.new([caption])
            writer.add(Outcome(caption, tuple(Rewrite(*text) for text in texts)))
        writer.finish()
    return directory


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of two texts of one source for every caption."""
    rows = {caption: [("own", f"my {caption}"), ("own", f"our {caption}")] for caption in CAPTIONS}
    return imported(tmp_path_factory.mktemp("mine") / "imported", rows)


def chi_square(drawn: Mapping[str, int], expected: Mapping[str, float]) -> float:
    """Of counts against shares; counts of other kinds are an error."""
    total = sum(drawn.values())
    assert set(drawn) == {name for name, share in expected.items() if share}
    return sum((drawn[name] - total * share) ** 2 / (total * share) for name, share in expected.items() if share)


def sources_drawn(sampler: TextSampler, caption: str = DOG, epochs: int = 6000) -> Counter[str]:
    """As ``epochs`` draws have them, of eight images."""
    draws = (sampler.draw(caption, number // 8, bytes([number % 8])) for number in range(epochs))
    return Counter(source for draw in draws for source in draw.sources)


def test_texts_of_a_source_are_drawn_by_its_weight(cache: Path, own: Path) -> None:
    weights = {"original": 1.0, "chatgpt": 0.5, "own": 0.3, "eda": 0.2, "human": 0.0}  # bard: 1
    options = TextAugOptions(mode="laclip", cache=(str(cache), str(own)), augmenters=("eda",), weights=weights)
    caption = "a man rides a bike near two big dogs"
    rows = {caption: [(s, f"{caption} {s}") for s in STRATEGIES]}
    folder = own.parent / "more"
    both = (
        str(imported(folder / "llm", rows, STRATEGIES)),
        str(imported(folder / "own", {caption: [("own", "x y"), ("own", "x z")]})),
    )
    sampler = sampler_for(TextAugOptions(mode="laclip", cache=both, augmenters=("eda",), weights=weights))
    drawn = sources_drawn(sampler, caption)

    assert sampler.strategies == sampler_for(options).strategies == ("chatgpt", "bard", "own", "eda")
    shares = {"original": 1 / 3, "chatgpt": 0.5 / 3, "bard": 1 / 3, "own": 0.1, "eda": 0.2 / 3}
    assert chi_square(drawn, shares) < 18.5  # the 0.999 quantile with four degrees of freedom
    texts = Counter(sampler.texts(caption, epoch)[0] for epoch in range(6000))
    assert texts["x y"] == pytest.approx(300, abs=75)  # half of its source's 600; standard deviation 17


def test_without_weights_every_text_is_as_likely(cache: Path, own: Path) -> None:
    sampler = sampler_for(TextAugOptions(mode="laclip", cache=(str(cache), str(own))))
    drawn = Counter(sampler.texts(DOG, epoch)[0] for epoch in range(6000))

    assert len(drawn) == 6
    assert chi_square(drawn, dict.fromkeys(drawn, 1 / 6)) < 20.5  # five degrees of freedom


def test_the_originals_probability_is_a_weight(cache: Path) -> None:
    by_option = sampler_for(TextAugOptions(mode="laclip", cache=str(cache), original_prob=0.5))
    weights = {"original": 3.0}  # of three others
    by_weight = sampler_for(TextAugOptions(mode="laclip", cache=str(cache), weights=weights))

    for caption in CAPTIONS:
        assert [by_option.draw(caption, e) for e in range(20)] == [by_weight.draw(caption, e) for e in range(20)]


def test_weights_count_among_the_sources_that_a_caption_has(tmp_path: Path) -> None:
    made = imported(tmp_path / "few", {DOG: [("b", "one red dog")], "a cat": []}, ("a", "b"))
    sampler = sampler_for(TextAugOptions(mode="laclip", cache=str(made), weights={"a": 8.0, "b": 3.0, "original": 1.0}))
    assert chi_square(sources_drawn(sampler), {"original": 0.25, "b": 0.75}) < 10.9
    never = sampler_for(TextAugOptions(mode="laclip", cache=str(made), weights={"original": 0.0}))
    assert sources_drawn(never, epochs=50) == {"b": 50}
    assert never.texts("a cat", 0) == ("a cat",)  # there is nothing else


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"weights": dict.fromkeys(("original", *STRATEGIES), 0.0)}, "leave no text to draw"),
        ({"weights": {"original": 0.0, "human": 0.0}, "strategies": ("human",)}, "leave no text to draw"),
        ({"weights": {"original": 1.0, "bard": 2.0}, "strategies": ("human",)}, "bard has a weight and is not chosen"),
    ],
)
def test_weights_that_choose_nothing_are_refused(cache: Path, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        sampler_for(TextAugOptions(mode="laclip", cache=str(cache), **changes))


def test_a_source_that_is_not_chosen_may_be_left_out_twice(cache: Path) -> None:
    options = TextAugOptions(mode="laclip", cache=str(cache), strategies=("human",), weights={"bard": 0.0})
    assert sampler_for(options).strategies == ("human",)


def test_several_texts_are_drawn_by_the_weights_without_repeats(cache: Path, own: Path) -> None:
    """Two of three by weights 4, 2, 1, one after another: what is drawn first has a share w, what is second w/(1-w)."""
    weights = {"chatgpt": 4.0, "bard": 2.0, "human": 1.0}
    sampler = sampler_for(TextAugOptions(mode="laclip-mt", cache=str(cache), num_texts=3, weights=weights))
    pairs = Counter(sampler.draw(DOG, epoch).sources[1:] for epoch in range(6000))

    def both(a: float, b: float) -> float:
        return a / 7 * b / (7 - a) + b / 7 * a / (7 - b)

    expected = {("chatgpt", "bard"): both(4, 2), ("chatgpt", "human"): both(4, 1), ("bard", "human"): both(2, 1)}
    total = sum(pairs.values())
    assert set(pairs) == set(expected)
    assert sum((pairs[p] - total * e) ** 2 / (total * e) for p, e in expected.items()) < 13.8  # two degrees of freedom
    several = sampler_for(TextAugOptions(mode="laclip-mt", cache=(str(cache), str(own)), num_texts=4))
    for epoch in range(100):
        texts = several.texts(DOG, epoch)
        assert texts[0] == DOG
        assert len(set(texts)) == 4
    with pytest.raises(ConfigurationError, match="--text-aug-num-texts 3"):
        sampler_for(TextAugOptions(mode="laclip-mt", cache=str(cache), weights=weights))


def test_all_texts_of_all_sources(cache: Path, own: Path) -> None:
    options = TextAugOptions(mode="laclip-mt", cache=(str(own), str(cache)), augmenters=("sentences:2",))
    sampler = sampler_for(options)

    assert sampler.num_texts == 1 + 2 + 3 + 2
    assert sampler.draw(DOG, 0).sources[:6] == ("original", "own", "own", *STRATEGIES)


def test_equal_names_are_told_apart_by_their_place(cache: Path, tmp_path: Path) -> None:
    other = make_cache(tmp_path / "other", CAPTIONS)
    caches = [CaptionCache(cache), CaptionCache(other)]
    names = names_of(caches)

    assert list(names[1].values()) == [f"other/{strategy}" for strategy in STRATEGIES]
    assert list(names[0].values()) == [f"{cache.name}/{strategy}" for strategy in STRATEGIES]
    sampler = TextSampler(*caches, strategies=("other/bard",), seed=1)
    assert {source for epoch in range(20) for source in sampler.draw(DOG, epoch).sources} == {"original", "other/bard"}
    with pytest.raises(UnknownNameError, match="did you mean 'other/bard'"):
        TextSampler(*caches, weights={"othr/bard": 1.0})
    again = make_cache(tmp_path / "deeper" / "other", CAPTIONS)
    with pytest.raises(ConfigurationError, match="two sources of texts are called other/chatgpt"):
        names_of([CaptionCache(other), CaptionCache(again)])


def test_every_cache_has_to_know_a_caption(cache: Path, own: Path, tmp_path: Path) -> None:
    few = imported(tmp_path / "few", {"a whale": [("few", "one whale")]})
    with pytest.raises(CacheMissError, match="in the cache few"):
        TextSampler(CaptionCache(cache), CaptionCache(few)).draw(DOG, 0)

    sampler = TextSampler(CaptionCache(cache), CaptionCache(few), on_miss="original")
    draws = [sampler.draw(DOG, epoch) for epoch in range(100)]
    assert {draw.missed for draw in draws} == {1}
    assert {source for draw in draws for source in draw.sources} == {"original", *STRATEGIES}
    assert sampler.draw("neither knows it", 0).missed == 2


def test_sentences_need_no_cache() -> None:
    sampler = sampler_for(TextAugOptions(mode="laclip", augmenters=("sentences",), weights={"original": 0.0}))
    lookup = AugmenterLookup(SentencesAugmenter(), 1, seed=0)

    texts = {sampler.texts(LONG, epoch)[0] for epoch in range(200)}
    assert texts == {lookup.get(LONG, epoch)[0].text for epoch in range(200)}
    assert len(texts) == 5  # three sentences, and two pairs of neighbours
    assert sampler.draw(DOG, 0).sources == ("original",)
    by_image = {sampler.texts(LONG, 0, bytes([number]))[0] for number in range(30)}
    assert len(by_image) > 1  # images that share a caption do not share what is made of it


def test_the_texts_fingerprint_is_of_all_sources(cache: Path, own: Path) -> None:
    def of(**options: object) -> dict[str, str]:
        return origin(sampler_for(TextAugOptions(mode="laclip", **options)))  # type: ignore[arg-type]

    prints = [
        of(cache=str(cache))["fingerprint"],
        of(cache=str(own))["fingerprint"],
        of(cache=(str(cache), str(own)))["fingerprint"],
        of(cache=str(cache), augmenters=("eda",))["fingerprint"],
        of(cache=str(cache), augmenters=("sentences",))["fingerprint"],
    ]
    assert len(set(prints)) == 5
    assert '"from": "imported"' in of(cache=(str(cache), str(own)))["texts"]


@pytest.mark.parametrize("mode", ["laclip", "laclip-mt"])
def test_all_loaders_draw_the_same(dataset: Dataset, cache: Path, own: Path, mode: str) -> None:
    options = TextAugOptions(
        mode=mode,
        cache=(str(cache), str(own)),
        augmenters=("eda", "sentences"),
        weights={"original": 1.0, "chatgpt": 0.5, "eda": 2.0},
        num_texts=3 if mode == "laclip-mt" else None,
        seed=7,
    )
    with hook.install(options):
        expected = epoch_texts(dataset, str(dataset.csv), (0, 1, 2))
        assert expected[0] != expected[1]
        for data in (str(dataset.csv), dataset.shards):
            for workers in (0, 2):
                assert epoch_texts(dataset, data, (0, 1, 2), workers) == expected
            assert epoch_texts(dataset, data, (2,), 2) == expected[2:]  # resumed after epoch 1

"""Near-duplicate captions: which fold, what they get, and that order, kills and earlier runs do not chain them."""

from __future__ import annotations

import tracemalloc
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from laclip_aug.augmenter import CaptionAugmenter, Outcome, Rewrite
from laclip_aug.cache import folding
from laclip_aug.cache.browse import find, records
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cli import main
from laclip_aug.errors import CacheMismatchError, ConfigurationError
from laclip_aug.quality import leaders, neighbours
from laclip_aug.quality.attributes import attributes
from laclip_aug.quality.leaders import Leaders
from laclip_aug.quality.neighbours import NGrams
from laclip_aug.quality.signals import TextPair

LONG = "a young couple in winter clothes walks hand in hand along the frozen lake towards the old wooden boat house"


class Numbering(CaptionAugmenter):
    """Answers ``seen N``, later ones first; stops after ``stops`` captions, and fails those in ``failing``."""

    name, sources = "numbering", ("one",)

    def __init__(self, stops: int = 1_000_000, failing: Sequence[str] = ()) -> None:
        self.stops, self.failing, self.asked = stops, failing, list[str]()

    def augment(self, captions: Sequence[str], n: int, seed: int) -> list[list[str]]:
        raise NotImplementedError

    def outcomes(self, captions: Iterable[str], n: int, seed: int) -> Iterator[Outcome]:
        self.asked = list(captions)
        for number, caption in enumerate(reversed(self.asked)):
            if number == self.stops:
                raise RuntimeError("the machine went away")
            if caption in self.failing:
                yield Outcome(caption, (), (), 0, "the server went away")
            else:
                yield Outcome(caption, (Rewrite("one", f"rewritten: {caption}"),))

    def fingerprint(self) -> str:
        return "numbering"


def captions_file(path: Path, captions: Iterable[str]) -> Path:
    path.write_text("".join(f"{caption}\n" for caption in captions), encoding="utf-8")
    return path


def folds(captions: Sequence[str], threshold: float = 0.98) -> list[str | None]:
    return Leaders(threshold).fold(captions, [True] * len(captions))


def cosine(one: str, other: str) -> float:
    return NGrams().measure([TextPair(one, other)])[0]


def test_spelling_folds_and_meaning_does_not() -> None:
    assert folds([LONG, LONG.capitalize() + ".", LONG + " !"]) == [None, LONG, LONG]
    assert folds(["a dog runs on the beach", "a cat runs on the beach"]) == [None, None]
    assert folds(["two dogs", "Two dogs.", "three dogs"]) == [None, "two dogs", None]


def test_other_numbers_colours_and_negation_never_fold() -> None:
    base = f"{LONG} with a red roof, no snow, photographed on the 3rd day of a trip that took 12 days in all"
    for change in (("red", "reddish brown"), ("12", "13"), (", no snow", ", snow"), ("3rd", "4th")):
        other = base.replace(*change)
        assert cosine(base, other) >= 0.9  # so alike that a threshold alone is near to folding them
        assert folds([base, other]) == [None, None], change
    very = " ".join([LONG] * 4)
    assert cosine(f"{very} 12", f"{very} 13") >= 0.98
    assert folds([f"{very} 12", f"{very} 13"]) == [None, None]


def test_words_of_scripts_with_vowel_signs_and_without_spaces_do_not_fold() -> None:
    on_the_table = ["मेज़ पर बाल", "मेज़ पर बिल", "मेज़ पर बैल", "मेज़ पर बेल"]  # hair, a bill, a bull, a vine
    assert folds(on_the_table) == [None] * 4
    assert folds(["मेज़ पर बाल", unicodedata.normalize("NFD", "मेज़ पर बाल।")]) == [None, "मेज़ पर बाल"]
    reading = "กำลังนั่งอ่านหนังสืออยู่บนม้านั่งในสวนสาธารณะใกล้กับสระน้ำขนาดใหญ่ในตอนเช้า"
    assert folds([f"ผู้ชาย{reading}", f"ผู้หญิง{reading}"]) == [None, None]  # a man, a woman
    assert folds(["いぬがねこをみている", "ねこがいぬをみている"]) == [None, None]  # who looks at whom
    assert folds(["一只狗坐在草地上", "一只狗坐在草地上。"]) == [None, "一只狗坐在草地上"]


def test_likeness_does_not_chain() -> None:
    # without punctuation and capitals the signal's cosine is the one that counts
    words = (LONG + " while the evening sun sets behind the snowy hills and a dog with a stick runs ahead").split()
    steps = [" ".join(words)]
    while cosine(steps[0], steps[-1]) >= 0.98:  # words leave at the end, one by one, until the first is not alike
        words = words[:-1]
        steps.append(" ".join(words))
    assert len(steps) >= 3 and cosine(steps[-2], steps[-1]) >= 0.98
    assert folds(steps) == [None, *[steps[0]] * (len(steps) - 2), None]


def test_the_nearest_leader_is_taken() -> None:
    one, other = f"{LONG} in the evening light", f"{LONG} at night, in the morning fog and at noon"
    assert cosine(one, other) < 0.98
    assert folds([one, other, other + ".", one + "."]) == [None, None, other, one]


def test_what_may_not_lead_does_not() -> None:
    assert Leaders(0.98).fold([LONG, LONG + "."], [False, True]) == [None, None]
    assert folds(["", "", "42", "42"]) == [None, None, None, "42"]


def test_cells_find_what_an_exhaustive_search_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    words = "dog cat beach car street river woman man boat snow tree house field ball game food plate table".split()
    captions = [" ".join(rng.choice(words, 12)) for _ in range(600)]
    captions += [captions[i].capitalize() + "." for i in rng.integers(0, 600, 200)]
    exact = folds(captions)
    assert sum(leader is not None for leader in exact) >= 200
    for module in (leaders, neighbours):
        monkeypatch.setattr(module, "EXACT", 50)
    celled, found = Leaders(0.98), []
    for start in range(0, len(captions), 40):
        slab = captions[start : start + 40]
        found += celled.fold(slab, [True] * len(slab))
    assert found == exact


def test_how_many_are_folded_at_a_time_changes_nothing() -> None:
    captions = [f"{LONG}, photo {number}{end}" for end in ("", ".", " !") for number in (17, 18, 19)]
    captions = [*captions, LONG, "a red boat", LONG.upper(), "A red boat!", "a blue boat"]
    seventeen, eighteen, nineteen = captions[:3]
    expected = [None, None, None, *[seventeen, eighteen, nineteen] * 2, None, None, LONG, "a red boat", None]
    for size in (1, 4, len(captions)):
        some, found = Leaders(0.98), []
        for start in range(0, len(captions), size):
            slab = captions[start : start + size]
            found += some.fold(slab, [True] * len(slab))
        assert found == expected, size


def test_a_template_with_many_numbers_costs_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    """All alike, and none folds: a shop's pictures, whose colours and numbers were read again for each two of them."""
    read: list[str] = []
    monkeypatch.setattr(leaders, "attributes", lambda text: read.append(text) or attributes(text))
    captions = [f"{LONG}, on sale at the old town's largest shop, reference number {1000 + i}" for i in range(300)]
    shop = Leaders(0.98)
    for start in (0, 100, 200):
        assert shop.fold(captions[start : start + 100], [True] * 100) == [None] * 100
    assert read == captions


def test_many_near_duplicates_at_once_cost_no_objects_for_each_two() -> None:
    captions = [LONG + "." * (i % 40) + "!" * (i // 40) for i in range(1000)]
    some = Leaders(0.98)
    tracemalloc.start()
    try:
        assert some.fold(captions, [True] * 1000) == [None, *[LONG] * 999]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * 1000**2  # the cosines are 4 bytes each; a tuple with two numbers is 112


@pytest.mark.parametrize("threshold", [0.5, 0.9799, 1.01, float("nan")])
def test_a_looser_threshold_is_refused(threshold: float) -> None:
    with pytest.raises(ConfigurationError, match=r"from 0\.98 to 1"):
        Leaders(threshold)


CAPTIONS = [
    LONG, "a dog on a beach", LONG + ".", "a red boat", LONG.upper(), "A dog on a beach!", "a blue boat",
    "a dog on a beach",
]  # fmt: skip
LEADERS = {LONG + ".": LONG, LONG.upper(): LONG, "A dog on a beach!": "a dog on a beach"}


def test_a_folded_caption_has_its_leaders_rewrites_under_its_own_key(tmp_path: Path, capsys) -> None:
    source = captions_file(tmp_path / "captions.txt", CAPTIONS)
    augmenter = Numbering()
    report = build_cache(source, tmp_path / "cache", augmenter, fold=0.98)
    assert augmenter.asked == [LONG, "a dog on a beach", "a red boat", "a blue boat"]
    assert (report.made, report.folded, report.repeated) == (4, 3, 1)
    assert "4 captions made, 3 folded onto a near-duplicate, 1 repeated" in "\n".join(report.lines())
    assert report.cache.captions == report.cache.with_rewrites == 7
    cache = CaptionCache(tmp_path / "cache")
    for caption in CAPTIONS:
        (rewrite,) = cache.get(caption) or ()
        assert rewrite.text == f"rewritten: {LEADERS.get(caption, caption)}"
    assert {r.caption: folding.leader_of(r) for r in records(tmp_path / "cache") if folding.leader_of(r)} == LEADERS
    assert main(["cache", "show", str(tmp_path / "cache"), LONG + "."]) == 0
    assert f"  folded onto: {LONG}\n" in capsys.readouterr().out
    assert report.cache.rejections == {}


def test_a_rewrite_that_is_the_folded_caption_itself_is_no_rewrite_of_it(tmp_path: Path) -> None:
    source = captions_file(tmp_path / "captions.txt", ["a dog", "rewritten: a dog", "Rewritten: a dog", "A DOG"])
    build_cache(source, tmp_path / "cache", Numbering(), fold=0.98)
    record = find(tmp_path / "cache", "A DOG")
    assert record is not None and record.rewrites == (Rewrite("one", "rewritten: a dog"),)


def test_a_stopped_build_goes_on_as_it_would_have_gone(tmp_path: Path) -> None:
    captions = [*CAPTIONS, LONG + " ...", "a dog, on a beach", "a red boat.", "a green boat"]
    source = captions_file(tmp_path / "captions.txt", captions)
    build_cache(source, tmp_path / "whole", Numbering(), fold=0.98, shard_rows=3)
    whole = {record.caption: record for record in records(tmp_path / "whole")}
    for stops in range(5):
        directory = tmp_path / f"stopped-{stops}"
        with pytest.raises(RuntimeError):
            build_cache(source, directory, Numbering(stops), fold=0.98, shard_rows=3)
        report = build_cache(source, directory, Numbering(), fold=0.98, shard_rows=3)
        assert {record.caption: record for record in records(directory)} == whole
        assert report.cache.captions == len(whole)


def test_later_inputs_fold_onto_leaders_and_never_onto_folded_captions(tmp_path: Path) -> None:
    first = captions_file(tmp_path / "first.txt", CAPTIONS)
    build_cache(first, tmp_path / "cache", Numbering(), fold=0.98)
    other_order = captions_file(tmp_path / "second.txt", [LONG + ".", LONG + " .", LONG])
    augmenter = Numbering()
    build_cache(other_order, tmp_path / "cache", augmenter, fold=0.98)
    assert augmenter.asked == [LONG + " ."]  # its nearest of this input was folded itself, so it leads
    more = captions_file(tmp_path / "third.txt", [*CAPTIONS, "a Red boat"])
    report = build_cache(more, tmp_path / "cache", Numbering(), fold=0.98)
    assert (report.made, report.folded) == (0, 1)
    record = find(tmp_path / "cache", "a Red boat")
    assert record is not None and record.rewrites == (Rewrite("one", "rewritten: a red boat"),)


def test_a_failed_leader_fails_its_followers_too_and_the_next_run_makes_all(tmp_path: Path) -> None:
    source = captions_file(tmp_path / "captions.txt", CAPTIONS)
    report = build_cache(source, tmp_path / "cache", Numbering(failing=[LONG]), fold=0.98)
    assert (report.made, report.folded, report.failed["the server went away"]) == (3, 1, 3)
    report = build_cache(source, tmp_path / "cache", Numbering(), fold=0.98)
    assert (report.made, report.folded, report.cache.captions) == (1, 2, 7)


def test_a_folding_build_is_another_configuration(tmp_path: Path) -> None:
    source = captions_file(tmp_path / "captions.txt", CAPTIONS)
    build_cache(source, tmp_path / "cache", Numbering(), fold=0.98)
    config = read_manifest(tmp_path / "cache").config
    assert config.describe["fold"] == 0.98
    assert config.fingerprint != "numbering-fold-0.98"  # of caches that folded Hindi captions of other words
    with pytest.raises(CacheMismatchError, match=r"fold: 0\.98 there, None asked for"):
        build_cache(source, tmp_path / "cache", Numbering())

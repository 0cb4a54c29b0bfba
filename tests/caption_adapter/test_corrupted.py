"""Sound texts made false: what each kind may make of a text, by hand, with a few nouns and adjectives."""

from __future__ import annotations

import random
from pathlib import Path

import nltk
import pytest

from benchmarks.caption_adapter import corrupted
from benchmarks.caption_adapter.corrupted import KINDS, Words, corrupt, wordnet_words
from laclip_aug.eda.wordnet import WordNetMissingError

WORDS = Words(frozenset({"dog", "ball", "cat", "grass", "park", "building"}), frozenset({"red", "big", "in"}))


def made(kind: str, text: str, caption: str = "", donors: tuple[str, ...] = ()) -> set[str]:
    """All that ``kind`` makes of ``text`` in 3,000 draws of any kind."""
    draws = (corrupt(caption, text, random.Random(seed), WORDS, donors) for seed in range(3000))
    return {draw[1] for draw in draws if draw is not None and draw[0] == kind}


def test_two_nouns_change_places_each_with_the_marks_of_the_other() -> None:
    assert made("swapped", "A dog chases a cat.") == {"A cat chases a dog."}
    assert made("swapped", "Dogs chase a cat.") == {"Cat chase a dogs."}
    assert made("swapped", "Dogs near grass in a park") == {
        "Grass near dogs in a park",
        "Park near grass in a dogs",
        "Dogs near park in a grass",
    }


@pytest.mark.parametrize(
    "text",
    [
        "a dog and a cat",
        "a dog or a cat",
        "a dog, near a cat",
        "dog park",
        "a dog by a dog",
        "a dog runs",
        "the building",
    ],
)
def test_nouns_that_are_listed_next_to_each_other_or_alone_do_not(text: str) -> None:
    assert made("swapped", text) == set()


def test_another_preposition() -> None:
    found = made("preposition", "A bowl of fish in water")
    assert {"A bowl of fish under water", "A bowl of fish next to water", "A bowl of fish from water"} <= found
    assert all(text.startswith("A bowl of fish ") and text.endswith(" water") for text in found)
    assert "A bowl of fish in water" not in found and len(found) == 20
    assert "In front of trees we met" in made("preposition", "Behind trees we met")
    assert made("preposition", "a bowl of fish for us") == set()


def test_a_noun_of_another_text_that_the_caption_does_not_have() -> None:
    donors = "horse", "frisbee", "dog", "owl"
    assert made("foreign", "A dog runs.", "a dog, and a frisbee", donors) == {"A horse runs.", "A owl runs."}
    assert made("foreign", "A dog runs.", "Dogs and howls", ("dog", "owl")) == set()
    assert made("foreign", "A dog runs.") == set()
    assert made("foreign", "She runs.", "", donors) == set()


def test_a_small_word_less() -> None:
    assert made("dropped", "It is full of water") == {"It full of water", "It is full water"}
    assert made("dropped", "She runs") == set()


def test_a_noun_stands_once_more_before_a_noun() -> None:
    assert made("doubled", "A dog sees the cat.") == {
        "A dog dog sees the cat.",
        "A cat dog sees the cat.",
        "A dog sees the dog cat.",
        "A dog sees the cat cat.",
    }
    assert made("doubled", "She sees it.") == set()


def test_an_adjective_moves_to_another_noun() -> None:
    assert made("adjective", "A red dog sees a cat.") == {"A dog sees a red cat."}
    assert made("adjective", "A dog sees a Big cat.") == {"A big dog sees a cat."}
    assert made("adjective", "A dog sees red.") == set()  # it stands before no noun
    assert made("adjective", "A red dog runs.") == set()
    assert made("adjective", "A dog is in grass near the park") == set(), "`in` is an adjective of WordNet's"


def test_a_long_word_is_misspelt_and_a_name_before_others() -> None:
    letters = "aeiourstnlmkgbdp"
    other = {f"She met {word}." for x in letters for word in (f"P{x}ris", f"Pa{x}is", f"Par{x}s")} - {"She met Paris."}
    longer = {f"She met {word}." for x in letters for word in (f"P{x}aris", f"Pa{x}ris", f"Par{x}is")}
    less = {f"She met {word}." for word in ("Pris", "Pais", "Pars")}
    exchanged = {f"She met {word}." for word in ("Prais", "Pairs", "Parsi")}
    found = made("misspelt", "She met Paris.")
    assert found <= other | longer | less | exchanged
    assert found >= less | exchanged and found & other and found & longer
    assert all(text.endswith(" often") for text in made("misspelt", "we met Paris often"))
    assert made("misspelt", "Never a dog") and made("misspelt", "some dogs") == set()
    assert made("misspelt", "a T-shirt") == made("misspelt", "in Киев, Россия") == set()


def test_neighbours_change_places_but_for_the_first_word() -> None:
    assert made("neighbours", "A dog runs home.") == {"A runs dog home.", "A dog home. runs"}
    assert made("neighbours", "A dog") == made("neighbours", "She ran, ran") == set()


def test_phrases_in_another_order() -> None:
    assert made("phrases", "a dog on grass in a park") == {"a dog in a park on grass", "grass on a dog in a park"}
    assert made("phrases", "On grass in a park") == set()  # what stands first has no phrase before it


def test_another_verb() -> None:
    found = made("verb", "A dog is sitting here")
    assert {"A dog is riding here", "A dog is eating here"} <= found and len(found) == 10
    assert "A dog is sitting here" not in found
    assert made("verb", "A king brings rings") == set()


@pytest.mark.parametrize(
    "text", ["", " ", ".", "Dog", "a  dog", "Dog dog Dog.", "in in in", "Sitting. sitting", "é à ü"]
)
def test_what_comes_out_is_never_the_text_up_to_case_and_full_stop(text: str) -> None:
    for seed in range(2000):
        found = corrupt("", text, random.Random(seed), WORDS, ["dog", "Dog"])
        assert found is None or found[1].lower().strip(" .") != text.lower().strip(" .")


def test_kinds_are_drawn_as_often_as_they_say() -> None:
    rng = random.Random(1)
    draws = [corrupt("", "A red dog sees the cat on grass with balls", rng, WORDS, ["horse"]) for _ in range(24000)]
    counts = {kind: sum(draw is not None and draw[0] == kind for draw in draws) for kind in KINDS}
    # always to be had of this text: three of 24, three, two, one, two and two
    often = {"preposition": 3, "foreign": 3, "dropped": 2, "doubled": 1, "neighbours": 2, "phrases": 2}
    found = {kind: counts[kind] / 1000 for kind in often}
    assert found == pytest.approx(often, rel=0.1)
    assert counts["verb"] == 0 and counts["misspelt"] > 1500  # "grass" and "balls"


@pytest.mark.parametrize(
    ("token", "noun"),
    [
        ("Dog,", True),
        ("dogs", True),
        ("grass", True),
        ("gras", False),
        ("building", False),
        ("in", False),
        ("cats's", False),
    ],
)
def test_what_is_a_noun(token: str, noun: bool) -> None:
    assert WORDS.is_noun(token) is noun


def test_words_are_those_of_an_installed_wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    with pytest.raises(WordNetMissingError, match=r"python -m nltk\.downloader wordnet"):
        wordnet_words()
    entries = {"noun": "dog n 1 0 1 1 02084071\nhot_dog n 1 0 1 1 07697537\n", "adj": "red a 1 0 1 1 00381097\n"}
    monkeypatch.setattr(
        corrupted,
        "read_corpus",
        lambda: {f"index.{pos}": f"  1 This software is licensed\n{text}".encode() for pos, text in entries.items()},
    )
    assert wordnet_words() == Words(frozenset({"dog"}), frozenset({"red"}))

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laclip_aug.eda.tokens import (
    _WORD,
    is_bound,
    is_name,
    is_protected,
    move_capital,
    repair_article,
    split,
    takes_an,
    with_case_of,
)


def words(caption: str) -> list[str]:
    return split(caption)[1::2]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A dog runs.", ["A", "dog", "runs"]),
        ("well-dressed kids' party (outside), fun!", ["well-dressed", "party", "outside", "fun"]),
        ("see http://a.org/dog www.dog.com me@dog.org #dog @dog now", ["see", "now"]),
        ("<PERSON> and <END PERSON> walk", ["and", "walk"]),
        ('a sign that says "stop the car" here', ["a", "sign", "that", "says", "here"]),
        ("a “stop the car” and 'go home' sign", ["a", "and", "sign"]),
        ("the dog's bowl isn't 'ere", ["the", "dog's", "bowl", "isn't"]),
        ("3d 2 dogs 4x4 1920s mp3", ["dogs"]),
        ("café naïve über", ["café", "naïve", "über"]),
        ("dog/cat a.b cat_dog and", ["and"]),
        ("see it ! . ..", ["see", "it"]),
        ("a  b .c", ["a", "b"]),
        ("dogs- -cats 'tis James' and", ["and"]),
        ("一只狗 собака כלב 🐶 dog", ["dog"]),
        ("cafe\u0301 dog", ["dog"]),  # a combining accent belongs to its letter
        ("{name} is ``quoted text'' here", ["is", "here"]),
        ("", []),
        ("dog", ["dog"]),
    ],
)
def test_what_counts_as_a_word(caption: str, expected: list[str]) -> None:
    assert words(caption) == expected


@given(st.text(st.characters(), max_size=200))
def test_split_loses_nothing(caption: str) -> None:
    parts = split(caption)
    assert "".join(parts) == caption
    assert len(parts) % 2 == 1


@given(st.text(st.sampled_from("ab \"'“”‘’`<>{}#@-."), max_size=60))
def test_split_loses_nothing_among_marks(caption: str) -> None:
    parts = split(caption)
    assert "".join(parts) == caption
    assert len(parts) % 2 == 1


@pytest.mark.parametrize(
    "word", ["Red", "two", "NOT", "isn't", "isn’t", "left", "black-and-white", "two-story", "third"]
)
def test_protected_words(word: str) -> None:
    assert is_protected(word)


@pytest.mark.parametrize("word", ["dog", "well-dressed", "redder-ish", "ones's"])
def test_other_words_are_not(word: str) -> None:
    assert not is_protected(word)


def test_words_behind_a_colour_number_or_negation_stay() -> None:
    parts = split("a red car and 3 dogs, not big")
    assert [word for i, word in enumerate(parts) if i % 2 and is_bound(parts, i)] == [
        "red",
        "car",
        "dogs",
        "not",
        "big",
    ]


@pytest.mark.parametrize(
    ("word", "pattern", "expected"),
    [
        ("puppy", "dog", "puppy"), ("puppy", "Dog", "Puppy"), ("puppy", "DOG", "PUPPY"), ("adult", "A", "Adult"),
        ("puppy", "iDog", "puppy"),
    ],
)  # fmt: skip
def test_case(word: str, pattern: str, expected: str) -> None:
    assert with_case_of(word, pattern) == expected


@pytest.mark.parametrize("word", ["apple", "hour", "Honest", "umbrella", "uninhabited", "elephant", "ant", "usher"])
def test_an(word: str) -> None:
    assert takes_an(word)


@pytest.mark.parametrize(
    "word", ["dog", "unicorn", "university", "European", "one-way", "used", "house", "ewe", "utensil"]
)
def test_a(word: str) -> None:
    assert not takes_an(word)


@pytest.mark.parametrize(
    ("caption", "place", "expected"),
    [
        ("a apple", 3, "an apple"), ("An dog", 3, "A dog"), ("AN DOG", 3, "A DOG"), ("A APPLE", 3, "AN APPLE"),
        ("vitamin A apple", 5, "vitamin A apple"), ("Eat A Apple", 5, "Eat An Apple"), ("a, apple", 3, "a, apple"),
    ],
)  # fmt: skip
def test_repair_article(caption: str, place: int, expected: str) -> None:
    parts = split(caption)
    repair_article(parts, place)
    assert "".join(parts) == expected


def test_the_sentence_keeps_its_capital() -> None:
    parts = split("runs dog The")
    move_capital(parts, "The")
    assert "".join(parts) == "Runs dog the"
    parts = split("visits Paris")
    move_capital(parts, "Paris")
    assert "".join(parts) == "Visits Paris"


def test_names() -> None:
    parts = split("President Bush by the bush")
    assert [is_name(parts, place) for place in range(1, len(parts), 2)] == [False, True, False, False, False]
    parts = split("Shop For A Bush")
    assert not any(is_name(parts, place) for place in range(1, len(parts), 2))


@given(st.text(st.sampled_from("abé犬1 \n-,.:!?()['#@&|"), max_size=60).filter(lambda text: text.count("'") < 2))
def test_pieces_between_spaces_split_as_the_whole_caption_does(caption: str) -> None:
    found = _WORD.split(caption)
    assert split(caption)[1::2] == found[1::2]
    assert "".join(split(caption)) == caption


def test_a_long_caption_without_words_takes_linear_time() -> None:
    caption = "1 犬 " * 200_000
    assert split(caption) == [caption]

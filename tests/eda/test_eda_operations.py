"""Each operation on captions where the outcome can be worked out by hand."""

from collections import Counter

import pytest

from laclip_aug.eda.operations import Draws, delete_words, insert_synonyms, replace_synonyms, swap_words
from laclip_aug.eda.sources import load_table
from laclip_aug.eda.tokens import split
from laclip_aug.seeding import caption_number, derive


def outcomes(operation, caption: str, alpha: float, synonyms: str, draws: int = 300) -> set[str]:
    table = load_table(synonyms)
    texts = set()
    for seed in range(draws):
        parts = split(caption)
        operation(parts, alpha, table, Draws(derive(seed)))
        texts.add("".join(parts))
    return texts


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("the dog", {"the hound", "the canine"}),
        ("The dogs, there!", {"The hounds, there!", "The canines, there!"}),
        ("TWO DOGS", {"TWO HOUNDS", "TWO CANINES"}),
        ("Dog here", {"Hound here", "Canine here"}),
        ("an apple", {"a fruit"}),
        ("A nut here", {"An acorn here"}),
        ("the women", {"the ladies"}),
        ("he rides", {"he pedals", "he drives"}),
        ("a man riding it", {"a man pedaling it", "a man driving it"}),
        # past and participle must both be known: "sat" is both, so is "rested"
        ("he sat", {"he rested"}),
        # "rode" is only the past, so the past of the synonym fits
        ("he rode it", {"he pedaled it", "he drove it"}),
        ("he hurries", {"he rushes"}),
        # "hit" is base, past and participle; of the synonyms only "cut" is too
        ("he hit it", {"he cut it"}),
        # a candidate with a colour or a number in it is never used
        ("big thing", {"large thing"}),
        ("quick thing", {"rapid thing"}),
        # noun after an article, verb after a pronoun, left alone where neither is clear
        ("the train", {"the locomotive"}),
        ("they train", {"they teach"}),
        ("people train", {"people train"}),
        ("hot dog", {"hot dog"}),
        ("a red thing", {"a red thing"}),
        ("nothing known", {"nothing known"}),
        ("President Car visits", {"President Car visits"}),
        ("Big Car", {"Large Car", "Big Automobile"}),
        ("dog-car (dogs)", {"dog-car (hounds)", "dog-car (canines)"}),
    ],
)
def test_synonym_replacement(caption: str, expected: set[str], synonyms: str) -> None:
    assert outcomes(replace_synonyms, caption, 0.1, synonyms) == expected


def test_the_number_of_replacements_follows_alpha(synonyms: str) -> None:
    caption = "dog car nut dog car nut dog car nut dog"
    for alpha, edits in ((0.05, 1), (0.1, 1), (0.3, 3), (0.59, 5), (1.0, 10)):
        for text in outcomes(replace_synonyms, caption, alpha, synonyms, draws=50):
            assert sum(a != b for a, b in zip(caption.split(), text.split(), strict=True)) == edits


def test_random_insertion(synonyms: str) -> None:
    assert outcomes(insert_synonyms, "the dog runs", 0.1, synonyms) == {
        "the hound dog runs", "the canine dog runs", "the dog hound runs", "the dog canine runs",
    }  # fmt: skip
    assert outcomes(insert_synonyms, "an apple", 0.1, synonyms) == {"a fruit apple"}
    assert outcomes(insert_synonyms, "A DOG", 0.1, synonyms) == {"A HOUND DOG", "A CANINE DOG"}
    assert outcomes(insert_synonyms, "Dog runs", 0.1, synonyms) == {"Dog hound runs", "Dog canine runs"}
    assert outcomes(insert_synonyms, "Big Nut Shop", 0.1, synonyms) == {
        "Big large Nut Shop", "Big Nut large Shop", "Big Acorn Nut Shop", "Big Nut Acorn Shop",
    }  # fmt: skip


def test_the_number_of_insertions_follows_alpha(synonyms: str) -> None:
    for text in outcomes(insert_synonyms, "dog car nut dog car nut dog car nut dog", 0.4, synonyms, draws=50):
        assert len(text.split()) == 14


def test_random_swap(synonyms: str) -> None:
    assert outcomes(swap_words, "The dog runs", 0.1, synonyms) == {"Dog the runs", "Runs dog the", "The runs dog"}
    assert outcomes(swap_words, "see an apple", 0.1, synonyms) == {"a see apple", "apple a see", "see apple an"}
    assert outcomes(swap_words, "see a dog, eat nuts!", 0.1, synonyms) >= {
        "see an eat, dog nuts!",
        "nuts a dog, eat see!",
    }


def test_a_swap_leaves_what_colours_and_numbers_belong_to(synonyms: str) -> None:
    assert outcomes(swap_words, "two dogs near a red car", 0.1, synonyms) == {"two dogs near a red car"}
    assert outcomes(swap_words, "not big, dog 3 cars it", 0.1, synonyms) == {"not big, it 3 cars dog"}


def test_random_deletion(synonyms: str) -> None:
    assert outcomes(delete_words, "The dog runs", 0.5, synonyms) == {
        "The dog runs", "Dog runs", "The runs", "The dog",
    }  # fmt: skip
    assert outcomes(delete_words, "a big apple", 0.5, synonyms) == {"a big apple", "big apple", "an apple", "a big"}
    assert outcomes(delete_words, "one red car", 1.0, synonyms) == {"one red car"}
    assert outcomes(delete_words, "see (dog) it now!", 1.0, synonyms) == {"see (dog) it!"}
    # between two marks a word stays: "dogs, , nuts" would be broken
    assert outcomes(delete_words, "dogs, cars, nuts", 1.0, synonyms) == {"dogs, cars, nuts"}


def test_deletion_takes_each_word_with_probability_alpha(synonyms: str) -> None:
    table = load_table(synonyms)
    caption = " ".join(["word"] * 50)
    left = 0
    for seed in range(400):
        parts = split(caption)
        delete_words(parts, 0.1, table, Draws(derive(seed)))
        left += len(parts) // 2
    # 20,000 words, standard deviation of the deleted 42: five of them either way
    assert abs(20_000 - left - 2_000) < 212


def test_draws_are_uniform() -> None:
    counts = Counter(Draws(derive(seed)).below(6) for seed in range(6_000))
    assert set(counts) == set(range(6))
    # chi-square with 5 degrees of freedom: 25.7 is the 0.0001 quantile
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 25.7


def test_consecutive_draws_are_independent() -> None:
    counts: Counter[tuple[int, int]] = Counter()
    for seed in range(9_000):
        draws = Draws(derive(seed))
        counts[draws.below(3), draws.below(3)] += 1
    # 8 degrees of freedom: 31.8 is the 0.0001 quantile
    assert sum((counts[a, b] - 1000) ** 2 / 1000 for a in range(3) for b in range(3)) < 31.8


def test_many_draws_from_one_key_are_uniform() -> None:
    """Far more than the key's own 256 bits hold."""
    draws = Draws(caption_number(0, "a dog"))
    counts = Counter(draws.below(6) for _ in range(6_000))
    assert sum((counts[i] - 1000) ** 2 / 1000 for i in range(6)) < 25.7


def test_hits_at_the_ends_of_the_range() -> None:
    draws = Draws(caption_number(0, "a dog"))
    assert draws.hits(5, 1.0) == [0, 1, 2, 3, 4]
    assert draws.hits(1000, 5e-324) == []
    assert draws.hits(0, 0.5) == []


def test_hits_at_each_place_alike() -> None:
    counts: Counter[int] = Counter()
    for seed in range(4_000):
        counts.update(Draws(caption_number(seed, "a dog")).hits(10, 0.3))
    # 1,200 expected at each of ten places, variance 840; 35.6 is the 0.0001 quantile with 10 degrees of freedom
    assert sum((counts[i] - 1200) ** 2 / 840 for i in range(10)) < 35.6


def test_the_key_depends_on_seed_and_caption() -> None:
    captions = ["", "a dog", "a dog ", "\ud800"]
    assert len({caption_number(seed, caption) for seed in (-1, 0, 1, 2**70) for caption in captions}) == 16

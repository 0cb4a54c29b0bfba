"""Texts of a caption's sentences: all are said, equally often, as long as the model reads."""

from collections import Counter

import pytest

from laclip_aug.augmenter import create_augmenter
from laclip_aug.errors import ConfigurationError
from laclip_aug.quality.cliptokens import clip_token_count
from laclip_aug.sentences import SentencesAugmenter

SENTENCES = [f"Dog {name} runs on the wide beach." for name in ("one", "two", "three", "four", "five")]
CAPTION = " ".join(SENTENCES)


def test_the_registry_knows_it() -> None:
    made = create_augmenter("sentences", most=2)
    assert (made.name, made.sources, made.describe()["most"]) == ("sentences", ("sentences",), 2)
    assert made.fingerprint() != SentencesAugmenter().fingerprint()


def test_single_sentences_are_each_there_once() -> None:
    (texts,) = SentencesAugmenter(most=1).augment([CAPTION], 7, seed=0)

    assert sorted(texts[:5]) == sorted(SENTENCES)
    assert texts[5:] == [CAPTION] * 2  # there are no others


def test_joined_sentences_follow_each_other_and_say_all() -> None:
    rows = {" ".join(SENTENCES[i : i + k]) for k in (1, 2, 3) for i in range(6 - k)}
    for seed in range(50):
        (texts,) = SentencesAugmenter().augment([CAPTION], 5, seed)
        assert set(texts) <= rows
        assert len(set(texts)) == 5
        assert all(any(sentence in text for text in texts) for sentence in SENTENCES)
    (all_of_them,) = SentencesAugmenter().augment([CAPTION], 12, seed=0)
    assert set(all_of_them) == rows


def test_each_sentence_is_drawn_as_often() -> None:
    drawn = Counter(SentencesAugmenter(most=1).augment([CAPTION], 1, seed)[0][0] for seed in range(3000))

    # 600 of each, standard deviation 22; the 0.999 quantile of chi-square with four degrees of freedom
    assert sum((drawn[sentence] - 600) ** 2 / 600 for sentence in SENTENCES) < 18.5


def test_texts_are_a_function_of_seed_and_caption() -> None:
    augmenter = SentencesAugmenter()
    other = CAPTION.replace("Dog", "Cat")

    together = augmenter.augment([other, CAPTION], 4, seed=3)
    assert together[1] == augmenter.augment([CAPTION], 4, seed=3)[0]
    assert together[1] != augmenter.augment([CAPTION], 4, seed=4)[0]


def test_a_caption_of_one_sentence_stands_in() -> None:
    captions = ["a dog on the beach", "", "Wow! Dr. Lee's dog", "狗在海滩"]
    assert SentencesAugmenter().augment(captions, 2, seed=0) == [[caption] * 2 for caption in captions]


def test_sentences_are_not_joined_beyond_what_the_model_reads() -> None:
    long = [f"A {colour} dog " + "runs and runs and " * 7 + "sleeps." for colour in ("red", "blue", "green", "black")]
    assert all(30 < clip_token_count(sentence) < 40 for sentence in long)

    for seed in range(20):
        (texts,) = SentencesAugmenter().augment([" ".join(long)], 4, seed)
        assert all(clip_token_count(text) <= 77 for text in texts)
        assert any(len(text) > 200 for text in texts) or set(texts) == set(long)


@pytest.mark.parametrize("most", [0, True, 1.5, "2"])
def test_a_senseless_number_is_refused(most: object) -> None:
    with pytest.raises(ConfigurationError, match="1 or more"):
        SentencesAugmenter(most=most)  # type: ignore[arg-type]

"""Word-level signals by values worked out by hand, and the registry."""

import hashlib
import json
import math
import unicodedata
from dataclasses import replace
from types import SimpleNamespace

import pytest

from laclip_aug.errors import ConfigurationError, UnknownNameError
from laclip_aug.quality import sound, stems, truth
from laclip_aug.quality.signals import TextPair, create_signal, meaning_of, signal_names
from laclip_aug.quality.stems import Vocabulary, counted, stem, stems_of, words_of
from laclip_aug.quality.words import Tfidf, novelty, words

OURS = {
    "words", "tfidf", "novelty", "likelihood", "verdict", "sound", "truth", "ngrams", "rank", "neighbours", "sentence",
    "support", "worst-support", "omission", "entails", "entailed-by", "clip", "clip-gain",
}  # fmt: skip


def test_our_signals_come_by_the_same_door_as_those_of_others() -> None:
    names = set(signal_names())
    assert names > OURS
    assert "shared-letters" in names  # registered by the plug-in that the tests install
    assert all(meaning_of(name) for name in names)


def test_a_signal_of_another_package() -> None:
    pairs = [TextPair("abc", "abd"), TextPair("abc", "xyz")]
    assert create_signal("shared-letters").measure(pairs) == [0.5, 0.0]


def test_names_are_suggested_and_models_are_refused_where_there_are_none() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'tfidf'"):
        create_signal("tfdif")
    with pytest.raises(ConfigurationError, match="takes no model"):
        create_signal("words(some-model)")
    with pytest.raises(ConfigurationError, match="takes no model"):
        create_signal("tfidf(some-model)")
    with pytest.raises(ConfigurationError, match="names no signal"):
        create_signal("words(")
    with pytest.raises(ConfigurationError, match="needs a model"):
        create_signal("clip")


@pytest.mark.parametrize(
    ("word", "same"), [("dogs", "dog"), ("walking", "walks"), ("guys", "man"), ("sofa", "couch"), ("running", "run")]
)
def test_stems(word: str, same: str) -> None:
    assert stem(word) == stem(same)


def test_letters_of_unspaced_scripts_are_words() -> None:
    assert stems_of("海滩上的狗") == ("海", "滩", "上", "的", "狗")
    assert stems_of("The guys are walking") == ("man", "walk")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("एक काला कुत्ता।", ["एक", "काला", "कुत्ता"]),
        ("একটি কালো কুকুর", ["একটি", "কালো", "কুকুর"]),
        ("நாய் ஓடுகிறது", ["நாய்", "ஓடுகிறது"]),
        ("كَلْبٌ أسود", ["كَلْبٌ", "أسود"]),
        ("Un chien au café, à İzmir", ["un", "chien", "au", "café", "à", "i\u0307zmir"]),
        ("1\ufe0f\u20e3 dog \u2764\ufe0f", ["1", "dog"]),  # what makes an emoji of a character is no mark of a letter
        ("snake_case isn't one", ["snake", "case", "isn", "t", "one"]),
    ],
)
def test_words_have_their_letters_marks_composed_or_not(text: str, expected: list[str]) -> None:
    expected = [unicodedata.normalize("NFC", word) for word in expected]
    for form in ("NFC", "NFD"):
        assert words_of(unicodedata.normalize(form, text)) == expected


def test_vowel_signs_tell_words_apart() -> None:
    assert novelty("लाल कार", "लाल कर") == pytest.approx(2 / 3)  # one of three: a red car, red do
    assert words("नीला बाल", "नीला बिल") < 0 < words("नीला बाल", "नीला बाल।")


def test_gates_of_other_words_are_others() -> None:
    """Of the vocabulary's file alone was the hash of gates that saw Indic words without their vowels."""
    assert stems.content_hash() != hashlib.sha256(stems.FILE.read_bytes()).hexdigest()[:16]


@pytest.fixture
def flat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stem is equally rare, so that shares are counts."""
    import numpy as np

    from laclip_aug.quality import words as word_level

    vocabulary = Vocabulary(99, {}, {}, np.zeros((0, 1), np.float32))
    for module in (stems, word_level, truth):
        monkeypatch.setattr(module, "shipped", lambda: vocabulary)
    word_level._rarities.cache_clear()
    yield
    word_level._rarities.cache_clear()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the dogs run on green grass", 1),  # all of it
        ("dogs on the green grass", 3 / 4),  # kept 3 of 4
        ("dogs run on green grass beside tractors", 1 - 1.3 * 2 / 6),  # "beside" and "tractors" of 6 are new
        ("a man with dogs that run on green grass", 1 - 1.3 / 5 - 0.4),  # a stranger
        ("dogs run with dogs on green grass", 1 - 0.5),  # repeated
        ("a cat sleeps", 0 - 1.3),
        ("", 0 - 1.3),
    ],
)
def test_words_by_hand(flat: None, text: str, expected: float) -> None:
    assert words("dogs run on green grass", text) == pytest.approx(expected)


def test_a_rare_word_weighs_more_than_a_common_one() -> None:
    caption = "a man holds a ukulele"
    assert words(caption, "a man holds") < words(caption, "a ukulele that is held")


def test_novelty_by_hand() -> None:
    assert novelty("a brown dog", "the brown dog") == 0.5  # 2 of 4
    assert novelty("a dog", "A dog!") == 0
    assert novelty("", "") == 0


def test_tfidf_by_hand_with_the_rarities_of_a_corpus() -> None:
    signal = Tfidf()
    signal.learn(["dog grass", "dog snow", "cat"])
    # idf = log(4 / (1 + count)): dog log(4/3), grass, snow and cat log 2
    dog, other = math.log(4 / 3), math.log(2)
    alike = dog**2 / (dog**2 + other**2)
    assert signal.measure([TextPair("dog grass", "dog snow")]) == [pytest.approx(alike)]
    assert signal.measure([TextPair("dog grass", "grass, dogs")]) == [pytest.approx(1)]
    assert signal.measure([TextPair("dog grass", "cat"), TextPair("", "cat")]) == [0, 0]


def test_how_rare_a_word_is_is_reckoned_once_for_a_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    reckoned: list[float] = []
    monkeypatch.setattr(stems, "math", SimpleNamespace(log=lambda number: reckoned.append(number) or math.log(number)))
    signal = Tfidf()
    signal.learn(["dog grass", "dog snow", "cat"])
    signal.measure([TextPair(f"the {place} dog grass", f"a dog {place} snow") for place in ["a", "the", "in", "on"]])
    assert len(reckoned) == 3  # dog, grass, snow


def test_a_corpus_is_counted_by_caption() -> None:
    vocabulary = counted(["dog dog", "a dog", "cat"])
    assert (vocabulary.documents, vocabulary.counts["dog"], vocabulary.counts["cat"]) == (3, 2, 1)


def test_likelihood_is_what_the_pair_carries() -> None:
    values = create_signal("likelihood").measure([TextPair("a", "b", -1.5), TextPair("a", "b")])
    assert values[0] == -1.5
    assert math.isnan(values[1])


def test_a_verdict_is_what_the_pair_carries() -> None:
    values = create_signal("verdict").measure([TextPair("a", "b", -1.5, verdict=0.25), TextPair("a", "b", -1.5)])
    assert values[0] == 0.25
    assert math.isnan(values[1])


def test_the_shipped_vocabulary_knows_captions() -> None:
    vocabulary = stems.shipped()
    assert vocabulary.rarity["dog"] < vocabulary.rarity["ukulel"] <= vocabulary.rarity["zzzz"]
    assert stems.FILE.stat().st_size < 150_000

    def cosine(a: str, b: str) -> float:
        return float(vocabulary.vectors[vocabulary.rows[stem(a)]] @ vocabulary.vectors[vocabulary.rows[stem(b)]])

    assert cosine("kitten", "cat") > cosine("kitten", "train")


HOSTILE = ["", ", " * 20_000, "with " * 3000, "\0", "日本語の写真", "a " * 20_000, "\ud800", "x" * 100_000, "🐶🐶🐶"]


@pytest.mark.parametrize("name", ["words", "tfidf", "novelty", "truth", "ngrams", "rank", "neighbours"])
def test_hostile_texts_have_a_number(name: str) -> None:
    pairs = [TextPair(a, b) for a in HOSTILE for b in ("a dog", *HOSTILE[:2])] + [TextPair("a dog", b) for b in HOSTILE]
    values = create_signal(name).measure(pairs)
    assert len(values) == len(pairs)
    assert not any(math.isnan(value) or math.isinf(value) for value in values)
    assert create_signal(name).measure([]) == []


def test_hostile_texts_with_a_verdict_have_a_number_too() -> None:
    values = create_signal("sound").measure([TextPair(a, b, -90.0, verdict=0.0) for a in HOSTILE for b in HOSTILE])
    assert all(0 <= value <= 1 for value in values)


def test_what_sound_looks_at() -> None:
    pair = TextPair("a dog on grass, near a red ball", "near a red ball, by a tree, a dog, on grass", -0.5, verdict=0.8)
    found = sound.features(pair)
    assert found["verdict"] == pytest.approx(math.log(4)) and found["likelihood"] == -0.5
    # "a dog on grass" is taken over in one piece; what stands behind it in the caption does not in the text
    assert found["stretches"] == pytest.approx(1 / 11)
    assert found["prepositions"] == pytest.approx(1 / 5)  # "by"; "near" and "on" are the caption's
    assert found["commas"] == pytest.approx(2 / 5)  # three, of which the caption has one
    # near a, a red, red ball, a dog, dog on, on grass of ten neighbours
    assert found["phrases"] == pytest.approx(6 / 10)
    assert sound.features(replace(pair, text=""))["stretches"] == 0


@pytest.mark.parametrize("caption", ["two dogs run", "海滩上的狗", " ".join(f"word{n} and so on" for n in range(40))])
def test_a_copy_is_true_however_long(caption: str) -> None:
    assert create_signal("truth").measure([TextPair(caption, caption)])[0] > 0.85


def test_sound_is_the_logistic_of_what_the_writer_told_and_of_what_truth_looks_at() -> None:
    model = json.loads(sound.FILE.read_text(encoding="ascii"))
    weight = dict(zip(model["features"], model["weights"], strict=True))
    caption, text = "two brown dogs play in the snow", "In the snow, two brown dogs play"
    logit = model["bias"] + weight["verdict"] * math.log(0.8 / 0.2) + weight["likelihood"] * -0.25
    known = TextPair(caption, text, -0.25, verdict=0.8)
    own = sound.features(known)
    logit += sum(weight[name] * own[name] for name in weight.keys() - {"verdict", "likelihood"})
    signal = create_signal("sound")
    assert signal.measure([known]) == [pytest.approx(1 / (1 + math.exp(-logit)))]
    surer, unlikelier = replace(known, verdict=0.9), replace(known, log_likelihood=-0.5)
    more, less = signal.measure([surer, unlikelier])
    assert 1 > more > signal.measure([known])[0] > less > 0
    certain = signal.measure([replace(known, verdict=1.0), replace(known, verdict=0.0)])
    assert 1 > certain[0] > more and 0 < certain[1] < less, "a verdict without any doubt is no infinite one"


def test_sound_is_unknown_unless_its_writer_told_or_a_cache_kept_it() -> None:
    pair = TextPair("a dog", "the dog", -0.25)
    values = create_signal("sound").measure(
        [pair, TextPair.recalled("a dog", "the dog", "sound", 0.3), TextPair.recalled("a dog", "the dog", "words", 0.3)]
    )
    assert math.isnan(values[0]) and values[1] == 0.3 and math.isnan(values[2])


def test_truth_puts_a_rewrite_above_an_invention_and_a_stranger_below_both() -> None:
    caption = "Two brown dogs are playing in the snow"
    texts = [
        "In the snow, two brown dogs play",
        "Two brown dogs play in snow near an orange tractor",
        "a plate of rice",
    ]
    rewrite, invention, other = create_signal("truth").measure([TextPair(caption, text) for text in texts])
    assert 1 >= rewrite > invention > other >= 0

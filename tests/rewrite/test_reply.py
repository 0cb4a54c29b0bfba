"""Each reason for a rejection by hand-written cases, and good rewrites that must pass."""

import pytest

from laclip_aug.errors import ConfigurationError, UnknownNameError
from laclip_aug.generation.backend import Completion, Job
from laclip_aug.quality.attributes import Attributes, attributes
from laclip_aug.rewrite.examples import Pair
from laclip_aug.rewrite.reading import read
from laclip_aug.rewrite.reply import ALWAYS_ON, CHECKS, REASONS, Acceptance

EXAMPLES = (Pair("steam train leaving the station", "A steam train pulls out of the old station."),)
CAPTION = "Two grey cats sit on a wall, no dog"
KEPT = "A wall where two gray cats sit and there is no dog"


def judged(caption: str, text: str, finish: str = "stop", others: tuple[str, ...] = (), allow: tuple[str, ...] = ()):
    job = Job("prefix", "\n\n", caption, " =>", seed=1)
    return Acceptance(allow).judge(Completion(job, text, finish, 5), EXAMPLES, others)


@pytest.mark.parametrize(
    ("reason", "caption", "text"),
    [
        ("empty", "a dog", ""),
        ("empty", "a dog", "- : "),
        ("too-short", "a dog", "Dog."),
        ("too-short", "一只狗在海滩", "狗"),
        ("echo", "A dog, on the beach", "a DOG on the beach!"),
        ("echo", "Ａ ｄｏｇ runs", "a dog runs"),
        ("example-copied", "a dog", "A steam train pulls out of the old station"),
        ("example-copied", "a dog", "Steam Train Leaving the Station, a photo"),
        ("example-copied", "a dog", "pulls out of the old station"),
        ("prompt-leaked", "a dog", "a dog runs => two cats sit"),
        ("prompt-leaked", "a dog", "Write image captions differently, a dog runs"),
        ("empty", "a dog", "<think> the user wants a caption"),
        ("wrapped", "a dog", "the dog {runs}"),
        ("spoken", "a dog", "I have a dog"),
        ("unrelated", "a dog", "a man mows the lawn"),
        ("repetition", "a dog", "a dog a dog a dog runs"),
        ("repetition", "a dog", "the dog is very very very happy"),
        ("repetition", "a dog", "a dooooooog runs"),
        ("repetition", "a dog", "the dog and the cat the dog the cat and the dog the cat"),
        ("repetition", "一只狗在海滩", "狗跑狗跑狗跑狗跑在海滩"),
        ("unprintable", "a dog", "a dog\x07 runs"),
        ("unprintable", "a dog", "a dog runs \ufffd"),
        ("unprintable", "a dog", "a dog \ud800 runs"),
        ("unprintable", "a dog", "a dog \u202e runs"),
        ("empty", "a dog", "*** 🐶 ***"),
        ("too-long", "a dog", " ".join(f"w{i}ord" for i in range(76))),
        (
            "too-long",
            "a dog",
            "a dog " + "incomprehensibilities " * 2 + "zxqv" * 3 + "".join(map(chr, range(97, 122))) * 5,
        ),
        ("too-long", "a dog", "a dog " + "".join(map(chr, range(97, 122))) * 1000),
        ("number-lost", "two dogs on grass", "dogs that lie on grass"),
        ("number-lost", "25 dogs on grass", "many dogs that lie on grass"),
        ("number-changed", "two dogs on grass", "three dogs lie on grass"),
        ("number-changed", "dogs on grass", "the two dogs lie on grass"),
        ("colour-lost", "a red car", "the car drives past"),
        ("colour-added", "a car", "the red car drives past"),
        ("colour-added", "a red car", "the blue car drives past"),
        ("negation-lost", "a room without windows", "a room that has windows"),
        ("negation-added", "a room with windows", "a room that has no windows"),
    ],
)
def test_each_reason(reason: str, caption: str, text: str) -> None:
    assert judged(caption, text)[1] == reason


def test_a_completion_may_be_cut_or_fail() -> None:
    assert judged("a dog", "the dog runs and", finish="length")[1] == "cut"
    assert judged("a dog", "- prompt is too long", finish="error") == ("- prompt is too long", "error")


def test_a_duplicate_is_one_of_another_rewrite() -> None:
    assert judged("a dog", "The dog runs!", others=("the dog runs",))[1] == "duplicate"
    assert judged("a dog", "The dog runs!", others=("the dog ran",))[1] is None


@pytest.mark.parametrize(
    ("caption", "text"),
    [
        (CAPTION, KEPT),
        ("two dogs", "a pair of dogs"),
        ("a pair of jeans", "the jeans lie on a chair"),
        ("25 dogs", "twenty-five dogs in a row"),
        ("twelve eggs", "a dozen eggs"),
        ("the 2nd man", "the second man"),
        ("one dog runs", "a dog is running"),
        ("No. 5 perfume", "a perfume called 5"),
        ("golden gate", "the gate made of gold"),
        ("a dog that isn't wet", "a dog that is not wet"),
        ("一只狗在海滩", "海滩上的狗"),
        ("สุนัขบนชายหาด", "ชายหาดมีสุนัข"),
        ("собака на пляже", "На пляже бежит собака"),
        ("سگ در ساحل", "در ساحل سگی می\u200cدود"),
        ("<PERSON> on stage", "On a stage stands <PERSON>"),
        ("a dog", "www.example.com shows a dog... in the year"),
    ],
)
def test_good_rewrites_pass(caption: str, text: str) -> None:
    assert judged(caption, text) == (text, None)


def test_a_long_text_within_clips_tokens_passes() -> None:
    text = "the elephant and the small bird walk along the river near the old town while people watch"
    assert len(text) > 77
    assert judged("an elephant", text)[1] is None


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ('"A dog runs."', "A dog runs."),
        ("“A dog runs.”", "A dog runs."),
        ("- A dog runs.", "A dog runs."),
        ("1. Caption: 'A dog runs.'", "A dog runs."),
        ("**A dog runs**", "A dog runs"),
        ("Rewrite: a  dog\truns", "a dog runs"),
        (", a dog runs", "a dog runs"),
        ("12 dogs run", "12 dogs run"),
        ('"Stop" says the "sign"', '"Stop" says the "sign"'),
        ("a dog's life", "a dog's life"),
        ("caption contest", "caption contest"),
    ],
)
def test_cleaning(completion: str, text: str) -> None:
    assert read(completion, "a dog runs in a contest, 12 stop signs") == (text, True)


def test_every_reason_has_a_check_and_can_be_allowed() -> None:
    assert set(CHECKS) == set(REASONS) - {"source-empty", "repeated"}
    for reason in set(REASONS) - set(ALWAYS_ON):
        assert reason not in Acceptance((reason,)).describe()["checks"]
    assert judged("two dogs", "three dogs run", allow=("number-changed", "number-lost"))[1] is None
    assert judged("a dog", "the dog runs and", finish="length", allow=("cut",))[1] is None


def test_wrong_reasons_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'colour-lost'"):
        Acceptance(("color-lost",))
    with pytest.raises(ConfigurationError, match="'empty' cannot be allowed"):
        Acceptance(("empty",))


@pytest.mark.parametrize(
    ("text", "colours", "numbers", "negated", "loose"),
    [
        ("Two grey cats, no dog", {"gray"}, {"2"}, True, set()),
        ("twenty-five or 25 or ２５", set(), {"25"}, False, set()),
        ("two hundred and 1,500 and 2 million and 1,5", set(), {"200", "1500", "2000000", "1.5"}, False, set()),
        ("one thousand two hundred", set(), {"1200"}, False, set()),
        ("one man, single bed, 1 cat", set(), set(), False, set()),
        ("two dozen eggs, a dozen hens", set(), {"24", "12"}, False, set()),
        ("the 2nd and the third", set(), {"#2"}, False, {"#3"}),
        ("both, a couple, a pair", set(), set(), False, {"2"}),
        ("No. 5", set(), {"5"}, False, set()),
        ("not only a dog", set(), set(), False, set()),
        ("it isn’t; it dont", set(), set(), True, set()),
        ("blue-green reddish golden off-white", {"blue", "green", "red", "gold", "white"}, set(), False, set()),
        ("bored redhead knot", set(), set(), False, set()),
        ("9" * 5000, set(), {"9" * 5000}, False, set()),
        ("፩ cats ٣ dogs \ud800", set(), {"3"}, False, set()),
        ("", set(), set(), False, set()),
    ],
)
def test_attributes(text, colours, numbers, negated, loose) -> None:
    assert attributes(text) == Attributes(frozenset(colours), frozenset(numbers), negated, frozenset(loose))

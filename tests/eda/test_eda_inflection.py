import pytest

from laclip_aug.eda.inflection import forms, irregular_from_exceptions


@pytest.mark.parametrize(
    ("noun", "plural"),
    [
        ("dog", "dogs"), ("box", "boxes"), ("beach", "beaches"), ("city", "cities"), ("toy", "toys"),
        ("man", "men"), ("fireman", "firemen"), ("woman", "women"), ("human", "humans"), ("child", "children"),
        ("knife", "knives"), ("sheep", "sheep"), ("aircraft", "aircraft"), ("bus", "buses"), ("mouse", "mice"),
        ("tomato", "tomatoes"), ("photo", "photos"), ("trousers", "trousers"), ("glass", "glasses"),
        ("police officer", "police officers"), ("hot-air balloon", "hot-air balloons"),
    ],
)  # fmt: skip
def test_plurals(noun: str, plural: str) -> None:
    assert forms(noun, "n") == {"base": noun, "s": plural}


@pytest.mark.parametrize(
    ("verb", "third", "gerund", "past", "participle"),
    [
        ("walk", "walks", "walking", "walked", "walked"),
        ("ride", "rides", "riding", "rode", "ridden"),
        ("sit", "sits", "sitting", "sat", "sat"),
        ("stop", "stops", "stopping", "stopped", "stopped"),
        ("carry", "carries", "carrying", "carried", "carried"),
        ("play", "plays", "playing", "played", "played"),
        ("watch", "watches", "watching", "watched", "watched"),
        ("lie", "lies", "lying", "lay", "lain"),
        ("see", "sees", "seeing", "saw", "seen"),
        ("begin", "begins", "beginning", "began", "begun"),
        ("rest", "rests", "resting", "rested", "rested"),
        ("look", "looks", "looking", "looked", "looked"),
        ("fix", "fixes", "fixing", "fixed", "fixed"),
        ("picnic", "picnics", "picnicking", "picnicked", "picnicked"),
        ("admit", "admits", "admitting", "admitted", "admitted"),
        ("go", "goes", "going", "went", "gone"),
        ("quit", "quits", "quitting", "quit", "quit"),
        ("set off", "sets off", "setting off", "set off", "set off"),
    ],
)
def test_verb_forms(verb: str, third: str, gerund: str, past: str, participle: str) -> None:
    expected = {"base": verb, "s": third, "ing": gerund, "past": past, "participle": participle}
    assert forms(verb, "v") == expected


def test_adjectives_have_one_form() -> None:
    assert forms("big", "a") == {"base": "big"}


def test_exception_lists_add_irregular_forms() -> None:
    irregular = irregular_from_exceptions("abaci abacus\n", "abetted abet\nabetting abet\nsmote smite\nsmitten smite\n")
    assert forms("abacus", "n", irregular)["s"] == "abaci"
    assert forms("abet", "v", irregular)["past"] == "abetted"
    assert forms("abet", "v", irregular)["ing"] == "abetting"
    # which of the two is the participle is not told: no past form rather than a wrong one
    assert forms("smite", "v", irregular) == {"base": "smite", "s": "smites", "ing": "smiting"}

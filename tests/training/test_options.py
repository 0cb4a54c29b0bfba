"""The options: what is ours and what is the trainer's, and combinations that contradict each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from laclip_aug.augmenter import create_augmenter
from laclip_aug.errors import ConfigurationError, UnknownNameError
from laclip_aug.training.options import TextAugOptions
from laclip_aug.training.parser import parse


def test_the_trainers_arguments_keep_their_order(tmp_path: Path) -> None:
    ours = ["--text-aug", "laclip", f"--text-aug-cache={tmp_path}", "--text-aug-strategies", "human, bard"]
    theirs = [
        "--train-data",
        "x.csv",
        "--lr",
        "-1e-3",
        "--debug",
        "--aug-cfg",
        "scale=(0.5, 1.0)",
        "--wandb-notes",
        "a b",
    ]
    options, rest = parse([*theirs[:4], *ours[:3], *theirs[4:6], *ours[3:], *theirs[6:]])

    assert rest == [*theirs[:4], *theirs[4:6], *theirs[6:]]
    assert options == TextAugOptions(mode="laclip", cache=str(tmp_path), strategies=("human", "bard"))


def test_nothing_given_is_mode_none() -> None:
    assert parse(["--epochs", "3"]) == (TextAugOptions(), ["--epochs", "3"])


@pytest.mark.parametrize(
    "argument", ["--text-aug-cach", "--text-augm", "--text_aug_seed=3", "--text-aug-mt", "--textaug"]
)
def test_a_mistyped_option_is_named(argument: str) -> None:
    with pytest.raises(UnknownNameError, match="did you mean '--text-aug"):
        parse([argument, "x"])


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"mode": "laclipp"}, "did you mean 'laclip'"),
        ({"mode": "none", "seed": 3}, "--text-aug-seed: have no effect"),
        ({"mode": "none", "mt_negatives": "all"}, "--text-aug-mt-negatives"),
        ({"mode": "laclip", "cache": None}, "laclip-aug build"),
        ({"mode": "back-translation", "cache": None}, "laclip-aug build"),
        ({"mode": "laclip", "mt_reduction": "paper"}, "need --text-aug laclip-mt"),
        ({"mode": "laclip", "mt_mask_duplicates": True}, "need --text-aug laclip-mt"),
        ({"mode": "laclip", "num_texts": 3}, "needs --text-aug laclip-mt"),
        ({"mode": "laclip-mt", "original_prob": 0.5}, "always has the original"),
        ({"mode": "laclip-mt", "num_texts": 0}, "below 1"),
        ({"mode": "laclip", "original_prob": 1.5}, "between 0 and 1"),
        ({"mode": "laclip", "strategies": ()}, "at least one"),
        ({"mode": "laclip", "strategies": ("human", "human")}, "each of them once"),
        ({"mode": "laclip", "on_miss": "ignore"}, "--text-aug-on-miss"),
        ({"mode": "laclip", "augmenter_options": {"rate": 0.1}}, "without a cache"),
        ({"mode": "eda", "cache": None, "strategies": ("eda",)}, "need a cache"),
        ({"mode": "eda", "cache": None, "on_miss": "original"}, "misses nothing"),
        ({"mode": "laclip-mt", "weights": {"original": 0.0}}, "always has the original"),
        ({"mode": "eda", "augmenters": ("sentences",)}, "needs --text-aug laclip or laclip-mt"),
        ({"mode": "none", "augmenters": ("eda",)}, "--text-aug-with: have no effect"),
        ({"mode": "none", "weights": {}}, "--text-aug-weights: have no effect"),
        ({"mode": "laclip", "cache": "no/such/directory"}, "no such directory"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, changes: dict[str, object], word: str) -> None:
    values: dict[str, object] = {"cache": None if changes["mode"] == "none" else str(tmp_path)} | changes
    with pytest.raises(ConfigurationError, match=word):
        TextAugOptions(**values)  # type: ignore[arg-type]


def test_options_of_an_augmenter_that_works_while_loading() -> None:
    options, rest = parse(["--text-aug", "eda", "--text-aug-option", "rate=0.2", "--text-aug-option", "lexicon=small"])

    assert options.augmenter_options == {"rate": 0.2, "lexicon": "small"}
    assert rest == []
    with pytest.raises(ConfigurationError, match="KEY=VALUE") as error:
        parse(["--text-aug", "eda", "--text-aug-option", "rate"])
    options, _ = parse(["--text-aug", "eda", "--text-aug-option", str(error.value).split("for example ")[1]])
    create_augmenter("eda", **options.augmenter_options)  # the example is one of its parameters


def test_the_namespace_has_the_command_lines_names(tmp_path: Path) -> None:
    values = TextAugOptions(mode="laclip-mt", cache=str(tmp_path), num_texts=2).as_namespace()

    assert values["text_aug"] == "laclip-mt"
    assert values["text_aug_num_texts"] == 2
    assert values["text_aug_mt_reduction"] == "mean"
    assert "text_aug_mode" not in values


def test_several_sources_are_read_in_their_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    line = ["--text-aug", "laclip", "--text-aug-cache", str(one), "--text-aug-cache", str(two)]
    words = "--text-aug-with eda,sentences:3 --text-aug-weights original=2,eda=0 --text-aug-option sentences.most=2"
    options, rest = parse([*line, *words.split()])

    assert rest == []
    assert options.caches == (str(one), str(two))
    assert options.made == {"eda": 1, "sentences": 3}
    assert options.weights == {"original": 2.0, "eda": 0.0}
    assert options.options_of("sentences") == {"most": 2}
    assert options.options_of("eda") == {}
    values = options.as_namespace()
    assert values["text_aug_cache"] == (str(one), str(two))
    assert values["text_aug_with"] == ("eda", "sentences:3")
    with pytest.raises(ConfigurationError, match="no such directory"):
        parse([*line, "--text-aug-cache", str(tmp_path / "three")])


@pytest.mark.parametrize("text", ["original", "=1", "a=x", "a=-1", "a=nan", "a=inf", "a=1,a=2"])
def test_weights_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"original=1,chatgpt=0\.5"):
        parse(["--text-aug", "laclip", "--text-aug-cache", str(tmp_path), "--text-aug-weights", text])


@pytest.mark.parametrize("option", ["with", "weights", "strategies", "linked", "cache"])
@pytest.mark.parametrize("text", ["", " , "])
def test_a_list_of_nothing_is_refused(tmp_path: Path, option: str, text: str) -> None:
    """As a variable of a shell that is not set leaves it: ``--text-aug-linked "$LINKED"``."""
    cache = [] if option == "cache" else ["--text-aug-cache", str(tmp_path)]
    with pytest.raises(ConfigurationError, match=f"--text-aug-{option}"):
        parse(["--text-aug", "laclip", *cache, f"--text-aug-{option}", text])


def test_a_value_of_the_trainers_may_look_like_an_option_of_ours() -> None:
    notes = ["--wandb-notes", "--text-aug laclip, first try"]
    assert parse(notes) == (TextAugOptions(), notes)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--text-aug-with eda --text-aug-option alpha-sr=1 --text-aug-option alpha_sr=2", "alpha_sr is given twice"),
        ("--text-aug-with eda:2,eda:3", "--text-aug-with names eda twice"),
        ("--text-aug-with sentences --text-aug-linked flip,flip", "--text-aug-linked names flip twice"),
        ("--text-aug-with eda:0", "sentences:4"),
        ("--text-aug-with eda:x", "sentences:4"),
        ("--text-aug-with llm", "make them with laclip-aug build"),
        ("--text-aug-weights original=1 --text-aug-original-prob 0.5", "original-prob: is the weight original="),
    ],
)
def test_sources_that_contradict_are_refused(tmp_path: Path, words: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        parse(["--text-aug", "laclip", "--text-aug-cache", str(tmp_path), *words.split()])


def test_an_option_of_several_augmenters_names_its_own() -> None:
    line = ["--text-aug", "laclip", "--text-aug-with", "eda,sentences", "--text-aug-option"]

    with pytest.raises(ConfigurationError, match=r"write eda\.most=2"):
        parse([*line, "most=2"])[0].options_of("eda")
    with pytest.raises(UnknownNameError, match="did you mean 'sentences'"):
        parse([*line, "sentence.most=2"])[0].options_of("eda")


@pytest.mark.parametrize(("text", "share"), [("0.1%", 0.001), ("0.001", 0.001), ("0", 0.0), ("100%", 1.0)])
def test_a_share_that_may_miss(tmp_path: Path, text: str, share: float) -> None:
    options, _ = parse(["--text-aug", "laclip", "--text-aug-cache", str(tmp_path), "--text-aug-max-miss", text])
    assert options.max_miss == pytest.approx(share)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--text-aug-max-miss", "few"], "'few' is no share"),
        (["--text-aug-max-miss", "101%"], "not between 0% and 100%"),
        (["--text-aug-max-miss", "1%", "--text-aug-on-miss", "original"], "lets any miss"),
    ],
)
def test_a_share_that_makes_no_sense(tmp_path: Path, words: list[str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        parse(["--text-aug", "laclip", "--text-aug-cache", str(tmp_path), *words])

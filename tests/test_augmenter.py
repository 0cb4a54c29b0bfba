"""The augmenter contract and its registry, with a third party's augmenter that enters by the public door."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from laclip_aug import CaptionAugmenter, Outcome, Rejection, Rewrite, create_augmenter
from laclip_aug.augmenter import augmenter_class, augmenter_names, texts_of
from laclip_aug.cli import main
from laclip_aug.errors import ConfigurationError, UnknownNameError

THIRD_PARTY = """
from laclip_aug import CaptionAugmenter
class Yell(CaptionAugmenter):
    name, sources = "yell", ("loud",)
    def __init__(self, mark="!"):
        self.mark = mark
    def augment(self, captions, n, seed):
        return [[caption.upper() + self.mark * j for j in range(n)] for caption in captions]
    def fingerprint(self):
        return "yell" + self.mark
class NoAugmenter:
    pass
"""


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installs a distribution that registers ``yell``, as pip would leave it on the path."""
    (tmp_path / "yelling.py").write_text(THIRD_PARTY)
    info = tmp_path / "yelling-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: yelling\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[laclip_aug.augmenters]\nyell = yelling:Yell\nbroken = yelling:NoAugmenter\neda = yelling:Yell\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()


def test_a_third_party_augmenter_is_made_by_name(third_party: None) -> None:
    assert "yell" in augmenter_names()
    assert create_augmenter("yell", mark="?").augment(["hi"], 3, seed=0) == [["HI", "HI?", "HI??"]]


def test_outcomes_of_a_minimal_augmenter_name_what_was_unchanged(third_party: None) -> None:
    outcomes = list(create_augmenter("yell").outcomes(["HI", "a"], 2, seed=0))
    assert outcomes == [
        Outcome("HI", (Rewrite("loud", "HI!"),), (Rejection("loud", "unchanged", "HI"),)),
        Outcome("a", (Rewrite("loud", "A"), Rewrite("loud", "A!"))),
    ]


def test_registry_errors(third_party: None) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'yell'"):
        create_augmenter("ylel")
    with pytest.raises(UnknownNameError, match="option of augmenter 'yell' 'marc'; did you mean 'mark'"):
        create_augmenter("yell", marc="?")
    with pytest.raises(ConfigurationError, match="no CaptionAugmenter"):
        augmenter_class("broken")
    with pytest.raises(ConfigurationError, match="more than once"):
        augmenter_class("eda")


def test_an_option_that_is_needed_and_not_given_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigurationError, match="augmenter 'cached' needs the option 'cache'"):
        create_augmenter("cached", on_miss="original")
    assert main(["rewrite", "a dog", "--augmenter", "cached"]) == 2
    assert capsys.readouterr().err == (
        "laclip-aug: error: the augmenter 'cached' needs the option 'cache'; give it by that name, on a command line "
        "as --option cache=VALUE\n"
    )


def test_every_registered_augmenter_loads_under_its_own_name() -> None:
    names = augmenter_names()
    assert {"llm", "eda", "cached"} <= set(names)
    for name in names:
        kind = augmenter_class(name)
        assert issubclass(kind, CaptionAugmenter)
        assert kind.name == name


def test_texts_of_keeps_order_and_fills_missing_places_with_the_caption() -> None:
    outcomes = [
        Outcome("b", (Rewrite("y", "b-y"),)),
        Outcome("a", (Rewrite("x", "a-x1"), Rewrite("x", "a-x2"), Rewrite("y", "a-y"))),
    ]
    captions: Sequence[str] = ["a", "b", "a"]
    assert texts_of(outcomes, captions, 4, ("x", "y")) == [
        ["a-x1", "a-y", "a-x2", "a"],
        ["b", "b-y", "b", "b"],
        ["a-x1", "a-y", "a-x2", "a"],
    ]

"""Gates: the spec, the order of its conditions, what refuses and what is not known."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from laclip_aug.errors import ConfigurationError, UnknownNameError
from laclip_aug.quality import truth
from laclip_aug.quality.gate import Condition, Gate, Refusal, conditions_of, measured
from laclip_aug.quality.gated import gated_fingerprint
from laclip_aug.quality.signals import Signal, TextPair


def test_a_spec_is_read_to_the_letter() -> None:
    assert conditions_of("words>=0.45 tfidf >= .5,novelty>=1e-1  clip(ViT-B-32:openai)<=-2") == (
        Condition("words", True, 0.45),
        Condition("tfidf", True, 0.5),
        Condition("novelty", True, 0.1),
        Condition("clip(ViT-B-32:openai)", False, -2),
    )
    assert conditions_of("  ") == ()
    assert str(Gate("words >= 0.450, likelihood>=-1.5")) == "words>=0.45 likelihood>=-1.5"


@pytest.mark.parametrize(
    "spec",
    ["words", "words>0.4", "words=0.4", ">=0.4", "words>=0.4x", "words>=", "words>=0.4 and tfidf>=1", "words>=nan",
     "words>=0.4; tfidf>=1", "words>=1.2.3", "__import__('os')>=1", "words>=0x10"],
)  # fmt: skip
def test_what_is_no_condition_is_named(spec: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is no condition; write SIGNAL>=NUMBER|names no signal"):
        Gate(spec)


def test_a_typo_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="unknown signal 'noveltty'; did you mean 'novelty'"):
        Gate("words>=0.2 noveltty>=0.1")


def test_the_first_condition_that_fails_is_the_reason() -> None:
    # novelty by hand: 2 of 4 words are shared, none of 5, all
    pairs = [TextPair("a brown dog", text) for text in ("the brown dog", "one cat", "a brown dog")]
    assert Gate("novelty>=0.4 novelty<=0.6").judge(pairs) == [
        None,
        Refusal("novelty", 1.0),
        Refusal("novelty", 0.0),
    ]
    assert Gate("").judge(pairs) == [None, None, None]
    assert not Gate("")


def test_later_conditions_see_only_what_is_left() -> None:
    gate = Gate("novelty>=0.1 likelihood>=-1")
    pairs = [TextPair("a dog", "a dog", -9.0), TextPair("a dog", "the dog", -9.0), TextPair("a dog", "one dog")]
    assert gate.judge(pairs) == [Refusal("novelty", 0.0), Refusal("likelihood", -9.0), None]
    assert gate.unknown == {"novelty": 0, "likelihood": 1}  # the third is not known, and refuses nothing


def test_values_are_compared_as_they_are_shown() -> None:
    # 1 of 3 words is shared: novelty is 2/3, shown and compared as 0.6667
    assert Gate("novelty<=0.6667").judge([TextPair("a dog", "a cat")]) == [None]
    assert Gate("novelty<=0.6666").judge([TextPair("a dog", "a cat")]) == [Refusal("novelty", 0.6667)]


def test_what_needs_other_texts_cannot_judge_one_at_a_time() -> None:
    with pytest.raises(ConfigurationError, match=r"neighbours needs texts.*cache filter"):
        Gate("words>=0 neighbours<=0.98").without_corpus()
    assert Gate("words>=0").without_corpus()
    with pytest.raises(ConfigurationError, match=r"clip needs images.*cache filter"):  # no model is looked for
        Gate("clip(no-such-model)>=0.2").without_corpus()


def test_a_gate_learns_from_a_corpus_that_can_be_read_again() -> None:
    gate = Gate("tfidf>=0.5")
    pair = TextPair("dog grass", "dog snow")
    gate.learn(["dog grass", "dog snow", "dog", "dog cat"])
    # every caption has the dog: its rarity is log(5/5) = 0, so nothing that counts is shared
    assert gate.judge([pair]) == [Refusal("tfidf", 0.0)]


def test_what_decides_includes_the_weights_of_fitted_signals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Gate("words>=0").describe().keys() == {"spec", "vocabulary"}
    gate = Gate("truth>=0.3 words>=0")
    before, name = gate.describe(), gated_fingerprint("abc", gate)
    fitted = json.loads(truth.FILE.read_text(encoding="ascii"))
    other = tmp_path / "truth.json"
    monkeypatch.setattr(truth, "FILE", other)
    for change, same in (({"fitted_to": "other words"}, True), ({"bias": fitted["bias"] + 0.001}, False)):
        other.write_text(json.dumps(fitted | change, indent=4), encoding="ascii")
        truth._model.cache_clear()
        assert (gate.describe() == before) == (gated_fingerprint("abc", gate) == name) == same
    truth._model.cache_clear()


def test_some_thousand_are_measured_at_a_time_but_all_that_are_compared() -> None:
    class Counts(Signal):
        def measure(self, pairs: Sequence[TextPair]) -> list[float]:
            return [float(len(pairs))] * len(pairs)

    class Compares(Counts):
        needs = "texts"

    pairs, parts = [TextPair("a dog", "dog")] * 5000, list[float]()
    assert measured(Counts(), pairs, parts.append) == [2048.0] * 4096 + [904.0] * 904
    assert parts == [0.4096, 0.4096, 0.1808]
    assert measured(Compares(), pairs) == [5000.0] * 5000

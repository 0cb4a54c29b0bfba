"""BackTranslationAugmenter: the augmenter's contract, the choice of texts, rejections by name."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from laclip_aug.augmenter import Outcome, augmenter_names, create_augmenter
from laclip_aug.backtranslation import BackTranslationAugmenter, Translation
from laclip_aug.backtranslation.augmenter import REASONS
from laclip_aug.backtranslation.pivots import Pivot
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.format import read_manifest
from laclip_aug.errors import ConfigurationError, ModelError, UnknownNameError
from laclip_aug.quality.content import share_kept

from .marian_maker import SENTENCES


class Phrasebook:
    """A translator that looks texts up: the hypotheses of each, best first; other texts become themselves."""

    version = "1.0"

    def __init__(self, phrases: dict[str, list[str]]) -> None:
        self.phrases = phrases
        self.asked: list[tuple[str, int]] = []

    def translate(self, texts: Sequence[str], hypotheses: int = 1) -> list[list[Translation]]:
        self.asked += [(text, hypotheses) for text in texts]
        return [
            [
                Translation(found, -float(i), len(found.split()))
                for i, found in enumerate(self.phrases.get(text, [text]))
            ][:hypotheses]
            for text in texts
        ]

    def describe(self) -> dict[str, Any]:
        return {"engine": "phrasebook", "phrases": self.phrases}

    def provenance(self) -> dict[str, Any]:
        return {"version": self.version}

    def close(self) -> None:
        self.phrases = {}


def german(there: dict[str, list[str]], back: dict[str, list[str]], **options: Any) -> BackTranslationAugmenter:
    return BackTranslationAugmenter([Pivot("de", Phrasebook(there), Phrasebook(back))], **options)


def only(outcomes: list[Outcome]) -> Outcome:
    (outcome,) = outcomes
    return outcome


DOG = "two brown dogs run"
THERE = {DOG: ["zwei braune Hunde rennen", "zwei Hunde rennen", "braune Hunde laufen", "zwei braune Hunde laufen"]}
BACK = {
    "zwei braune Hunde rennen": ["Two brown dogs run."],
    "zwei Hunde rennen": ["two dogs are running"],
    "braune Hunde laufen": ["brown dogs are running"],
    "zwei braune Hunde laufen": ["two brown dogs are running"],
}


def test_it_is_registered() -> None:
    assert "back-translation" in augmenter_names()
    with pytest.raises(UnknownNameError, match="did you mean 'pivots'"):
        create_augmenter("back-translation", pivot="de")


def test_rejections_are_named_and_made_good() -> None:
    """Best first: unchanged; then two more sentences, of which one loses the colour; no further attempt."""
    outcome = only(list(german(THERE, BACK).outcomes([DOG], 1, 0)))
    assert [(r.source, r.reason, r.text) for r in outcome.rejections] == [
        ("bt-de", "echo", "Two brown dogs run."),
        ("bt-de", "colour-lost", "two dogs are running"),
    ]
    assert outcome.rewrites == ()
    outcome = only(list(german(THERE, BACK, retries=2).outcomes([DOG], 1, 0)))
    assert [r.text for r in outcome.rewrites] == ["two brown dogs are running"]
    assert [r.reason for r in outcome.rejections] == ["echo", "colour-lost", "number-lost"]
    assert {r.reason for r in outcome.rejections} <= REASONS.keys()


def test_no_pivot_sentence_is_translated_back_twice() -> None:
    augmenter = german(THERE, BACK, retries=3)
    list(augmenter.outcomes([DOG], 1, 0))
    back = augmenter.pivots[0].backward
    assert isinstance(back, Phrasebook)
    assert [text for text, _ in back.asked] == THERE[DOG]


def test_tokens_count_both_ways() -> None:
    """There: 4 words; back: 4. With the retry: 4 + 3 there again, 4 back."""
    assert only(list(german(THERE, BACK, retries=0).outcomes([DOG], 1, 0))).tokens == 8
    assert only(list(german(THERE, BACK, retries=1).outcomes([DOG], 1, 0))).tokens == 8 + 7 + 4


def test_several_texts_of_one_pivot_differ() -> None:
    there = {"a dog runs": ["ein Hund rennt", "ein Hund läuft", "der Hund rennt"]}
    back = {
        "ein Hund rennt": ["one dog is running"],
        "ein Hund läuft": ["One dog is running!"],
        "der Hund rennt": ["the dog runs"],
    }
    outcome = only(list(german(there, back, n_best=3, retries=0).outcomes(["a dog runs"], 3, 0)))
    assert [r.text for r in outcome.rewrites] == ["one dog is running", "the dog runs"]
    assert [r.reason for r in outcome.rejections] == ["duplicate"]


def test_pivots_take_turns_and_a_missing_text_is_the_caption() -> None:
    caption = "a dog runs"
    augmenter = BackTranslationAugmenter(
        [
            Pivot("de", Phrasebook({caption: ["d"]}), Phrasebook({"d": ["the dog is running"]})),
            Pivot("fr", Phrasebook({caption: []}), Phrasebook({})),
            Pivot("es", Phrasebook({caption: ["s"]}), Phrasebook({"s": ["dog running fast"]})),
        ]
    )
    assert augmenter.sources == ("bt-de", "bt-fr", "bt-es")
    assert augmenter.augment([caption], 4, 0) == [["the dog is running", caption, "dog running fast", caption]]
    outcome = only(list(augmenter.outcomes([caption], 3, 0)))
    assert [(r.source, r.reason) for r in outcome.rejections] == [("bt-fr", "untranslated")]


@pytest.mark.parametrize(("there", "back"), [([], []), ([""], []), (["x"], [])])
def test_nothing_back_is_counted(there: list[str], back: list[str]) -> None:
    outcome = only(list(german({"a dog runs": there}, {"x": back}).outcomes(["a dog runs"], 1, 0)))
    assert outcome.rewrites == ()
    assert [r.reason for r in outcome.rejections] == ["untranslated"]


def test_the_same_text_from_two_pivots_counts_once() -> None:
    phrases = Phrasebook({"a dog runs": ["the dog runs fast"]})
    augmenter = BackTranslationAugmenter([Pivot("de", phrases, Phrasebook({})), Pivot("fr", phrases, Phrasebook({}))])
    outcome = only(list(augmenter.outcomes(["a dog runs"], 2, 0)))
    assert [(r.source, r.text) for r in outcome.rewrites] == [("bt-de", "the dog runs fast")]
    assert [(r.source, r.reason) for r in outcome.rejections] == [("bt-fr", "duplicate")]


def test_a_fluent_sentence_about_something_else_is_rejected() -> None:
    caption = "composer poses before a concert"
    augmenter = german({caption: ["x"]}, {"x": ["a person is walking down a street"]}, retries=0)
    assert [r.reason for r in only(list(augmenter.outcomes([caption], 1, 0))).rejections] == ["unrelated"]
    augmenter = german({caption: ["x"]}, {"x": ["a person is walking down a street"]}, retries=0, min_kept=0)
    assert augmenter.augment([caption], 1, 0) == [["a person is walking down a street"]]


@pytest.mark.parametrize(
    ("caption", "text", "share"),
    [
        ("The dogs are running.", "a dog runs", 1.0),
        ("a man hugging a big tree", "A man hugs the large tree", 3 / 4),
        ("riders on horses by barns", "a rider sits on the horse", 2 / 3),
        ("composer poses before a concert", "a person is walking", 0.0),
        ("on the", "a cat", 0.0),
        ("3 x 4", "3 x 4 is what there is", 1.0),
        ("一只狗", "a dog", 0.0),
        ("собака бежит по пляжу", "A man mows the lawn with a mower", 0.0),
        ("собака бежит по пляжу", "собака бежала по пляжу", 2 / 3),
    ],
)
def test_share_of_content_words(caption: str, text: str, share: float) -> None:
    assert share_kept(caption, text) == share


def test_a_temperature_draws_by_seed_and_caption() -> None:
    captions = [f"a dog runs past tree number {word}" for word in ("a", "b", "c", "d", "e", "f")]
    there = {c: [f"{c} {i}" for i in "vwxyz"] for c in captions}
    back = {f"{c} {i}": [f"{c} {i} again"] for c in captions for i in "vwxyz"}
    plain = german(there, back, n_best=5).augment(captions, 1, 0)
    assert plain == german(there, back, n_best=5).augment(captions, 1, 99)
    augmenter = german(there, back, n_best=5, temperature=2.0)
    drawn = {seed: augmenter.augment(captions, 1, seed) for seed in range(8)}
    assert len({str(texts) for texts in drawn.values()}) > 4
    assert augmenter.augment(captions[::-1], 1, 3) == drawn[3][::-1]
    assert [augmenter.augment([caption], 1, 3)[0] for caption in captions] == drawn[3]


HOSTILE = [
    "",
    " ",
    "\x00\x00",
    "🐶🐶🐶",
    "\ud83d",
    "a\x00 dog\nruns",
    "dog " * 2500,
    "x" * 10_000,
    "=> </s> >>de<<",
    "<PERSON>",
]


@pytest.fixture(scope="module")
def embedded() -> BackTranslationAugmenter:
    return BackTranslationAugmenter()


def test_the_contract_on_a_real_model(embedded: BackTranslationAugmenter) -> None:
    captions = [*SENTENCES[::80], *HOSTILE, SENTENCES[0]]
    texts = embedded.augment(captions, 2, 0)
    assert [len(row) for row in texts] == [2] * len(captions)
    assert texts[0] == texts[-1]
    order = random.Random(0).sample(range(len(captions)), len(captions))
    assert embedded.augment([captions[i] for i in order], 2, 7) == [texts[i] for i in order]
    assert embedded.augment(captions[3:4], 2, 0) == texts[3:4]
    assert embedded.augment(captions, 0, 0) == [[]] * len(captions)
    assert embedded.augment([], 3, 0) == []


def test_outcomes_on_hostile_captions(embedded: BackTranslationAugmenter) -> None:
    outcomes = list(embedded.outcomes(HOSTILE, 1, 0))
    assert [outcome.caption for outcome in outcomes] == HOSTILE
    for outcome in outcomes:
        assert outcome.rewrites or outcome.rejections
        assert {r.reason for r in outcome.rejections} <= REASONS.keys()
        assert all(r.text.isprintable() and r.text != outcome.caption for r in outcome.rewrites)
    assert [r.reason for outcome in outcomes[:5] for r in outcome.rejections] == ["source-empty"] * 5


def test_outcomes_reads_lazily(embedded: BackTranslationAugmenter) -> None:
    def endless() -> Any:
        while True:
            yield "a dog runs on the beach"

    assert next(embedded.outcomes(endless(), 1, 0)).caption == "a dog runs on the beach"


def test_colours_and_numbers_survive_what_is_accepted(embedded: BackTranslationAugmenter) -> None:
    captions = [
        "A man in a blue shirt stands on a ladder.",
        "Two dogs run.",
        "A woman without a hat.",
        "Three red cars.",
    ]
    kept = {"blue": 0, "two": 1, "three red": 3}
    texts = [row[0].lower() for row in embedded.augment(captions, 1, 0)]
    assert all(word in texts[i] for words, i in kept.items() for word in words.split())


def test_the_fingerprint_follows_models_and_options(bilingual: Path, tmp_path: Path) -> None:
    def of(**options: Any) -> str:
        return create_augmenter("back-translation", **options).fingerprint()

    plain = of(pivots=[f"fr={bilingual},{bilingual}"])
    assert plain == of(pivots=[f"fr={bilingual}"])
    assert plain == of(pivots=[f"fr={bilingual}"], batch_tokens=64, threads=2, retries=0, device="auto")
    other = shutil.copytree(bilingual, tmp_path / "other")
    (other / "translator.json").unlink()
    content = bytearray((other / "model.bin").read_bytes())
    content[-1000] ^= 1
    (other / "model.bin").write_bytes(content)
    different = [
        of(pivots=[f"it={bilingual}"]),
        of(pivots=[f"fr={bilingual},{other}"]),
        of(pivots=[f"fr={bilingual}"], n_best=2),
        of(pivots=[f"fr={bilingual}"], n_best=2, temperature=0.5),
        of(pivots=[f"fr={bilingual}"], beam_size=2),
        of(pivots=[f"fr={bilingual}"], min_kept=0.5),
        of(pivots=[f"fr={bilingual}"], max_tokens=64),
        of(pivots=[f"fr={bilingual}"], compute_type="float32"),
        of(),
    ]
    assert len({plain, *different}) == 10


def test_the_real_engines_version_is_told_and_changes_nothing(bilingual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [create_augmenter("back-translation", pivots=[f"fr={bilingual}"])]
    monkeypatch.setattr("ctranslate2.__version__", "99.0")
    made.append(create_augmenter("back-translation", pivots=[f"fr={bilingual}"]))

    assert made[0].fingerprint() == made[1].fingerprint()
    versions = [augmenter.provenance()["pivots"][0]["backward"]["version"] for augmenter in made]
    assert versions == [version("ctranslate2"), "99.0"]


def test_another_version_of_an_engine_goes_on_with_the_same_cache(tmp_path: Path) -> None:
    there, back = {"dogs run": ["Hunde rennen"]}, {"Hunde rennen": ["the dogs are running"]}
    older, newer = german(there, back), german(there, back, retries=3)
    for phrasebook in (newer.pivots[0].forward, newer.pivots[0].backward):
        phrasebook.version = "1.1"  # type: ignore[attr-defined]
    (tmp_path / "a.txt").write_text("dogs run")
    (tmp_path / "b.txt").write_text("cats run")

    build_cache(tmp_path / "a.txt", tmp_path / "cache", older)
    build_cache(tmp_path / "b.txt", tmp_path / "cache", newer)

    runs = read_manifest(tmp_path / "cache").runs
    assert [run["pivots"][0]["forward"]["version"] for run in runs] == ["1.0", "1.1"]
    assert [run["retries"] for run in runs] == [1, 3]


def test_close_frees_the_models(bilingual: Path) -> None:
    augmenter = create_augmenter("back-translation", pivots=[f"fr={bilingual}"])
    augmenter.close()
    with pytest.raises(ModelError, match="closed"):
        augmenter.augment(["a dog"], 1, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pivots": []}, "no pivot language"),
        ({"pivots": ["de", "de"]}, "named twice"),
        ({"pivots": ["dd"]}, "did you mean 'de'"),
        ({"pivots": ["fr=a,b,c"]}, "two translators"),
        ({"pivots": ["fr="]}, "two translators"),
        ({"pivots": ["=a,b"]}, "no language name"),
        ({"pivots": ["es=apertium:eng-spa"]}, "two translators"),
        ({"n_best": 0}, "n_best is 0"),
        ({"retries": -1}, "retries -1"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"temperature": 0.5}, "n_best 2 or more"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"min_kept": 1.5}, "min_kept is 1.5"),
    ],
)
def test_bad_options_say_what_to_do(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        create_augmenter("back-translation", **options)


def test_a_missing_model_names_the_converter(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="laclip-aug translate convert"):
        create_augmenter("back-translation", pivots=[f"fr={tmp_path}"])


def test_escapes_of_the_web_are_undone_and_the_key_stays() -> None:
    there, back = {"dogs & cats run": ["Hunde und Katzen rennen"]}, {"Hunde und Katzen rennen": ["dogs and cats run"]}
    outcome = only(list(german(there, back).outcomes(["dogs &amp;amp; cats run"], 1, 0)))
    assert outcome.caption == "dogs &amp;amp; cats run"
    assert [r.text for r in outcome.rewrites] == ["dogs and cats run"]
    assert only(list(german({}, {}).outcomes(["&nbsp;"], 1, 0))).rejections[0].reason == "source-empty"

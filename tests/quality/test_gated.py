"""Outcomes divided by gates: what comes back, in which order, and what never does."""

import itertools

from shouting import ShoutAugmenter

from laclip_aug.augmenter import Outcome, Rejection, Rewrite, Told
from laclip_aug.quality import gated
from laclip_aug.quality.gate import Gate
from laclip_aug.quality.gated import GatedAugmenter, candidates, pairs_of, regated
from laclip_aug.quality.signals import TextPair, create_signal

CAPTION = "a brown dog"
TEXTS = ("a brown dog", "the brown dog", "a dog", "one cat")  # novelty by hand: 0, 2 of 4, 1 of 3, all
RECORD = Outcome(
    CAPTION,
    tuple(Rewrite(source, text) for source, text in zip("xyxy", TEXTS, strict=True)),
    (Rejection("x", "echo", "A brown dog!"),),
    tokens=7,
)


def once(record: Outcome, spec: str, wanted: dict[str, int] | None = None) -> Outcome:
    return regated([record], Gate(spec), wanted)[0]


def test_what_is_refused_keeps_signal_value_and_place() -> None:
    found = once(RECORD, "novelty>=0.4 novelty<=0.9")
    assert found.rewrites == (Rewrite("y", "the brown dog"),)
    assert found.rejections == (
        Rejection("x", "echo", "A brown dog!"),
        Rejection("x", "novelty", "a brown dog", 0.0, 0),
        Rejection("x", "novelty", "a dog", 0.3333, 2),
        Rejection("y", "novelty", "one cat", 1.0, 3),
    )
    assert found.tokens == 7


def test_any_way_through_gates_ends_where_the_last_gate_says() -> None:
    specs = ["", "novelty>=0.4", "novelty<=0.4", "novelty>=2", "novelty>=0.1 novelty<=0.6"]
    direct = {spec: once(RECORD, spec) for spec in specs}
    assert direct[""] == RECORD
    for way in itertools.permutations(specs):
        record = RECORD
        for spec in way:
            record = once(record, spec)
            assert record == direct[spec]


def test_texts_that_a_build_refused_fill_the_places_that_are_free() -> None:
    built = Outcome(
        CAPTION,
        (Rewrite("x", "the brown dog"),),
        (
            Rejection("y", "novelty", "a dog", 0.3333, 1),
            Rejection("x", "novelty", "dog a", 0.3333, 2),
            Rejection("y", "novelty", "A dog", 0.3333, 3),
        ),
    )
    assert once(built, "novelty>=0.4", {"x": 1, "y": 1}) == built
    found = once(built, "novelty>=0.3", {"x": 1, "y": 1})
    assert found.rewrites == (Rewrite("x", "the brown dog"), Rewrite("y", "a dog"))
    assert found.rejections == (
        Rejection("x", "surplus", "dog a", None, 2),
        Rejection("y", "surplus", "A dog", None, 3),
    )
    more = once(built, "novelty>=0.3", {"x": 1, "y": 2})
    assert more.rejections[-1] == Rejection("y", "duplicate", "A dog", None, 3)
    assert once(found, "novelty>=0.4", {"x": 1, "y": 1}) == built


def test_only_texts_of_a_caption_that_has_too_many_are_compared_with_each_other(monkeypatch) -> None:
    compared: list[str] = []
    monkeypatch.setattr(gated, "folded", lambda text: compared.append(text) or text)
    assert once(RECORD, "novelty>=0.1", {"x": 2, "y": 2}).rewrites == RECORD.rewrites[1:]
    assert compared == []
    assert [r.text for r in once(RECORD, "novelty>=0.1", {"x": 1, "y": 1}).rewrites] == ["the brown dog", "a dog"]
    assert {*compared} == {"the brown dog", "a dog"}


def test_what_only_the_writer_knew_is_remembered_where_it_refused() -> None:
    record = Outcome(CAPTION, (), (Rejection("x", "likelihood", "the brown dog", -3.0, 0),))
    assert once(record, "likelihood>=-1") == record
    assert once(record, "likelihood>=-4").rewrites == (Rewrite("x", "the brown dog"),)
    assert once(record, "verdict>=0.9 likelihood>=-4").rewrites  # its verdict is not known, and refuses nothing
    record = Outcome(CAPTION, (), (Rejection("x", "verdict", "the brown dog", 0.25, 0),))
    assert once(record, "verdict>=0.3") == record
    assert once(record, "verdict>=0.25").rewrites == (Rewrite("x", "the brown dog"),)
    record = Outcome(CAPTION, (), (Rejection("x", "sound", "the brown dog", 0.4, 0),))
    assert once(record, "sound>=0.5") == record
    assert once(record, "sound>=0.4").rewrites == (Rewrite("x", "the brown dog"),)


def test_what_a_writer_told_is_asked_for_of_accepted_and_refused_texts_under_any_gate() -> None:
    numbers = [Told(-0.125, 0.9), Told(-0.75, 0.2), Told(-0.5, None), None]
    record = Outcome(
        CAPTION,
        tuple(Rewrite("x", text, told) for text, told in zip(TEXTS[:3], numbers, strict=False)),
        (Rejection("x", "echo", "A brown dog!"), Rejection("x", "novelty", TEXTS[3], 1.0, 3)),
    )
    known = [(p.log_likelihood, p.verdict) for p in pairs_of(record)]
    assert known == [(-0.125, 0.9), (-0.75, 0.2), (-0.5, None), (None, None)]
    likelier = once(record, "likelihood>=-0.6")
    assert [(r.text, r.told) for r in likelier.rewrites] == [(TEXTS[i], numbers[i]) for i in (0, 2, 3)]
    assert likelier.rejections[1] == Rejection("x", "likelihood", TEXTS[1], -0.75, 1)
    assert likelier.rejections[1].told == numbers[1]
    true = once(likelier, "verdict>=0.5")  # asked for another number, it says its own
    assert [r.text for r in true.rewrites] == [TEXTS[i] for i in (0, 2, 3)]
    assert true.rejections[1] == Rejection("x", "verdict", TEXTS[1], 0.2, 1)
    back = once(true, "")
    assert [(r.text, r.told) for r in back.rewrites] == list(zip(TEXTS, numbers, strict=True))

    sound = create_signal("sound").measure([TextPair(CAPTION, TEXTS[1], -0.75, verdict=0.2)])
    (refused,) = [r for r in once(true, "sound>=1").rejections if r.text == TEXTS[1]]
    assert refused.value == round(sound[0], 4) < 1
    assert [r.text for r in once(true, "sound>=1").rewrites] == [TEXTS[2], TEXTS[3]]  # not known, and not refused


def test_a_pair_is_read_as_clip_reads_it() -> None:
    found = TextPair.recalled("salt &amp; pepper", "pepper &amp;amp; salt", told=Told(-1.0, None))
    assert found == TextPair("salt & pepper", "pepper & salt", -1.0)
    record = Outcome("salt &amp; pepper", (Rewrite("x", "pepper & salt"),))
    assert once(record, "words>=1").rewrites == record.rewrites


def test_candidates_stand_in_their_places() -> None:
    assert [text.text for text in candidates(once(RECORD, "novelty>=0.4"))] == list(TEXTS)


def test_any_augmenter_may_stand_behind_a_gate() -> None:
    plain = ShoutAugmenter()
    gated = GatedAugmenter(plain, Gate("shared-letters>=0.5"))
    captions = ["a dog", "a cat", "hopeless case"]
    before = {o.caption: o for o in plain.outcomes(captions, 2, 3)}
    for outcome in gated.outcomes(captions, 2, 3):
        texts = [r.text for r in before[outcome.caption].rewrites]
        # shouted texts are in capitals and share hardly a letter with their captions
        assert [r.source for r in outcome.rewrites] == ["calm"] * (len(texts) // 2)
        assert [c.text for c in candidates(outcome)] == texts
    assert gated.fingerprint() != plain.fingerprint()
    assert gated.fingerprint() != GatedAugmenter(plain, Gate("shared-letters>=0.6")).fingerprint()
    assert gated.describe()["gate"]["spec"] == "shared-letters>=0.5"
    assert gated.augment(["a dog"], 2, 3)[0][0] == "a dog"  # the caption stands in for what was refused

"""The figures of a report, against captions whose figures can be worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest

from laclip_aug.augmenter import Outcome, Rejection, Rewrite, Told
from laclip_aug.cache.config import Config
from laclip_aug.cache.report import gate_spec, report_of
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.errors import CacheFormatError, UnknownNameError

RECORDS = [
    Outcome(
        "a brown dog", (Rewrite("human", "the brown dog"), Rewrite("mscoco", "a brown dog sits on a chair")), (), 9
    ),
    Outcome(
        "two dogs run on grass",
        (Rewrite("human", "on the grass, two dogs are running"),),
        (
            Rejection("mscoco", "novelty", "two dogs run on grass.", 0.0, 1),
            Rejection("mscoco", "colour-added", "two red dogs run on grass"),
            Rejection("human", "colour-added", "two white dogs run on grass"),
        ),
        20,
    ),
    Outcome("a cat", (), (Rejection("human", "novelty", "A cat", 0.0, 0),), 3),
    Outcome("", (), (Rejection("input", "empty"),)),
    Outcome("A cat", (), (Rejection("input", "folded", "a cat"),)),
]
DESCRIBE = {"augmenter": "llm", "gate": {"spec": "kept>=0.3 novelty>=0.1", "vocabulary": "0"}}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return make(tmp_path / "cache", RECORDS)


def make(directory: Path, records: list[Outcome]) -> Path:
    with CacheWriter(directory, Config("llm", "x", 0, 2, ("human", "mscoco"), DESCRIBE)) as writer:
        writer.new([record.caption for record in records])
        for record in records:
            writer.add(record)
        writer.finish()
    return directory


def test_totals_rejections_and_gate(directory: Path) -> None:
    report = report_of(directory)
    assert report["counts"]["captions"] == 5 and report["counts"]["with_rewrites"] == 2
    assert report["counts"]["acceptance"] == pytest.approx(3 / 7)  # 3 accepted, 4 refused; two are of captions as such
    assert report["sample"] == {"captions": 5, "of": 5, "seed": 0, "texts": 3, "folded": 1}
    assert report["gate"] == "kept>=0.3 novelty>=0.1"
    assert report["rejections"] == {
        "novelty": {"mscoco": 1, "human": 1},
        "colour-added": {"mscoco": 1, "human": 1},
        "empty": {"input": 1},
        "folded": {"input": 1},
    }


def test_signals_have_the_gates_lines_and_what_it_refused(directory: Path) -> None:
    signals = report_of(directory)["signals"]
    novelty = signals["novelty"]
    assert novelty["bounds"] == [{"at_least": True, "bound": 0.1}]
    # "the brown dog": 2 of 4 words are shared; the chair: 3 of 6; the grass: 4 of 8
    assert novelty["quantiles"]["50%"] == 0.5 and novelty["held"] == [1.0]
    assert (sum(novelty["accepted"]), sum(novelty["refused"])) == (3, 2)
    assert novelty["refused"][0] == 2 and novelty["edges"][0] == 0.0
    assert signals["truth"]["bounds"] == [] and signals["words"]["quantiles"]["95%"] == 1.0


def test_refused_texts_of_each_reason_are_shown_with_the_value_they_were_refused_for(tmp_path: Path) -> None:
    refused = [
        Rejection("human", "likelihood", "a dog sat", -0.8125, 0),
        Rejection("human", "likelihood", "a dog is", -2.0, 1),
    ]
    records = [*RECORDS, Outcome("the dog", (), tuple(refused)), Outcome("the red dog", (), (refused[0],))]
    report = report_of(make(tmp_path / "cache", records), "likelihood>=-0.5")
    shown = report["refused"]
    assert list(shown) == ["likelihood", "colour-added", "novelty"]  # by number, then by name
    assert {(item["caption"], item["text"]) for item in shown["likelihood"]} == {
        ("the dog", "a dog sat"),
        ("the red dog", "a dog sat"),
    }
    assert all(item["signals"]["likelihood"] == -0.812 for item in shown["likelihood"])
    assert [item["text"] for item in shown["colour-added"]] == ["two red dogs run on grass"]
    likelihood = report["signals"]["likelihood"]
    assert sum(likelihood["refused"]) == 3 and sum(likelihood["accepted"]) == 0 and likelihood["unknown"] == 3


def test_what_writers_told_is_shown_of_accepted_and_refused_texts_where_it_is_known(tmp_path: Path) -> None:
    numbers = [Told(-0.25, 0.5), Told(-0.5, None), Told(-0.75, 0.9)]
    made = Outcome(
        "the dog",
        (Rewrite("human", "a dog sat", numbers[0]), Rewrite("human", "a dog is", numbers[1])),
        (Rejection("human", "novelty", "dog, the", 0.0, 2, numbers[2]),),
    )
    signals = report_of(make(tmp_path / "cache", [*RECORDS, made]), "kept>=0.3 novelty>=0.1")["signals"]
    assert set(signals) == {"words", "novelty", "kept", "tfidf", "truth", "likelihood", "verdict", "sound"}
    for name, accepted, refused in (("likelihood", 2, 1), ("verdict", 1, 1), ("sound", 1, 1)):
        found = signals[name]
        assert (sum(found["accepted"]), sum(found["refused"])) == (accepted, refused)
        assert found["unknown"] == 5 - accepted and found["bounds"] == []
    assert signals["likelihood"]["quantiles"]["50%"] == -0.375 and signals["verdict"]["quantiles"]["50%"] == 0.5
    assert (signals["likelihood"]["edges"][0], signals["verdict"]["edges"][-1]) == (-0.75, 0.9)

    without = [Outcome("the cat", (Rewrite("human", "a cat sat", Told(-0.25, None)),))]
    assert "likelihood" in (found := report_of(make(tmp_path / "other", without))["signals"])
    assert not {"verdict", "sound"} & set(found)


def test_lengths_are_clips_own(directory: Path) -> None:
    lengths = report_of(directory)["lengths"]
    texts = ["the brown dog", "on the grass, two dogs are running"]
    tokens = [int((row != 0).sum()) for row in open_clip.SimpleTokenizer()(texts)]
    expected = [0] * 20
    for number in tokens:
        expected[number // 4] += 1
    assert lengths["texts"]["human"]["counts"] == expected
    assert lengths["texts"]["human"]["over"] == 0.0 and sum(lengths["captions"]["counts"]) == 5


def test_a_text_longer_than_clip_reads_is_counted_in_the_last_bin(tmp_path: Path) -> None:
    long = Outcome("a dog", (Rewrite("human", "dog " * 100),))
    found = report_of(make(tmp_path / "cache", [long]))["lengths"]["texts"]["human"]
    assert found["over"] == 1.0 and found["counts"][-1] == 1 and found["median"] == 102


def test_lengths_are_held_against_the_context_that_the_texts_were_made_for(tmp_path: Path) -> None:
    describe = {"context": {"tokens": 8, "tokenizer": "clip", "model": "ViT-B-32:8"}}
    with CacheWriter(tmp_path / "cache", Config("llm", "test", 0, 1, ("human",), describe)) as writer:
        writer.new(["a dog"])
        writer.add(Outcome("a dog", (Rewrite("human", "a small dog on a wide beach"),)))  # nine tokens with the marks
        writer.finish()

    lengths = report_of(tmp_path / "cache")["lengths"]
    assert lengths["context"] == 8
    assert (lengths["captions"]["over"], lengths["texts"]["human"]["over"]) == (0.0, 1.0)


def test_words_gained_and_lost(directory: Path) -> None:
    words = report_of(directory)["words"]
    assert words["gained"] == [["chair", 1], ["sits", 1]] and words["lost"] == []


def test_best_and_worst(directory: Path) -> None:
    samples = report_of(directory)["samples"]
    assert [item["caption"] for item in samples["best"]] != []
    assert samples["best"][0]["text"] in ("the brown dog", "on the grass, two dogs are running")
    assert samples["worst"][0]["text"] == "a brown dog sits on a chair"
    assert {item["caption"] for item in samples["random"]} == {"a brown dog", "two dogs run on grass"}


def test_another_gate_and_signals_that_need_more(directory: Path) -> None:
    report = report_of(directory, "words>=0.5 rank<=3 ngrams>=0.2")
    assert report["signals"]["words"]["held"] == [pytest.approx(2 / 3)]
    assert report["left_out"] == {"rank": "needs texts"}
    assert "ngrams" in report["signals"]
    with pytest.raises(UnknownNameError, match="did you mean 'novelty'"):
        report_of(directory, "noveltie>=1")


def test_a_sample_is_a_sample_and_json(tmp_path: Path) -> None:
    records = [Outcome(f"a dog number {i}", (Rewrite("human", f"dog {i}"),)) for i in range(50)]
    directory = make(tmp_path / "cache", records)
    report = report_of(directory, count=10, seed=1)
    assert report["sample"] == {"captions": 10, "of": 50, "seed": 1, "texts": 10, "folded": 0}
    assert report["counts"]["captions"] == 50
    assert json.loads(json.dumps(report, allow_nan=False)) == report == report_of(directory, count=10, seed=1)
    assert report_of(directory, count=10, seed=2) != report


def test_a_cache_without_texts(tmp_path: Path) -> None:
    report = report_of(make(tmp_path / "cache", [Outcome("a dog", ())]))
    assert report["sample"]["texts"] == 0 and report["samples"]["best"] == [] and report["words"]["gained"] == []


def test_no_cache(tmp_path: Path) -> None:
    with pytest.raises(CacheFormatError):
        report_of(tmp_path)


def test_the_last_gate_counts() -> None:
    filtered = Config("llm", "x", 0, 1, ("human",), {**DESCRIBE, "filter": {"spec": "words>=0.5"}})
    assert gate_spec([filtered]) == "words>=0.5"
    assert gate_spec([Config("eda", "x", 0, 1, ("eda",))]) == "none"

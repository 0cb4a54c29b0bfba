"""What a writer told of its texts stays with them in a cache: through gates and back, merges, repairs and journals."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from laclip_aug import create_augmenter
from laclip_aug.augmenter import Outcome, Rejection, Rewrite, Told
from laclip_aug.cache.add import add_texts
from laclip_aug.cache.browse import find, records
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.config import Config
from laclip_aug.cache.filter import filter_cache
from laclip_aug.cache.folding import folded_onto
from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.merge import merge_caches
from laclip_aug.cache.part import Part
from laclip_aug.cache.record import decode, encode
from laclip_aug.cache.repair import repair_cache
from laclip_aug.cache.shards import read_shard, salvage, write_shard
from laclip_aug.cache.storable import storable
from laclip_aug.cache.verify import verify_cache
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.cli import main
from laclip_aug.generation.backend import Completion, Job
from laclip_aug.generation.scripted import ScriptedBackend

MANNERS = "quietly again outside nearby today alone together slowly early late".split()
CAPTIONS = [
    f"a {what} {doing} {where}"
    for what in ("dog", "boat", "woman", "bird &amp; cat")
    for doing in ("rests", "waits")
    for where in ("by the sea", "on grass", "in the snow", "near a caf\u00e9")
]
LOOSE = "likelihood>=-0.9 verdict>=0.2"


def numbers_of(text: str) -> tuple[float, float]:
    """What the script tells of a text, with more digits than are kept."""
    draw = random.Random(text)
    return -1.2 * draw.random(), draw.random()


def answer(job: Job) -> Completion:
    first, *rest = random.Random(job.seed).sample(MANNERS, 2)
    text = f"{job.body} {first}" if job.seed % 3 else f"{first} {job.body} {rest[0]}"
    return Completion(job, text, "stop", 7, *numbers_of(text))


def build(directory: Path, gate: str = LOOSE, captions: list[str] = CAPTIONS, **options: Any) -> Path:
    source = directory.with_name(directory.name + ".txt")
    source.write_text("\n".join(captions), encoding="utf-8")
    augmenter = create_augmenter("llm", backend=ScriptedBackend(answer), gate=gate)
    build_cache(source, directory, augmenter, n=4, progress=False, **{"shard_rows": 12, **options})
    return directory


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("told") / "built")


def content(directory: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in directory.iterdir() if f.suffix in (".parquet", ".table")}


def told(directory: Path) -> list[tuple[str, str, str, Told | None]]:
    """Every text that a gate decides about, with its numbers."""
    return sorted(
        (record.caption, text.source, text.text, text.told)
        for record in records(directory)
        for text in (*record.rewrites, *(r for r in record.rejections if r.place is not None))
    )


def accepted(directory: Path) -> dict[str, list[str]]:
    return {record.caption: [r.text for r in record.rewrites] for record in records(directory)}


def test_a_build_keeps_four_decimals_of_every_text_that_it_judged(built: Path) -> None:
    everything = told(built)
    refused = [r for record in records(built) for r in record.rejections]
    assert len(everything) > 4 * len(CAPTIONS) and {r.reason for r in refused} >= {"likelihood", "verdict"}
    for _, _, text, numbers in everything:
        likelihood, verdict = numbers_of(text)
        assert numbers == (round(likelihood, 4), round(verdict, 4))
    assert all(r.told is None for r in refused if r.place is None)  # the rules of acceptance asked for no numbers


def test_there_and_back_through_the_writers_own_numbers(built: Path, tmp_path: Path) -> None:
    gates = {
        "surer": "likelihood>=-0.9 verdict>=0.6",
        "likelier": "likelihood>=-0.4 verdict>=0.2",
        "sounder": "sound>=0.6 truth>=0.2",
        "all": "none",
        "loose": LOOSE,
    }
    for name, gate in gates.items():
        filter_cache(built, tmp_path / name, gate, progress=False)
    way = built
    for step, name in enumerate(["surer", "loose", "sounder", "likelier", "all", "surer", "sounder", "loose"]):
        report = filter_cache(way, tmp_path / f"step {step}", gates[name], progress=False)
        way = tmp_path / f"step {step}"
        assert report.unknown in ({}, dict.fromkeys(report.unknown, 0))
        assert content(way) == content(tmp_path / name)
        assert told(way) == told(built)
        assert verify_cache(way, progress=False) == ([], [])
    assert len({json.dumps(accepted(tmp_path / name)) for name in gates}) == len(gates)

    before = accepted(built)
    assert any(before.values())
    for name, holds in {"surer": lambda _, v: v >= 0.6, "likelier": lambda m, _: m >= -0.4}.items():
        expected = {
            c: [t for t in texts if holds(*(round(x, 4) for x in numbers_of(t)))] for c, texts in before.items()
        }
        assert accepted(tmp_path / name) == expected != before
    sounder = [t for texts in accepted(tmp_path / "sounder").values() for t in texts]
    refused = [t for texts in before.values() for t in texts if t not in sounder]
    kept, left = ([numbers_of(text)[1] for text in some] for some in (sounder, refused))  # its writer's verdicts
    assert sum(kept) / len(kept) > sum(left) / len(left) + 0.1


def test_the_gate_of_the_build_divides_a_cache_as_the_build_did(built: Path, tmp_path: Path) -> None:
    for gate in (LOOSE, "sound>=0.5 truth>=0.2"):
        first = built if gate == LOOSE else build(tmp_path / "sound", gate)
        for name, spec in (("default", "default"), ("named", gate)):
            out = tmp_path / f"{first.name} {name}"
            filter_cache(first, out, spec, progress=False)
            # all but the note of where they come from, which names the filter
            for shard in read_manifest(first).shards:
                one, other = pq.read_table(first / shard.name), pq.read_table(out / shard.name)
                assert one.equals(other)
            made, again = read_manifest(first).counts, read_manifest(out).counts
            assert (again.rewrites, again.rejections) == (made.rewrites, made.rejections)
            assert any(r.reason in gate for record in records(out) for r in record.rejections)


def test_a_bound_between_a_number_and_its_rounding_decides_alike_at_once_and_later(tmp_path: Path) -> None:
    for verdict, passes in ((0.50004, False), (0.50006, True)):  # 0.5000 and 0.5001

        def said(job: Job, verdict: float = verdict) -> Completion:
            return Completion(job, f"{job.body} again", "stop", 5, -0.25, verdict)

        (tmp_path / "in.txt").write_text("a dog rests")
        augmenter = create_augmenter(
            "llm", backend=ScriptedBackend(said), gate="verdict>=0.50005", strategies="human", max_attempts=1
        )
        first = tmp_path / str(verdict)
        build_cache(tmp_path / "in.txt", first, augmenter, progress=False)
        filter_cache(first, tmp_path / f"{verdict} again", "default", progress=False)
        for directory in (first, tmp_path / f"{verdict} again"):
            record = find(directory, "a dog rests")
            assert record is not None and len(record.rewrites) == passes


def test_an_unfinished_build_has_them_in_its_journal_and_goes_on(built: Path, tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    augmenter = create_augmenter("llm", backend=ScriptedBackend(answer), gate=LOOSE)
    made = list(augmenter.outcomes(CAPTIONS[:20], 4, 0))
    with CacheWriter(directory, Config.of(augmenter, 0, 4), shard_rows=12) as writer:
        writer.new([record.caption for record in made])
        for record in made:
            writer.add(record)
    here = set(CAPTIONS[:20])
    assert (directory / "journal-000001").stat().st_size > 0
    assert told(directory) == [entry for entry in told(built) if entry[0] in here]
    build(directory)
    assert told(directory) == told(built)


def test_merged_caches_keep_them(built: Path, tmp_path: Path) -> None:
    parts = [build(tmp_path / f"part{index}", part=Part(index, 2), shard_rows=100) for index in range(2)]
    shared = build(tmp_path / "shared", captions=[*CAPTIONS[:5], "a hat lies by the sea"])
    merge_caches([*parts, shared], tmp_path / "merged", progress=False)
    found = told(tmp_path / "merged")
    assert [entry for entry in found if entry[0] in CAPTIONS] == told(built)
    assert [entry for entry in found if entry[0] not in CAPTIONS] == [e for e in told(shared) if e[0] not in CAPTIONS]
    assert all(numbers is not None for *_, numbers in found)


def test_repair_keeps_them_of_the_rows_that_are_sound(built: Path, tmp_path: Path) -> None:
    directory = build(tmp_path / "cache", shard_rows=100)
    (shard,) = directory.glob("shard-*")
    data = bytearray(shard.read_bytes())
    key = next(iter(pq.read_table(shard, columns=["key"]).column(0).to_pylist()))
    data[data.index(key)] ^= 1  # the first row no longer is what its key says
    shard.write_bytes(data)
    (sentence,) = repair_cache(directory)
    assert f"1 of {len(CAPTIONS)} captions lost" in sentence
    left = {record.caption for record in records(directory)}
    assert told(directory) == [entry for entry in told(built) if entry[0] in left]
    (directory / "manifest.json").unlink()
    repair_cache(directory)
    assert told(directory) == [entry for entry in told(built) if entry[0] in left]


RECORD = Outcome(
    "a dog",
    (
        Rewrite("x", "the dog", Told(-0.1875, 0.9301)),
        Rewrite("y", "one dog", Told(-1.0003, None)),
        Rewrite("x", "dogs", Told(None, 0.0001)),
        Rewrite("eda", "dog a"),
    ),
    (
        Rejection("x", "echo", "A dog"),
        Rejection("x", "repeated", "no dog", told=Told(-2.5, 0.3333)),
        Rejection("x", "sound", "a log", 0.1234, 4, Told(-3.1416, 0.1)),
        Rejection("y", "surplus", "my dog", None, 5, Told(None, 1.0)),
        Rejection("eda", "words", "god", -0.5, 6),
    ),
    9,
)


def test_journal_and_shard_give_back_what_was_told_to_the_last_digit(tmp_path: Path) -> None:
    images = [Outcome(RECORD.caption, RECORD.rewrites, RECORD.rejections, 9, image=f"{i:04x}") for i in range(3)]
    assert repr(decode(encode(RECORD))) == repr(RECORD)
    assert repr(decode(encode(images[2]))) == repr(images[2])
    for number, made in enumerate(([RECORD], images)):
        shard = write_shard(tmp_path, number, made, [])
        found = [record for _, record in read_shard(tmp_path, shard)]
        assert sorted(map(repr, found)) == sorted(map(repr, made))
        assert sorted(map(repr, salvage(tmp_path / shard.name)[0])) == sorted(map(repr, made))  # by their checksums


def test_what_is_told_is_no_part_of_what_a_text_is() -> None:
    assert Rewrite("x", "the dog", Told(-1.0, 0.5)) == Rewrite("x", "the dog")
    assert hash(Rejection("x", "echo", "a", told=Told(-1.0))) == hash(Rejection("x", "echo", "a"))
    assert Told.of(None, None) is None and Told.of(None, 0.0) == (None, 0.0)


def test_a_text_that_is_refused_on_its_way_takes_along_what_was_told() -> None:
    numbers = Told(-1.5, 0.25)
    record = storable(Outcome("a dog", (Rewrite("x", "a dog", numbers), Rewrite("x", "fine", numbers))))
    assert [r.told for r in (*record.rewrites, *record.rejections)] == [numbers, numbers]
    assert [r.told for r in folded_onto(record, "the dog").rewrites] == [numbers]


def test_added_texts_have_their_own(tmp_path: Path) -> None:
    strategies = {"strategies": "human"}
    (tmp_path / "in.txt").write_text("\n".join(CAPTIONS[:6]), encoding="utf-8")
    first = create_augmenter("llm", backend=ScriptedBackend(answer), gate="none", **strategies)
    build_cache(tmp_path / "in.txt", tmp_path / "first", first, progress=False)
    strategies["strategies"] = "bard"
    more = create_augmenter("llm", backend=ScriptedBackend(answer), gate="none", **strategies)
    add_texts(tmp_path / "first", tmp_path / "both", more, progress=False)
    found = told(tmp_path / "both")
    assert {source for _, source, _, _ in found} == {"human", "bard"}
    assert all(numbers == tuple(round(n, 4) for n in numbers_of(text)) for _, _, text, numbers in found)


def test_the_sweep_shows_them_where_they_are_known(built: Path, tmp_path: Path, capsys: Any) -> None:
    texts = len(told(built))
    assert main(["cache", "filter", str(built), "--sweep"]) == 0
    shown = capsys.readouterr().out
    for name in ("words", "likelihood", "verdict", "sound"):
        (line,) = [line for line in shown.splitlines() if line.startswith(f"{name}>=")]
        assert line.endswith(f"kept, of {texts} texts")
    (tmp_path / "in.jsonl").write_text('{"caption": "a dog", "x": "the dog"}\n')
    main(["cache", "import", str(tmp_path / "in.jsonl"), "--cache", str(tmp_path / "imported"), "--rewrite-key", "x"])
    capsys.readouterr()
    assert main(["cache", "filter", str(tmp_path / "imported"), "--sweep"]) == 0
    shown = capsys.readouterr().out
    assert "words>=" in shown and "sound" not in shown and "unknown" not in shown
    assert main(["cache", "filter", str(tmp_path / "imported"), "--sweep", "--gate", "sound>=0"]) == 0
    assert "of 0 texts (1 unknown)" in capsys.readouterr().out

"""What writers told of their texts goes out with them and comes back, in each format; exports from before have none."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laclip_aug.augmenter import Outcome, Rejection, Rewrite, Told
from laclip_aug.cache.browse import records
from laclip_aug.cache.config import Config
from laclip_aug.cache.export import export_records
from laclip_aug.cache.filter import filter_cache
from laclip_aug.cache.ingest import import_cache
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.exchange.export import export
from laclip_aug.exchange.exported import exported, is_export
from laclip_aug.exchange.import_form import ImportForm
from laclip_aug.exchange.log import InputLog

RECORDS = [
    Outcome(
        "a brown dog",
        (
            Rewrite("human", "the brown dog", Told(-0.1875, 0.9301)),
            Rewrite("bard", 'a "dog",\nbrown', Told(-1.0003, None)),
            Rewrite("mscoco", "dog, brown", Told(None, 0.0001)),
            Rewrite("eda", "dog a brown"),
        ),
        (
            Rejection("bard", "echo", "A brown dog"),
            Rejection("human", "likelihood", "brown it is", -3.1416, 4, Told(-3.1416, 0.3333)),
            Rejection("human", "surplus", "a dog in brown", None, 5, Told(-0.5, 1.0)),
        ),
        9,
    ),
    Outcome("a cat", (), (), 2),
]
NAMES = ["out.jsonl", "out.parquet", "out.csv"]


def told(found: list[Outcome]) -> list[tuple[str, str, Told | None]]:
    return sorted((r.caption, t.text, t.told) for r in found for t in (*r.rewrites, *r.rejections))


def cache(directory: Path, made: list[Outcome]) -> Path:
    with CacheWriter(directory, Config("llm", "x", 0, 4, ("human", "bard", "mscoco", "eda"))) as writer:
        writer.new_records(made)
        for record in made:
            writer.add(record)
        writer.finish()
    return directory


@pytest.mark.parametrize("by_image", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_out_and_in_again(tmp_path: Path, name: str, by_image: bool) -> None:
    made = [Outcome(r.caption, r.rewrites, r.rejections, r.tokens, image="7" * by_image) for r in RECORDS]
    assert export(made, tmp_path / name) == 2
    found = list(exported(str(tmp_path / name), log := InputLog()))
    assert not log.rejections
    assert told(found) == told(made)
    if name != "out.csv":
        assert repr(found) == repr(made)


@pytest.mark.parametrize("name", [*NAMES, "folder"])
def test_a_cache_that_was_exported_goes_through_the_writers_numbers(tmp_path: Path, name: str) -> None:
    first = cache(tmp_path / "first", RECORDS)
    export_records(first, str(tmp_path / name))
    out = tmp_path / name / "data" / "00000.parquet" if name == "folder" else tmp_path / name
    import_cache(out, tmp_path / "second", ImportForm())
    assert told(list(records(tmp_path / "second"))) == told(RECORDS)
    filter_cache(tmp_path / "second", tmp_path / "likelier", "likelihood>=-0.9", progress=False)
    kept = {t.text for r in records(tmp_path / "likelier") for t in r.rewrites}
    assert {"the brown dog", "dog, brown", "dog a brown"} == kept - {"a dog in brown"}
    assert ("a dog in brown" in kept) == (name != "out.csv")  # a table of texts has no places, so that none comes back


def test_what_is_not_known_is_left_out_or_empty(tmp_path: Path) -> None:
    for name in NAMES:
        export(RECORDS, tmp_path / name)
    first, second = (json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines())
    assert first["rewrites"][1:] == [
        {"source": "bard", "text": 'a "dog",\nbrown', "likelihood": -1.0003},
        {"source": "mscoco", "text": "dog, brown", "verdict": 0.0001},
        {"source": "eda", "text": "dog a brown"},
    ]
    assert first["rejections"][0] == {"source": "bard", "reason": "echo", "text": "A brown dog"}
    assert second["rewrites"] == []
    with (tmp_path / "out.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["caption", "source", "text", "rejected", "likelihood", "verdict"]
    assert [row[4:] for row in rows[:5]] == [["-0.1875", "0.9301"], ["-1.0003", ""], ["", "0.0001"], ["", ""], ["", ""]]
    assert rows[-1] == ["a cat", "", "", "", "", ""]


def test_exports_of_earlier_versions_are_read(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text(
        "caption,source,text,rejected\na dog,human,the dog,\na dog,bard,A dog,echo\na cat,,,\n"
    )
    (tmp_path / "keyed.csv").write_text("image_key,caption,source,text,rejected\n7,a dog,human,the dog,\n")
    rows = [
        {
            "caption": "a dog",
            "rewrites": [{"source": "human", "text": "the dog"}],
            "rejections": [{"source": "bard", "reason": "likelihood", "text": "A dog", "value": -3.5, "place": 1}],
            "tokens": 9,
        }
    ]
    (tmp_path / "old.jsonl").write_text(json.dumps(rows[0]) + "\n")
    text = pa.string()
    refused = [("source", text), ("reason", text), ("text", text), ("value", pa.float64()), ("place", pa.int64())]
    schema = pa.schema(
        [
            ("caption", text),
            ("rewrites", pa.list_(pa.struct([("source", text), ("text", text)]))),
            ("rejections", pa.list_(pa.struct(refused))),
            ("tokens", pa.int64()),
        ]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "old.parquet")
    expected = Outcome("a dog", (Rewrite("human", "the dog"),), (Rejection("bard", "likelihood", "A dog", -3.5, 1),), 9)
    for name in ("old.jsonl", "old.parquet"):
        assert repr(list(exported(str(tmp_path / name), InputLog()))) == repr([expected])
    assert repr(list(exported(str(tmp_path / "old.csv"), InputLog()))) == repr(
        [Outcome("a dog", expected.rewrites, (Rejection("bard", "echo", "A dog"),)), Outcome("a cat", ())]
    )
    assert repr(list(exported(str(tmp_path / "keyed.csv"), InputLog()))) == repr(
        [Outcome("a dog", expected.rewrites, image="7")]
    )
    (tmp_path / "other.csv").write_text("caption,source,text,rejected,likelihood\n")
    assert not is_export(str(tmp_path / "other.csv"))


def test_a_number_that_is_none_is_a_malformed_row(tmp_path: Path) -> None:
    row = {"caption": "a dog", "rewrites": [{"source": "x", "text": "b"}], "rejections": [], "tokens": 0}
    lines = [row]
    for wrong in ("high", [1], float("nan"), float("inf")):
        lines.append({**row, "rewrites": [{"source": "x", "text": "b", "verdict": wrong}]})
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = list(exported(str(tmp_path / "in.jsonl"), log := InputLog()))
    assert len(found) == 1 and log.rejections == {"malformed-row": 4}

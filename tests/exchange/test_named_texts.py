"""Several texts in a cell, or texts with their sources: objects, lists, and these as a CSV writes them."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laclip_aug.augmenter import Rewrite
from laclip_aug.cache.browse import records
from laclip_aug.cache.ingest import import_cache
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.exchange.import_form import ImportForm
from tests.exchange.conftest import jsonl, written


@pytest.mark.parametrize("name", ["in.jsonl", "in.parquet"])
@pytest.mark.parametrize("form", [ImportForm(), ImportForm(rewrite_keys=("rewrites",)), ImportForm(image_key="uid")])
def test_an_object_of_texts_names_their_sources(tmp_path, name, form):
    rows = [{"caption": "a dog", "rewrites": {"gpt": "the dog", "bard": "one dog"}}]
    rows += [{"caption": "a cat", "rewrites": {"bard": "the cat"}}]
    source = written(tmp_path / name, [{"uid": f"u{i}", **row} for i, row in enumerate(rows)])
    report = import_cache(source, tmp_path / "cache", form)
    found = {record.caption: set(record.rewrites) for record in records(tmp_path / "cache")}
    assert found == {
        "a dog": {Rewrite("gpt", "the dog"), Rewrite("bard", "one dog")},
        "a cat": {Rewrite("bard", "the cat")},
    }
    assert {"gpt", "bard"} <= set(CaptionCache(tmp_path / "cache").sources) and not report.input.rejections
    # Arrow gives each object all members, and a text that is null is missing, as it is in a column of its own
    assert report.cache.rejections == ({"missing": 1} if name == "in.parquet" else {})


@pytest.mark.parametrize("name", ["in.jsonl", "in.parquet"])
@pytest.mark.parametrize(
    "cell",
    [
        {"gpt": ["the dog", "one dog"], "bard": ["dog on grass"]},
        [{"gpt": ["the dog", "one dog"]}, {"bard": "dog on grass"}],
        [{"source": "gpt", "text": ["the dog", "one dog"]}, {"source": "bard", "text": ["dog on grass"]}],
    ],
)
def test_lists_of_texts_under_the_names_of_their_sources(tmp_path, name, cell):
    if name == "in.parquet" and cell == [{"gpt": ["the dog", "one dog"]}, {"bard": "dog on grass"}]:
        cell = [{"gpt": ["the dog", "one dog"]}, {"bard": ["dog on grass"]}]  # Arrow's members have one type each
    import_cache(
        written(tmp_path / name, [{"caption": "a dog", "llm": cell}]), tmp_path / "cache", ImportForm(("llm",))
    )
    assert CaptionCache(tmp_path / "cache").get("a dog") == (
        Rewrite("gpt", "the dog"), Rewrite("gpt", "one dog"), Rewrite("bard", "dog on grass")
    )  # fmt: skip


def test_a_map_of_arrow_names_sources(tmp_path):
    cells = pa.array([[("gpt", "the dog"), ("bard", "one dog")], []], pa.map_(pa.string(), pa.string()))
    pq.write_table(pa.table({"caption": ["a dog", "a cat"], "rewrites": cells}), tmp_path / "in.parquet")
    import_cache(tmp_path / "in.parquet", tmp_path / "cache", ImportForm())
    assert {record.caption: record.rewrites for record in records(tmp_path / "cache")} == {
        "a dog": (Rewrite("gpt", "the dog"), Rewrite("bard", "one dog")), "a cat": ()
    }  # fmt: skip


def test_an_object_that_says_more_of_a_text_is_told_how_to_be_written(tmp_path):
    """Of a list of such objects nothing says which member is the text: none is taken."""
    rows = [{"caption": "a dog", "llm": [{"rewrite": "the dog runs", "model": "gpt 4 turbo"}]}]
    rows += [{"caption": "a cat", "llm": [{"text": "the cat sits", "source": None, "score": 0.5}]}]
    rows += [{"caption": "a cow", "llm": [{"text": None, "source": "gpt", "score": 0.1}]}]  # it says that there is none
    source = jsonl(tmp_path / "in.jsonl", *rows)
    report = import_cache(source, tmp_path / "cache", ImportForm(("llm",)))
    assert CaptionCache(tmp_path / "cache").get("a dog") == ()
    assert CaptionCache(tmp_path / "cache").get("a cat") == (Rewrite("llm", "the cat sits"),)
    assert report.cache.rejections == {"not-text": 1, "missing": 1}
    said = "\n".join(report.lines())
    assert f'not-text: 1, for example {source}: line 1. Write {{"text": TEXT}}' in said and "{SOURCE: TEXT}" in said


TEXTS = ["the dog's ball", 'a "big" dog, running', "one dog \u732b"]


@pytest.mark.parametrize(
    "cell",
    [
        json.dumps(TEXTS),
        json.dumps([{"source": "llm", "text": text} for text in TEXTS]),
        json.dumps({"llm": TEXTS}),
        str(TEXTS),  # as pandas and datasets write a list
        str({"llm": TEXTS}),
        str(np.array(TEXTS)),  # as pandas writes what it read from Parquet
        str(np.array(TEXTS, dtype=object)),
    ],
)
def test_a_cell_of_a_csv_with_a_list_holds_several_texts(tmp_path, cell):
    table = pd.DataFrame({"caption": ["a dog", "[sic] a cat", "a cow"], "llm": [cell, "[the] cat", "[]"]})
    table.to_csv(tmp_path / "in.csv", index=False)
    report = import_cache(tmp_path / "in.csv", tmp_path / "cache", ImportForm(("llm",)))
    cache = CaptionCache(tmp_path / "cache")
    assert cache.get("a dog") == tuple(Rewrite("llm", text) for text in TEXTS)
    assert cache.get("[sic] a cat") == (Rewrite("llm", "[the] cat"),) and cache.get("a cow") == ()
    assert report.cache.rejections == {}


@pytest.mark.parametrize(
    "text",
    ["[photo] a dog [beach]", '["Dog" by a painter]', "[1, 2]", "['a dog', 1]", "['a dog", "{a dog}", "[a] ['dog']"],
)
def test_a_text_in_brackets_is_no_list(tmp_path, text):
    pd.DataFrame({"caption": ["a dog"], "llm": [text]}).to_csv(tmp_path / "in.csv", index=False)
    import_cache(tmp_path / "in.csv", tmp_path / "cache", ImportForm(("llm",)))
    (record,) = records(tmp_path / "cache")
    assert [*record.rewrites, *record.rejections][0].text == text

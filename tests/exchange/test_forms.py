"""Rewrites that exist already become a cache, and a cache becomes JSONL again."""

import gzip
import json
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laclip_aug.augmenter import Outcome, Rejection, Rewrite
from laclip_aug.cache.browse import find, records
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.filter import filter_cache
from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.ingest import import_cache, import_config
from laclip_aug.cache.journal import Journal, read_journal
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.verify import verify_cache
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.cli import main
from laclip_aug.eda import EDAAugmenter
from laclip_aug.errors import CacheMismatchError, ConfigurationError, InputError
from laclip_aug.exchange.export import export
from laclip_aug.exchange.import_form import ImportForm
from laclip_aug.exchange.readers import InputOptions
from laclip_aug.exchange.tars import TextKeys


def jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_columns(tmp_path):
    source = jsonl(
        tmp_path / "in.jsonl",
        {"raw": "a dog", "synthetic": "dog", "fused": "a dog on grass"},
        {"raw": "a cat", "synthetic": None, "fused": "a cat"},
        {"raw": 5, "synthetic": "x", "fused": "x"},
        {"raw": "a dog", "synthetic": "second", "fused": "second"},
    )
    form = ImportForm(rewrite_keys=("fused", "synthetic"), sources=("capsfusion", "synthetic"))
    report = import_cache(source, tmp_path / "cache", form, InputOptions(caption_key="raw"))
    assert (report.made, report.repeated, report.input.rows) == (2, 1, 4)
    assert report.input.rejections == {"not-text": 1, "other-rewrites": 1}
    assert report.input.examples["other-rewrites"] == ["'a dog'"]
    cache = CaptionCache(tmp_path / "cache")
    assert cache.get("a dog") == (Rewrite("capsfusion", "a dog on grass"), Rewrite("synthetic", "dog"))
    assert find(tmp_path / "cache", "a cat").rejections == (
        Rejection("synthetic", "missing"),
        Rejection("capsfusion", "unchanged", "a cat"),
    )
    assert cache.sources == ("capsfusion", "synthetic")
    assert read_manifest(tmp_path / "cache").config.augmenter == "import"
    with pytest.raises(CacheMismatchError):
        other = ImportForm(rewrite_keys=("fused",), sources=("other",))
        import_cache(source, tmp_path / "cache", other, InputOptions(caption_key="raw"))


@pytest.mark.parametrize("first", ["whole", "partial"])
def test_texts_that_json_leaves_out_are_missing_and_the_others_of_their_row_are_not(tmp_path, first):
    """As Spark writes rows: what is null is not there, in the first row neither, and maybe no row has all."""
    rows = [{"caption": "a bird"}, {"bard": "of no caption"}, {"caption": "a dog", "gpt": "the dog runs"}]
    rows += [{"caption": "a kite", "bard": "the kite"}, {"caption": "a cat", "gpt": "the cat sits"}, {"url": "u4"}]
    if first == "whole":
        rows.insert(0, {"caption": "a bus", "gpt": "buses drive", "bard": "the bus"})
    form = ImportForm(rewrite_keys=("gpt", "bard"))
    report = import_cache(jsonl(tmp_path / "in.jsonl", *rows), tmp_path / "cache", form)
    found = {record.caption: [text.text for text in record.rewrites] for record in records(tmp_path / "cache")}
    whole = {"a bus": ["buses drive", "the bus"]} if first == "whole" else {}
    assert found == whole | {
        "a bird": [], "a dog": ["the dog runs"], "a kite": ["the kite"], "a cat": ["the cat sits"], "nan": []
    }  # fmt: skip
    assert report.input.rejections == {"missing": 1, "missing-key": 1}
    assert report.cache.rejections == {"missing": 5}  # two texts of the bird, one of dog, kite and cat


def written(path, rows):
    """``rows`` in a file of the kind that its name says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    return jsonl(path, *rows)


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


def test_each_row_of_an_import_is_counted_once(tmp_path):
    captions = ["a dog", "a cat", "a dog", None, "nan", " nan\t", "&nbsp;"]  # the trainer reads nan where there is none
    source = jsonl(tmp_path / "in.jsonl", *({"caption": text, "rewrites": ["one animal"]} for text in captions))
    report = import_cache(source, tmp_path / "cache", ImportForm(sources=("gpt",)))
    assert (report.input.rows, report.made, report.repeated) == (7, 2, 1)
    assert report.input.rejections == {"missing": 3, "empty": 1}


def test_a_caption_that_the_trainer_takes_for_a_missing_one_is_counted_in_each_form(tmp_path):
    (tmp_path / "in.txt").write_text("a dog\nnan\na cat\n")
    (tmp_path / "gpt.txt").write_text("one dog here\nno animal here\none cat here\n")
    form = ImportForm(lines=(f"gpt={tmp_path / 'gpt.txt'}",))
    reports = [import_cache(tmp_path / "in.txt", tmp_path / "lines", form)]
    lists = jsonl(tmp_path / "in.jsonl", {"all": ["a dog", "nan"]}, {"all": ["a cat"]})
    reports.append(import_cache(lists, tmp_path / "lists", ImportForm(list_key="all")))
    export(records(tmp_path / "lists"), str(tmp_path / "out.jsonl"))
    reports.append(import_cache(tmp_path / "out.jsonl", tmp_path / "export", ImportForm()))
    assert [(report.made, report.input.rejections) for report in reports] == [(2, {"missing": 1})] * 3


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


def test_a_list_of_captions_in_a_csv(tmp_path):
    pd.DataFrame({"captions": [["a dog", "the dog"], ["a cat"]]}).to_csv(tmp_path / "in.csv", index=False)
    report = import_cache(tmp_path / "in.csv", tmp_path / "cache", ImportForm(list_key="captions"))
    assert CaptionCache(tmp_path / "cache").get("the dog") == (Rewrite("human", "a dog"),)
    assert (report.made, report.input.rejections.total()) == (3, 0)


def test_groups_of_several_captions_per_image(tmp_path):
    source = tmp_path / "in.tsv"
    source.write_text(
        "filepath\tcaption_index\tcaption\n"
        "1.jpg\t1\tdog runs\n1.jpg\t0\ta dog runs\n1.jpg\t2\ta brown dog\n"
        "2.jpg\t0\ta cat\n"
        "3.jpg\tx\ta cow\n"
    )
    report = import_cache(source, tmp_path / "cache", ImportForm(group_key="filepath", index_key="caption_index"))
    cache = CaptionCache(tmp_path / "cache")
    assert cache.get("a dog runs") == (Rewrite("human", "dog runs"), Rewrite("human", "a brown dog"))
    assert cache.get("dog runs") == (Rewrite("human", "a dog runs"), Rewrite("human", "a brown dog"))
    assert cache.get("a brown dog") == (Rewrite("human", "a dog runs"), Rewrite("human", "dog runs"))
    assert cache.get("a cat") == ()
    assert report.input.rejections == {"not-a-number": 1}
    assert len(cache) == 4


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.parquet"])
def test_numbers_that_order_rows_may_be_floats(tmp_path, name):
    """As pandas makes them of whole numbers, ten among them, once a cell of their column is missing."""
    numbers = [10, 1, None, 2]
    table = pd.DataFrame({"image": [5] * 4, "n": numbers, "caption": ["a last dog", "a first dog", "none", "a dog"]})
    if name == "in.csv":
        table.to_csv(tmp_path / name, index=False)
    elif name == "in.parquet":
        table.to_parquet(tmp_path / name)
    else:
        jsonl(tmp_path / name, *table.to_dict("records"))
    report = import_cache(tmp_path / name, tmp_path / "cache", ImportForm(group_key="image", index_key="n"))
    found = CaptionCache(tmp_path / "cache").get("a first dog")
    assert [rewrite.text for rewrite in found] == ["a dog", "a last dog"] and report.made == 3
    assert report.input.rejections == {"not-a-number": 1}
    assert "row 3. Each row needs a number under n" in "\n".join(report.lines()).replace("line 3", "row 3")


def test_a_group_goes_on_where_its_number_is_written_otherwise(tmp_path):
    rows = [{"image": key, "caption": f"photo {key!r}"} for key in (7, 7.0, "7.0", 8)]
    report = import_cache(jsonl(tmp_path / "in.jsonl", *rows), tmp_path / "cache", ImportForm(group_key="image"))
    found = {record.caption: len(record.rewrites) for record in records(tmp_path / "cache")}
    assert found == {"photo 7": 2, "photo 7.0": 2, "photo '7.0'": 2, "photo 8": 0}
    assert not report.input.rejections


def test_images_that_share_a_caption_and_images_in_two_places_are_named(tmp_path):
    source = tmp_path / "in.tsv"
    source.write_text(
        "filepath\tcaption\n1.jpg\ta dog\n1.jpg\ta brown dog\n2.jpg\ta dog\n2.jpg\ta black dog\n1.jpg\tdog\n"
        "3.jpg\tNA\n3.jpg\ta cat\n3.jpg\ta cat\n"
    )
    report = import_cache(source, tmp_path / "cache", ImportForm(group_key="filepath"))
    assert report.input.rejections == {"other-rewrites": 1, "split-group": 1, "missing": 1}
    assert report.input.examples["split-group"] == [f"{source}: row 5"]
    assert "Sort the file by filepath" in "\n".join(report.lines())
    cache = CaptionCache(tmp_path / "cache")
    assert cache.get("a dog") == (Rewrite("human", "a brown dog"),)
    assert cache.get("a black dog") == (Rewrite("human", "a dog"),)
    assert cache.get("a cat") == () and cache.get("nan") is None
    again = import_cache(source, tmp_path / "cache", ImportForm(group_key="filepath"))
    assert (again.made, again.input.rejections["other-rewrites"]) == (0, 1)  # what is stored already is no other


def test_rows_without_an_image_are_no_image(tmp_path):
    source = tmp_path / "in.tsv"
    source.write_text(
        "filepath\tcaption\n1.jpg\ta dog runs\n\ta cat sits\nNA\ta red bus\n1.jpg\ta brown dog\n"
        "null\ta cow\nnan\ta boat\n"
    )
    report = import_cache(source, tmp_path / "cache", ImportForm(group_key="filepath"))
    assert report.input.rejections == {"no-group-key": 4}
    assert report.input.examples["no-group-key"] == [f"{source}: row {row}" for row in (2, 3, 5)]
    assert "under filepath" in "\n".join(report.lines())
    assert {record.caption: [r.text for r in record.rewrites] for record in records(tmp_path / "cache")} == {
        "a dog runs": ["a brown dog"],
        "a brown dog": ["a dog runs"],
    }


@pytest.mark.parametrize("name", ["in.jsonl", "in.parquet"])
def test_an_image_may_be_called_as_a_missing_cell_where_these_differ(tmp_path, name):
    keys = ["NA", "NA", None, None, "null", "null", "", "", "None", "nan", "nan", " ", " "]
    rows = [{"image": key, "caption": f"photo {i}"} for i, key in enumerate(keys)]
    rows += [{"image": "x", "caption": text} for text in ("null", "NA", "None")]  # captions that are these words
    source = jsonl(tmp_path / "in.jsonl", *rows)
    if name == "in.parquet":
        source = tmp_path / name
        pq.write_table(pa.Table.from_pylist(rows), source)
    report = import_cache(source, tmp_path / "cache", ImportForm(group_key="image"))
    assert report.input.rejections == {"no-group-key": 8}
    assert {record.caption: [r.text for r in record.rewrites] for record in records(tmp_path / "cache")} == {
        "photo 0": ["photo 1"],
        "photo 1": ["photo 0"],
        "photo 4": ["photo 5"],
        "photo 5": ["photo 4"],
        "photo 8": [],
        "null": ["NA", "None"],
        "NA": ["null", "None"],
        "None": ["null", "NA"],
    }


def test_numbers_of_images_of_which_some_are_missing(tmp_path):
    """As pandas writes whole numbers beside missing ones: as floats."""
    table = pd.DataFrame({"image": [7, None, 7, None], "caption": ["a dog", "a cat", "dog", "a cow"]})
    table.to_parquet(tmp_path / "in.parquet")
    lines = [json.dumps({"image": key, "caption": f"photo {key}"}) for key in (float("nan"), float("nan"), 1.0)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    report = import_cache(
        [str(tmp_path / "in.parquet"), str(tmp_path / "in.jsonl")], tmp_path / "cache", ImportForm(group_key="image")
    )
    assert report.input.rejections == {"no-group-key": 4}
    cache = CaptionCache(tmp_path / "cache")
    assert cache.get("a dog") == (Rewrite("human", "dog"),) and cache.get("dog") == (Rewrite("human", "a dog"),)
    assert cache.get("photo 1.0") == () and len(cache) == 3


def test_samples_without_the_field_of_their_image(tmp_path):
    import webdataset as wds

    with wds.TarWriter(str(tmp_path / "0.tar")) as tar:
        for number, image in enumerate(("a", "a", None, None)):
            fields = {} if image is None else {"image": image}
            tar.write({"__key__": str(number), "txt": f"photo {number}", "json": fields})
    report = import_cache(tmp_path / "0.tar", tmp_path / "cache", ImportForm(group_key="image"))
    assert report.input.rejections == {"no-group-key": 2}
    assert {record.caption for record in records(tmp_path / "cache")} == {"photo 0", "photo 1"}


def test_missing_cells_never_become_texts(tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("caption,rewrite\na dog,NA\n,a rewrite of nothing\na cat,the cat\n")
    report = import_cache(source, tmp_path / "cache", ImportForm(rewrite_keys=("rewrite",)))
    cache = CaptionCache(tmp_path / "cache")
    assert [cache.get(caption) for caption in ("a dog", "nan", "a cat")] == [(), (), (Rewrite("rewrite", "the cat"),)]
    assert report.input.rejections == {"missing": 1}
    assert find(tmp_path / "cache", "nan").rejections == (Rejection("input", "missing"),)
    assert find(tmp_path / "cache", "a dog").rejections == (Rejection("rewrite", "missing"),)


def test_a_source_that_is_no_unicode_text_is_written_with_its_escape(tmp_path, capsys):
    source = jsonl(
        tmp_path / "in.jsonl",
        {"caption": "a dog", "rewrites": [{"source": "x\ud83d", "text": "the dog"}]},
        {"caption": "a cat\0 \ud83d", "rewrites": [{"source": "x\ud83d", "text": "the cat"}]},
    )
    command = ["cache", "import", str(source), "--cache", str(tmp_path / "cache")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "alignment, x\\ud83d: 2 rows" in said and "rewrites, x\\ud83d: 1" in said
    assert "refused, not-unicode: 1, for example 'a cat\\x00 \\ud83d'" in said
    cache = CaptionCache(tmp_path / "cache")
    assert cache.sources == ("x\\ud83d",) and len(cache) == 1
    assert cache.get("a dog") == (Rewrite("x\\ud83d", "the dog"),)
    assert main(command) == 0  # and the file may grow
    assert main(["cache", "info", str(tmp_path / "cache")]) == 0
    assert "sources: x\\ud83d; texts" in capsys.readouterr().out


def test_an_import_that_such_a_source_stopped_goes_on(tmp_path):
    """What earlier releases left: the manifest and the journal have the name as it came."""
    rows = [{"caption": name, "rewrites": [{"source": "x\ud83d", "text": f"the {name}"}]} for name in ("dog", "cat")]
    source, cache = jsonl(tmp_path / "in.jsonl", *rows), tmp_path / "cache"
    new = import_config("columns", ["x\ud83d"])
    old = replace(new, sources=("x\ud83d",))
    with CacheWriter(cache, old) as writer:
        writer.add(Outcome("cow", ()))
    journal = Journal(cache / "journal-000000", read_journal(cache / "journal-000000").origins[0])
    journal.append(Outcome("dog", (Rewrite("x\ud83d", "the dog"),)))
    journal.close()
    report = import_cache(source, cache, ImportForm())
    assert (report.recovered, report.made) == (1, 2)
    assert "1 records left out, such as 'dog'" in report.lines()[0]
    assert CaptionCache(cache).get("dog") == (Rewrite("x\\ud83d", "the dog"),)
    assert read_manifest(cache).configs == [new]
    assert verify_cache(cache) == ([], [])


def test_samples_of_a_tar_as_rows(tmp_path):
    import webdataset as wds

    path = tmp_path / "0.tar"
    with wds.TarWriter(str(path)) as tar:
        tar.write({"__key__": "0", "txt": "a dog", "json": {"llm": ["a dog runs", "the dog"], "alt": "dog"}})
        tar.write({"__key__": "1", "txt": "a cat", "json": {"llm": None, "alt": "cat"}})
        tar.write({"__key__": "2", "txt": "a cow", "json": {"alt": "cow", "llm": "the cow"}})
    form = ImportForm(rewrite_keys=("llm",))
    report = import_cache(path, tmp_path / "cache", form)
    cache = CaptionCache(tmp_path / "cache")
    assert cache.get("a dog") == (Rewrite("llm", "a dog runs"), Rewrite("llm", "the dog"))
    assert cache.get("a cow") == (Rewrite("llm", "the cow"),)
    assert report.input.rows == 3 and report.made == 3
    options = InputOptions(text_keys=TextKeys.of(json_text_key="alt"))
    import_cache(path, tmp_path / "other", form, options)
    assert CaptionCache(tmp_path / "other").get("cow") == (Rewrite("llm", "the cow"),)
    with pytest.raises(InputError, match=r"missing-key.*has no nothing"):
        import_cache(path, tmp_path / "third", ImportForm(rewrite_keys=("nothing",)))


def test_lists_of_captions(tmp_path):
    source = jsonl(
        tmp_path / "in.jsonl", {"captions": ["a dog", "dog", "the dog"]}, {"captions": []}, {"captions": "x"}
    )
    report = import_cache(source, tmp_path / "cache", ImportForm(list_key="captions"))
    assert CaptionCache(tmp_path / "cache").get("a dog") == (Rewrite("human", "dog"), Rewrite("human", "the dog"))
    assert CaptionCache(tmp_path / "cache").get("the dog") == (Rewrite("human", "a dog"), Rewrite("human", "dog"))
    assert report.input.rejections == {"not-text": 2}


def test_lines_as_released_with_the_paper(tmp_path):
    source = tmp_path / "in.csv"
    source.write_text('1.jpg,"a dog, running"\n2.jpg,a cat\nbroken row\n4.jpg,一只狗在海滩\n', encoding="utf-8")
    (tmp_path / "gpt.txt").write_text("a dog that runs\ncat\nx y\n海滩上有一只狗\n", encoding="utf-8")
    (tmp_path / "bard.txt").write_bytes(b"the dog runs\nthe cat\xff\nx y\n" + "狗\n".encode())
    lines = (f"chatgpt={tmp_path / 'gpt.txt'}", f"bard={tmp_path / 'bard.txt'}")
    report = import_cache(source, tmp_path / "cache", ImportForm(lines=lines))
    cache = CaptionCache(tmp_path / "cache")
    assert cache.sources == ("chatgpt", "bard")
    assert cache.get("a dog, running") == (Rewrite("chatgpt", "a dog that runs"), Rewrite("bard", "the dog runs"))
    assert cache.get("一只狗在海滩") == (Rewrite("chatgpt", "海滩上有一只狗"),)
    assert report.cache.rejections == {"too-few-words": 2, "invalid-utf8": 1}
    assert report.input.rejections == {"malformed-row": 1}
    (tmp_path / "gpt.txt").write_text("one line only\n")
    with pytest.raises(InputError, match=r"has 1 lines.*has 4 rows"):
        import_cache(source, tmp_path / "other", ImportForm(lines=lines))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["in.txt", "in.csv"])
def test_lines_as_windows_saves_them(tmp_path, name):
    rows = ["un café noir", "two cats"]
    held = {"in.txt": rows, "in.csv": [f"{n}.jpg,{row}" for n, row in enumerate(rows)]}[name]
    for file, lines in ((name, held), ("gpt.txt", ["a black coffee", "cats, two"])):
        (tmp_path / file).write_bytes(b"\xef\xbb\xbf" + "".join(f"{line}\r\n" for line in lines).encode())
    import_cache(tmp_path / name, tmp_path / "cache", ImportForm(lines=(f"gpt={tmp_path / 'gpt.txt'}",)))
    assert {record.caption: record.rewrites for record in records(tmp_path / "cache")} == {
        "un café noir": (Rewrite("gpt", "a black coffee"),),
        "two cats": (Rewrite("gpt", "cats, two"),),
    }


@pytest.mark.parametrize("name", ["in.txt", "in.csv"])
@pytest.mark.parametrize(
    ("ends", "refused"),
    [
        (("\n", "", ""), False),
        (("", "\n", ""), False),
        (("", "\r\n", "\n"), False),
        (("\n", "\n", ""), False),
        (("\n\n", "", ""), True),
        (("", "a line\n", ""), True),
        (("a,line\n", "", ""), True),
    ],
)
def test_an_empty_line_at_the_end_of_one_of_the_files_is_no_row(tmp_path, name, ends, refused):
    rows = ["a dog runs", "two cats"]
    held = rows if name == "in.txt" else [f"{number}.jpg,{row}" for number, row in enumerate(rows)]
    texts = {name: held, "gpt.txt": ["the dog is running", "cats, two"], "bard.txt": ["one dog runs", "a pair of cats"]}
    for (file, lines), end in zip(texts.items(), ends, strict=True):
        (tmp_path / file).write_text("".join(f"{line}\n" for line in lines) + end, newline="")
    form = ImportForm(lines=(f"gpt={tmp_path / 'gpt.txt'}", f"bard={tmp_path / 'bard.txt'}"))
    if refused:
        with pytest.raises(InputError, match=r"has [234] lines, .* has [234] rows"):
            import_cache(tmp_path / name, tmp_path / "cache", form)
        return
    report = import_cache(tmp_path / name, tmp_path / "cache", form)
    assert {record.caption: [text.text for text in record.rewrites] for record in records(tmp_path / "cache")} == {
        "a dog runs": ["the dog is running", "one dog runs"], "two cats": ["cats, two", "a pair of cats"]
    }  # fmt: skip
    assert report.input.rows == 2 and not report.input.rejections


def test_an_empty_last_line_of_a_text_is_a_text_that_is_missing(tmp_path):
    (tmp_path / "in.txt").write_text("a dog runs\ntwo cats\n")
    (tmp_path / "gpt.txt").write_text("the dog is running\n\n")
    report = import_cache(tmp_path / "in.txt", tmp_path / "cache", ImportForm(lines=(f"gpt={tmp_path / 'gpt.txt'}",)))
    assert CaptionCache(tmp_path / "cache").get("two cats") == () and report.made == 2


@pytest.mark.parametrize(("name", "separator"), [("in.tsv", None), ("in.csv", None), ("in.csv", ";")])
def test_lines_beside_a_table_with_another_separator(tmp_path, name, separator):
    rows = [("1.jpg", "a dog, running"), ("2.jpg", "a cat"), ("3.jpg", 'a "red" kite, a boy')]
    pd.DataFrame(rows).to_csv(tmp_path / name, sep=separator or "\t", index=False, header=False)
    (tmp_path / "gpt.txt").write_text("a dog that runs\nthe cat sits\na boy with a kite\n")
    form = ImportForm(lines=(f"gpt={tmp_path / 'gpt.txt'}",))
    report = import_cache(tmp_path / name, tmp_path / "cache", form, InputOptions(separator=separator))
    assert {record.caption: record.rewrites[0].text for record in records(tmp_path / "cache")} == {
        "a dog, running": "a dog that runs",
        "a cat": "the cat sits",
        'a "red" kite, a boy': "a boy with a kite",
    }
    assert not report.input.rejections


@pytest.mark.parametrize("name", ["in.jsonl", "in.parquet", "in.tar"])
def test_lines_take_no_other_files(tmp_path, name):
    (tmp_path / name).write_text('{"file": "1.jpg", "caption": "a dog, running"}\n')  # two cells, to a CSV's eyes
    (tmp_path / "gpt.txt").write_text("a dog that runs\n")
    with pytest.raises(InputError, match=rf"--lines takes a CSV or TSV .* or a text file .*, and .*{name} is neither"):
        import_cache(tmp_path / name, tmp_path / "cache", ImportForm(lines=(f"gpt={tmp_path / 'gpt.txt'}",)))
    assert not (tmp_path / "cache").exists()


def test_what_is_said_of_a_table_goes_for_lines_too(tmp_path, capsys):
    (tmp_path / "in.list").write_text("1.jpg,a dog\n")
    (tmp_path / "gpt.txt").write_text("the dog runs\n")
    asked = ["cache", "import", str(tmp_path / "in.list"), "--lines", f"gpt={tmp_path / 'gpt.txt'}", "--cache"]
    assert main([*asked, str(tmp_path / "a"), "--input-format", "csv"]) == 0
    assert main([*asked, str(tmp_path / "b"), "--input-format", "text"]) == 0
    assert [next(records(tmp_path / name)).caption for name in "ab"] == ["a dog", "1.jpg,a dog"]
    assert main([*asked, str(tmp_path / "c"), "--input-format", "csv", "--csv-separator", "||"]) == 2
    assert "--csv-separator '||' is no single character" in capsys.readouterr().err
    (tmp_path / "in.csv").write_text("filepath,title\n1.jpg,a dog\n")
    with pytest.raises(
        InputError, match=r"in.csv has 2 rows .*its first line, filepath,title, is a header.*leave it out"
    ):
        import_cache(tmp_path / "in.csv", tmp_path / "d", ImportForm(lines=(f"gpt={tmp_path / 'gpt.txt'}",)))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("name", ["in.txt", "in.csv", "gpt.txt"])
def test_lines_in_another_encoding_are_named_with_a_command_that_converts(tmp_path, name, encoding):
    held = {"in.txt": "un café noir\n", "in.csv": "1.jpg,un café noir\n", "gpt.txt": "un noir café\n"}
    for file, text in held.items():
        (tmp_path / file).write_bytes(text.encode(encoding if file == name else "utf-8"))
    source = tmp_path / ("in.txt" if name == "gpt.txt" else name)

    def taken(file):
        return import_cache(source, tmp_path / "cache", ImportForm(lines=(f"gpt={file}",))).cache.rejections

    if (name, encoding) == ("gpt.txt", "cp1252"):  # a line of texts may be damaged, and the others are taken
        assert taken(tmp_path / name) == {"invalid-utf8": 1}
        return
    with pytest.raises(InputError) as error:
        taken(tmp_path / "gpt.txt")
    subprocess.run(str(error.value).rsplit("with: ", 1)[1], shell=True, check=True)
    converted = (tmp_path / name).with_name(f"{name.partition('.')[0]}.utf8{(tmp_path / name).suffix}")
    assert converted.read_text(encoding="utf-8") == held[name]
    assert not (tmp_path / "cache").exists()


def test_packed_lines(tmp_path):
    (tmp_path / "in.txt.gz").write_bytes(gzip.compress(b"a dog runs\n"))
    (tmp_path / "gpt.txt.gz").write_bytes(gzip.compress(b"the dog is running\n"))
    form = ImportForm(lines=(f"gpt={tmp_path / 'gpt.txt.gz'}",))
    import_cache(tmp_path / "in.txt.gz", tmp_path / "cache", form)
    assert CaptionCache(tmp_path / "cache").get("a dog runs") == (Rewrite("gpt", "the dog is running"),)


def test_export_and_import_give_the_same_rewrites(tmp_path):
    source = jsonl(
        tmp_path / "in.jsonl",
        *(
            {"caption": f"photo {i} 猫", "loud": f"PHOTO {i}", "calm": f"a photo {i}" if i % 2 else ""}
            for i in range(20)
        ),
    )
    import_cache(source, tmp_path / "first", ImportForm(rewrite_keys=("loud", "calm")))
    assert export(records(tmp_path / "first"), tmp_path / "out.jsonl") == 20
    import_cache(tmp_path / "out.jsonl", tmp_path / "second", ImportForm())
    first, second = CaptionCache(tmp_path / "first"), CaptionCache(tmp_path / "second")
    assert len(second) == 20
    assert set(second.sources) == {"loud", "calm"}
    for i in range(20):
        assert second.get(f"photo {i} 猫") == first.get(f"photo {i} 猫")
    assert verify_cache(tmp_path / "second") == ([], [])


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (ImportForm(rewrite_keys=("x",), list_key="y"), "exclude each other"),
        (ImportForm(index_key="i"), "--group-key; give both"),
        (ImportForm(rewrite_keys=("x", "y"), sources=("z",)), "one --source for each"),
        (ImportForm(list_key="x", sources=("y", "z")), "take one --source"),
        (ImportForm(lines=("gpt.txt",)), "SOURCE=FILE"),
        (ImportForm(rewrite_keys=("caption",)), "used twice"),
        (ImportForm(), "nothing names what made these texts"),
    ],
)
def test_forms_that_make_no_sense(tmp_path, form, message):
    source = jsonl(tmp_path / "in.jsonl", {"caption": "a dog"})
    with pytest.raises(ConfigurationError, match=message):
        import_cache(source, tmp_path / "cache", form)


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet", "out.csv"])
def test_export_and_import_keep_rejections(tmp_path, name):
    source = jsonl(
        tmp_path / "in.jsonl",
        *({"caption": f'photo {i}, "猫"', "loud": f"PHOTO\n{i}", "calm": "NA" if i % 2 else ""} for i in range(20)),
        {"caption": "nothing came of it", "loud": "", "calm": None},
        {"caption": "two", "loud": ["one, two", "three"], "calm": "four"},
    )
    import_cache(source, tmp_path / "first", ImportForm(rewrite_keys=("loud", "calm")))
    assert export(records(tmp_path / "first"), tmp_path / name) == 22
    import_cache(tmp_path / name, tmp_path / "second", ImportForm())
    first, second = list(records(tmp_path / "first")), list(records(tmp_path / "second"))
    assert second == first
    assert sum(len(record.rejections) for record in second) == 12
    assert verify_cache(tmp_path / "second") == ([], [])


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet", "out.csv"])
def test_carriage_returns_come_back_after_export_and_import(tmp_path, name):
    source = jsonl(tmp_path / "in.jsonl", {"caption": "a dog", "x": ["a dog\rruns", "a\r\ndog", "dog\r", "\rthe dog"]})
    import_cache(source, tmp_path / "first", ImportForm(rewrite_keys=("x",)))
    export(records(tmp_path / "first"), tmp_path / name)
    import_cache(tmp_path / name, tmp_path / "second", ImportForm())
    assert list(records(tmp_path / "second")) == list(records(tmp_path / "first"))
    assert CaptionCache(tmp_path / "second").get("a dog")[0] == Rewrite("x", "a dog\rruns")


EXPORTED = "caption,source,text,rejected\na dog,x,dog one,\na dog,x,dog two,\na cat,x,cat one,\n"


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        (EXPORTED, []),
        ("\ufeff" + EXPORTED.replace("\n", "\r\n"), []),  # as Excel saves it
        (EXPORTED.replace("a cat", "\na cat") + "\n\n", []),  # lines left empty in an editor
        (EXPORTED.replace("a cat", "a hen,x\na cat"), [4]),  # a row of which a part was deleted
        (EXPORTED.replace("a dog,x,dog two", "a dog,x,one, two,\na dog,x,dog two"), [3]),  # an unquoted comma
    ],
)
def test_an_export_that_was_edited_by_hand(tmp_path, content, refused):
    (tmp_path / "in.csv").write_text(content, encoding="utf-8", newline="")
    report = import_cache(tmp_path / "in.csv", tmp_path / "cache", ImportForm())
    cache = CaptionCache(tmp_path / "cache")
    assert cache.get("a dog") == (Rewrite("x", "dog one"), Rewrite("x", "dog two"))
    assert cache.get("a cat") == (Rewrite("x", "cat one"),) and len(cache) == 2
    assert report.input.examples.get("malformed-row", []) == [f"{tmp_path / 'in.csv'}: line {line}" for line in refused]
    assert report.input.rejections.total() == len(refused)


def test_an_export_in_jsonl_that_was_edited_by_hand(tmp_path):
    def row(caption, text, source="x"):
        return {"caption": caption, "rewrites": [{"source": source, "text": text}], "rejections": [], "tokens": 0}

    source = jsonl(tmp_path / "in.jsonl", row("a dog", "dog"), row(None, "cat"), row("a cow", None), row("a hen", 5))
    report = import_cache(source, tmp_path / "cache", ImportForm())
    assert report.input.rejections == {"malformed-row": 3}
    assert [record.caption for record in records(tmp_path / "cache")] == ["a dog"]


@pytest.mark.parametrize("rows", [0, 20_000])  # what is wrong comes with the header, and long after it
def test_an_export_that_cannot_be_read_says_so(tmp_path, rows):
    before = EXPORTED.encode() + b"".join(b"photo %d,x,picture %d,\n" % (i, i) for i in range(rows))
    (tmp_path / "in.csv").write_bytes(before + b"caf\xe9,x,tea,\n")
    with pytest.raises(InputError, match=rf"line {rows + 5} is not UTF-8; it looks like WINDOWS-1252"):
        import_cache(tmp_path / "in.csv", tmp_path / "cache", ImportForm())
    (tmp_path / "in.csv").write_text("caption,source,text,rejected\na dog,x\n")
    with pytest.raises(InputError, match=r"(?s)no caption was read.*malformed-row: 1.*in\.csv: line 2"):
        import_cache(tmp_path / "in.csv", tmp_path / "cache", ImportForm())
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(before)[:-8])
    with pytest.raises(InputError, match="cannot be read"):
        import_cache(tmp_path / "in.csv.gz", tmp_path / "cache", ImportForm())


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet", "out.csv"])
def test_export_and_import_keep_captions_of_any_length(tmp_path, name):
    """The build was told how long a caption may be; what it recorded without a text stays so."""
    long, longer = ("A dog walks in the park. " * times for times in (200, 900))  # 5,000 and 22,500 characters
    captions = [long.strip(), longer.strip(), "&nbsp;", "a\0b", "nan", "a kite"]
    source = jsonl(tmp_path / "in.jsonl", *({"caption": caption} for caption in captions))
    build_cache(source, tmp_path / "first", EDAAugmenter(), n=2, max_caption_chars=20_000)
    export(records(tmp_path / "first"), tmp_path / name)
    report = import_cache(tmp_path / name, tmp_path / "second", ImportForm())
    first = list(records(tmp_path / "first"))
    assert [len(record.rewrites) for record in first].count(2) == 2
    assert list(records(tmp_path / "second")) == first
    assert report.input.rejections == {"empty": 1, "nul": 1, "missing": 1}  # with three that were made, all six


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_what_a_gate_refused_comes_back_after_export_and_import(tmp_path, name):
    source = jsonl(tmp_path / "in.jsonl", *({"caption": f"photo {i} of two dogs", "x": f"{i} cats"} for i in range(9)))
    import_cache(source, tmp_path / "first", ImportForm(rewrite_keys=("x",)))
    filter_cache(tmp_path / "first", tmp_path / "strict", "kept>=0.9")
    export(records(tmp_path / "strict"), tmp_path / name)
    import_cache(tmp_path / name, tmp_path / "second", ImportForm())

    assert list(records(tmp_path / "second")) == list(records(tmp_path / "strict"))
    assert CaptionCache(tmp_path / "second").get("photo 3 of two dogs") == ()
    filter_cache(tmp_path / "second", tmp_path / "back", "none")
    assert CaptionCache(tmp_path / "back").get("photo 3 of two dogs") == (Rewrite("x", "3 cats"),)


def test_an_export_needs_a_name_that_says_its_format(tmp_path):
    with pytest.raises(ConfigurationError, match=r"\.jsonl, \.parquet or \.csv"):
        export([], tmp_path / "out.xlsx")
    assert list(tmp_path.iterdir()) == []

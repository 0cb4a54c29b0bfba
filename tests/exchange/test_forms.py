"""Rewrites that exist already become a cache: columns, lists and groups of a table, and samples of a tar."""

import json
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laclip_aug.augmenter import Outcome, Rejection, Rewrite
from laclip_aug.cache.browse import find, records
from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.ingest import import_cache, import_config
from laclip_aug.cache.journal import Journal, read_journal
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.verify import verify_cache
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.cli import main
from laclip_aug.errors import CacheMismatchError, ConfigurationError, InputError
from laclip_aug.exchange.export import export
from laclip_aug.exchange.import_form import ImportForm
from laclip_aug.exchange.readers import InputOptions
from laclip_aug.exchange.tars import TextKeys
from tests.exchange.conftest import jsonl


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

"""A cache's texts beside somebody's own rows and images: what goes in comes out, and nothing else changes."""

from __future__ import annotations

import csv
import io
import json
import random
import tarfile

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laclip_aug.augmenter import Outcome, Rewrite
from laclip_aug.cache.config import Config
from laclip_aug.cache.export import export_beside
from laclip_aug.cache.filter import filter_cache
from laclip_aug.cache.ingest import import_cache
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.errors import CacheCorruptError, ConfigurationError, InputError
from laclip_aug.exchange.import_form import ImportForm
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.readers import InputOptions
from laclip_aug.exchange.tars import TextKeys, tar_captions

# a caption → its texts by source; scripts, quotes, line breaks, and texts that a CSV has to quote
TEXTS = {
    "a dog runs": {"chatgpt": ["a dog is running\nfast"], "bard": ['the "dog", runs']},
    "a cat": {"chatgpt": ["the cat sits"], "bard": []},
    "一只狗在海滩": {"chatgpt": ["海滩上有一只狗"], "bard": ["狗在 海滩\t上"]},
    "nothing came of it": {"chatgpt": [], "bard": []},
}


def cache_of(directory, texts=TEXTS, sources=("chatgpt", "bard")):
    with CacheWriter(directory, Config("llm", "test", 0, len(sources), tuple(sources))) as writer:
        for caption, by_source in texts.items():
            writer.new([caption])
            writer.add(Outcome(caption, tuple(Rewrite(s, t) for s in by_source for t in by_source[s])))
        writer.finish()
    return directory


@pytest.fixture
def cache(tmp_path):
    return cache_of(tmp_path / "cache")


def test_lines_as_released_with_the_paper_come_back_unchanged(tmp_path):
    # two images share a caption; a caption with a comma, one over two lines; lines of one word and of none
    rows = [
        ("a/1.jpg", "a dog, running"),
        ("a/2.jpg", "a cat\nthat sits"),
        ("b/3.jpg", "a dog, running"),
        ("4", "狗 跑"),
    ]
    with (tmp_path / "in.csv").open("w", newline="") as table:
        csv.writer(table, lineterminator="\n").writerows(rows)
    gpt = " a dog that runs \ncat\n a dog that runs \n一只 狗\n"
    bard = "the dog runs\n\nthe dog runs\n狗 跑\n"  # the last is the caption itself
    (tmp_path / "gpt.txt").write_text(gpt)
    (tmp_path / "bard.txt").write_text(bard)
    lines = (f"chatgpt={tmp_path / 'gpt.txt'}", f"bard={tmp_path / 'bard.txt'}")
    import_cache(tmp_path / "in.csv", tmp_path / "cache", ImportForm(lines=lines))

    said, whole = export_beside(tmp_path / "cache", str(tmp_path / "out/{source}.txt"), [str(tmp_path / "in.csv")])

    assert whole and said[0].startswith("4 rows in ")
    assert (tmp_path / "out" / "original.csv").read_bytes() == (tmp_path / "in.csv").read_bytes()
    assert (tmp_path / "out" / "chatgpt.txt").read_text() == gpt
    assert (tmp_path / "out" / "bard.txt").read_text() == bard
    again = ImportForm(lines=tuple(f"{s}={tmp_path / 'out' / s}.txt" for s in ("chatgpt", "bard")))
    import_cache(tmp_path / "out" / "original.csv", tmp_path / "second", again)
    assert CaptionCache(tmp_path / "second").fingerprint() == CaptionCache(tmp_path / "cache").fingerprint()


def test_the_name_of_a_source_may_be_that_of_a_folder(tmp_path, cache):
    (tmp_path / "in.txt").write_text("a cat\na dog runs\n")
    export_beside(cache, str(tmp_path / "out/{source}/texts.txt"), [str(tmp_path / "in.txt")])
    assert {folder.name for folder in (tmp_path / "out").iterdir()} == {"original", "chatgpt", "bard"}
    assert (tmp_path / "out" / "chatgpt" / "texts.txt").read_text() == "the cat sits\na dog is running fast\n"


def test_lines_for_a_table_with_a_header(tmp_path, cache):
    table = tmp_path / "in.tsv"
    table.write_text("title\tfilepath\na  dog runs\tx/1.jpg\nan unknown one\t2.jpg\n\t3.jpg\n一只狗在海滩\t4.jpg\n")
    said, _ = export_beside(cache, str(tmp_path / "{source}.txt"), [str(table)])
    # each row has its line: a line break within a text became a space, and where there is nothing the line is empty
    assert (tmp_path / "chatgpt.txt").read_text() == "a dog is running fast\n\n\n海滩上有一只狗\n"
    assert (tmp_path / "bard.txt").read_text() == 'the "dog", runs\n\n\n狗在 海滩\t上\n'
    assert list(csv.reader((tmp_path / "original.csv").open())) == [
        ["x/1.jpg", "a  dog runs"],
        ["2.jpg", "an unknown one"],
        ["3.jpg", ""],
        ["4.jpg", "一只狗在海滩"],
    ]
    text = "\n".join(said)
    assert "chatgpt: 2" in text and "refused, line-break: 1" in text
    assert f"refused, not-in-cache: 1, for example {table}: row 2" in text and "refused, missing: 1" in text


def test_the_byte_order_mark_of_a_headerless_csv_is_no_part_of_a_path(tmp_path, cache):
    (tmp_path / "in.csv").write_bytes(b"\xef\xbb\xbfa/1.jpg,a cat\r\na/2.jpg,a dog runs\r\n")
    export_beside(cache, str(tmp_path / "{source}.txt"), [str(tmp_path / "in.csv")])
    assert (tmp_path / "original.csv").read_bytes() == b"a/1.jpg,a cat\na/2.jpg,a dog runs\n"


@pytest.mark.parametrize("name", ["in.tsv", "in.csv"])
def test_lines_for_a_headerless_table_that_tabs_separate(tmp_path, name):
    cache = cache_of(tmp_path / "cache", {"a dog, running": {"bard": ["the dog runs"]}, "a cat": {"bard": ["the cat"]}})
    (tmp_path / name).write_text("a/1.jpg\ta dog, running\na/2.jpg\ta cat\n")
    export_beside(cache, str(tmp_path / "{source}.txt"), [str(tmp_path / name)])
    assert (tmp_path / "original.csv").read_text() == 'a/1.jpg,"a dog, running"\na/2.jpg,a cat\n'
    assert (tmp_path / "bard.txt").read_text() == "the dog runs\nthe cat\n"


def test_lines_for_a_text_file_of_captions(tmp_path, cache):
    (tmp_path / "in.txt").write_text("a cat\n\nan unknown one\na dog runs\n")
    export_beside(cache, str(tmp_path / "rc-{source}.txt"), [str(tmp_path / "in.txt")])
    assert (tmp_path / "rc-original.txt").read_bytes() == (tmp_path / "in.txt").read_bytes()
    assert (tmp_path / "rc-chatgpt.txt").read_text() == "the cat sits\n\n\na dog is running fast\n"
    lines = tuple(f"{s}={tmp_path / f'rc-{s}.txt'}" for s in ("chatgpt", "bard"))
    import_cache(tmp_path / "rc-original.txt", tmp_path / "second", ImportForm(lines=lines))
    assert CaptionCache(tmp_path / "second").get("a cat") == (Rewrite("chatgpt", "the cat sits"),)
    same = cache_of(tmp_path / "same", {"a cat": {"original": ["the cat"]}}, ["original"])
    with pytest.raises(ConfigurationError, match="would be one file"):
        export_beside(same, str(tmp_path / "x-{source}.txt"), [str(tmp_path / "in.txt")])
    assert not list(tmp_path.glob("x-*"))


def test_a_header_is_no_row_of_the_form_without_one(tmp_path, cache):
    (tmp_path / "in.csv").write_text("address,words\n1.jpg,a cat\n")
    with pytest.raises(InputError, match="its columns are: address, words"):
        export_beside(cache, str(tmp_path / "{source}.txt"), [str(tmp_path / "in.csv")])
    options = InputOptions(caption_key="words")
    export_beside(cache, str(tmp_path / "{source}.txt"), [str(tmp_path / "in.csv")], options, "address")
    assert (tmp_path / "original.csv").read_text() == "1.jpg,a cat\n"
    assert (tmp_path / "chatgpt.txt").read_text() == "the cat sits\n"


def test_a_csv_gets_columns_and_keeps_every_cell(tmp_path, cache):
    rows = (
        'id,caption,note\n007,a dog runs,"x, ""y""\nz"\n1.50,NA,null\n,a cat,\n\n3,"一只狗在海滩",short\n4,unknown,é\n'
    )
    (tmp_path / "in.csv").write_text(rows)
    said, _ = export_beside(cache, str(tmp_path / "out.csv"), [str(tmp_path / "in.csv")])
    with (tmp_path / "out.csv").open(newline="") as table:
        found = list(csv.reader(table))
    with (tmp_path / "in.csv").open(newline="") as table:
        assert [row[:3] for row in found] == [row for row in csv.reader(table) if row]
    assert [row[3:] for row in found] == [
        ["chatgpt", "bard"],
        ["a dog is running\nfast", 'the "dog", runs'],
        ["", ""],
        ["the cat sits", ""],
        ["海滩上有一只狗", "狗在 海滩\t上"],
        ["", ""],
    ]
    assert "refused, missing: 1" in "\n".join(said) and "not-in-cache: 1" in "\n".join(said)
    # a tab stays what separates the columns of a TSV, and rows of too many cells are no table
    (tmp_path / "in.tsv").write_text('url\ttext\n"a\tb"\ta cat\n')
    export_beside(cache, str(tmp_path / "out.tsv"), [str(tmp_path / "in.tsv")])
    assert (tmp_path / "out.tsv").read_text() == 'url\ttext\tchatgpt\tbard\n"a\tb"\ta cat\tthe cat sits\t\n'
    (tmp_path / "in.csv").write_text("caption,note\na cat,x,y\n")
    with pytest.raises(InputError, match="more cells than its header"):
        export_beside(cache, str(tmp_path / "bad.csv"), [str(tmp_path / "in.csv")])
    assert not (tmp_path / "bad.csv").exists()


@pytest.mark.parametrize(("name", "separator"), [("a.tsv", "\t"), ("a.csv", ",")])
def test_carriage_returns_in_cells_stay_in_them(tmp_path, name, separator):
    from open_clip_train.data import CsvDataset

    texts = {"a dog": {"llm": ["dog\rone"]}, "a cat": {"llm": ["the cat"]}, "a hen": {"llm": ["a\r\nhen\r"]}}
    cache = cache_of(tmp_path / "cache", texts, ["llm"])
    rows = [["1.jpg", "a dog", "old\rmac"], ["2.jpg", "a cat", ""], ["3.jpg", "a hen", "\r"]]
    with (tmp_path / name).open("w", newline="") as table:
        csv.writer(table, delimiter=separator, quoting=csv.QUOTE_ALL).writerows([["filepath", "title", "note"], *rows])
    export_beside(cache, str(tmp_path / f"out-{name}"), [str(tmp_path / name)])
    expected = [[*row, texts[row[1]]["llm"][0]] for row in rows]
    with (tmp_path / f"out-{name}").open(newline="") as table:
        assert list(csv.reader(table, delimiter=separator)) == [["filepath", "title", "note", "llm"], *expected]
    assert (
        (tmp_path / f"out-{name}")
        .read_bytes()
        .startswith(separator.join(["filepath", "title", "note", "llm\n"]).encode())
    )
    assert pd.read_csv(tmp_path / f"out-{name}", sep=separator, keep_default_na=False).values.tolist() == expected
    dataset = CsvDataset(str(tmp_path / f"out-{name}"), None, "filepath", "llm", sep=separator, tokenizer=None)
    assert (dataset.images, dataset.captions) == ([row[0] for row in rows], [row[3] for row in expected])

    (tmp_path / "plain.csv").write_bytes(b'"a/\r1.jpg","a\rdog"\n2.jpg,a cat\n')
    export_beside(cache, str(tmp_path / "lines" / "{source}.txt"), [str(tmp_path / "plain.csv")])
    assert pd.read_csv(tmp_path / "lines" / "original.csv", header=None).values.tolist() == [
        ["a/\r1.jpg", "a\rdog"],
        ["2.jpg", "a cat"],
    ]
    assert (tmp_path / "lines" / "llm.txt").read_bytes() == b"dog one\nthe cat\n"


@pytest.mark.parametrize("name", ["table.jsonl", "table.json", "table.parquet"])
def test_columns_that_were_imported_come_back_unchanged(tmp_path, name):
    # CapsFusion's shape: an alt-text, what a captioning model said, and both fused by a language model
    whole = [
        {"raw_caption": "Dog, running - stock", "id": 2**60, "synth": "a dog", "fused": "a dog running on grass"},
        {"raw_caption": "cat", "id": 1, "synth": "cat", "fused": "a cat with\nwhiskers 猫"},  # equal to its caption
        {"raw_caption": "cow", "id": 2, "synth": "", "fused": None},
        {"raw_caption": "Dog, running - stock", "id": 3, "synth": "a dog", "fused": "a dog running on grass"},
    ]
    plain = [{"raw_caption": row["raw_caption"], "id": row["id"]} for row in whole]
    for place, rows in ((tmp_path / "whole", whole), (tmp_path / "plain", plain)):
        place.mkdir()
        if name.endswith("jsonl"):
            (place / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        elif name.endswith("json"):
            (place / name).write_text(json.dumps(rows, indent=2))
        else:
            pq.write_table(pa.Table.from_pylist(rows), place / name)
    options = InputOptions(caption_key="raw_caption")
    form = ImportForm(rewrite_keys=("synth", "fused"))
    import_cache(tmp_path / "whole" / name, tmp_path / "cache", form, options)

    export_beside(tmp_path / "cache", str(tmp_path / name), [str(tmp_path / "plain" / name)], options)

    content = (tmp_path / name).read_text() if "json" in name else ""
    if name.endswith("jsonl"):
        assert [json.loads(line) for line in content.splitlines()] == whole
    elif name.endswith("json"):
        assert json.loads(content) == whole
    else:
        assert pq.read_table(tmp_path / name).to_pylist() == whole
    with pytest.raises(ConfigurationError, match="has a column synth, fused already"):
        export_beside(tmp_path / "cache", str(tmp_path / f"again-{name}"), [str(tmp_path / "whole" / name)], options)
    assert not list(tmp_path.glob("again*")) and not list(tmp_path.glob("*.tmp"))


def test_what_a_gate_refused_does_not_come_back(tmp_path):
    (tmp_path / "in.jsonl").write_text(
        '{"caption": "two dogs", "x": "nine cats sit"}\n{"caption": "a cat", "x": "cat"}\n'
    )
    (tmp_path / "plain.jsonl").write_text('{"caption": "two dogs"}\n{"caption": "a cat"}\n')
    import_cache(tmp_path / "in.jsonl", tmp_path / "cache", ImportForm(rewrite_keys=("x",)))
    filter_cache(tmp_path / "cache", tmp_path / "strict", "kept>=0.9")
    export_beside(tmp_path / "strict", str(tmp_path / "out.jsonl"), [str(tmp_path / "plain.jsonl")])
    assert [json.loads(line)["x"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [None, "cat"]


def test_several_texts_of_a_source(tmp_path):
    cache = cache_of(
        tmp_path / "cache", {"a dog": {"llm": ["dog one", "dog two"]}, "a cat": {"llm": ["cat one"]}}, ["llm"]
    )
    (tmp_path / "in.csv").write_text("caption\na dog\na cat\n")
    (tmp_path / "in.jsonl").write_text('{"caption": "a dog"}\n{"caption": "a cat"}\n{"caption": "a hen"}\n')
    export_beside(cache, str(tmp_path / "out.csv"), [str(tmp_path / "in.csv")])
    assert (tmp_path / "out.csv").read_text() == "caption,llm,llm_2\na dog,dog one,dog two\na cat,cat one,\n"
    export_beside(cache, str(tmp_path / "out.jsonl"), [str(tmp_path / "in.jsonl")])
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["llm"] for row in rows] == [["dog one", "dog two"], ["cat one"], []]
    import_cache(tmp_path / "out.jsonl", tmp_path / "second", ImportForm(rewrite_keys=("llm",)))
    assert CaptionCache(tmp_path / "second").get("a dog") == CaptionCache(cache).get("a dog")
    both = ImportForm(rewrite_keys=("llm", "llm_2"), sources=("llm", "llm"))
    import_cache(tmp_path / "out.csv", tmp_path / "third", both)
    assert CaptionCache(tmp_path / "third").get("a dog") == CaptionCache(cache).get("a dog")


def test_rows_that_are_no_captions_stay_rows(tmp_path, cache):
    rows = [{"caption": 5}, {"caption": ["a cat"]}, {"other": 1.5}, {"caption": "\ud800 dog"}, {"caption": None}]
    (tmp_path / "in.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in [{"caption": "a cat"}, *rows]) + "[1]\n"
    )
    said, _ = export_beside(cache, str(tmp_path / "out.jsonl"), [str(tmp_path / "in.jsonl")])
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert found == [
        {"caption": "a cat", "chatgpt": "the cat sits", "bard": None},
        *({**row, "chatgpt": None, "bard": None} for row in rows),
    ]
    text = "\n".join(said)
    for reason in ("not-text", "several-captions", "missing-key", "not-in-cache", "missing", "malformed-row"):
        assert f"refused, {reason}: 1" in text


def test_a_first_row_without_a_caption_stays_a_row(tmp_path, cache):
    rows = [{"url": "u0"}, {"url": "u1", "caption": "a cat"}, {"url": "u2"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said, _ = export_beside(cache, str(tmp_path / "out.jsonl"), [str(tmp_path / "in.jsonl")])
    none = {"chatgpt": None, "bard": None}
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [
        {**rows[0], **none}, {**rows[1], "chatgpt": "the cat sits", "bard": None}, {**rows[2], **none}
    ]  # fmt: skip
    assert "refused, missing-key: 2" in "\n".join(said)
    (tmp_path / "in.jsonl").write_text('{"url": "u0"}\n{"words": "a cat"}\n')
    with pytest.raises(InputError, match=r"has no column 'title' .*its columns are: url, words\."):
        export_beside(cache, str(tmp_path / "other.jsonl"), [str(tmp_path / "in.jsonl")])
    assert not (tmp_path / "other.jsonl").exists()


def test_data_and_output_that_do_not_go_together(tmp_path, cache):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("caption\na cat\n")
    (tmp_path / "in.txt").write_text("a cat\n")
    csv_file = str(tmp_path / "a.csv")
    for output, inputs, message in (
        ("out.jsonl", [csv_file], r"keeps its format .* name the output \.csv or \.tsv"),
        ("out.csv.gz", [csv_file], "keeps its format"),
        ("out.csv", [csv_file, str(tmp_path / "b.csv")], "names 2 files"),
        ("out.csv", [str(tmp_path / "in.txt")], "has no columns"),
        ("s3://bucket/out.csv", [csv_file], "name a file or a directory of this machine"),
        ("-", [csv_file], "name a file or a directory of this machine"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            export_beside(cache, output if "/" in output or output == "-" else str(tmp_path / output), inputs)
    for content, message in (
        (b"", "is empty"),
        (b"caption\na\xff\n", "not UTF-8"),
        (b"caption,x\na,b\na,b,c\n", "malformed"),
    ):
        (tmp_path / "bad.csv").write_bytes(content)
        with pytest.raises(InputError, match=message):
            export_beside(cache, str(tmp_path / "out.csv"), [str(tmp_path / "bad.csv")])
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="no readable Parquet"):
        export_beside(cache, str(tmp_path / "out.parquet"), [str(tmp_path / "bad.parquet")])
    with pytest.raises(InputError, match="no column 'filepath'"):
        export_beside(cache, str(tmp_path / "{source}.txt"), [csv_file])
    assert not list(tmp_path.glob("out*")) and not list(tmp_path.glob("*.tmp"))


def test_a_large_table_is_read_in_pieces(tmp_path):
    texts = {f"photo {i}": {"llm": [f"picture, {i}"]} for i in range(40_000)}
    cache = cache_of(tmp_path / "cache", texts, ["llm"])
    pd.DataFrame({"caption": list(texts)}).to_csv(tmp_path / "in.csv", index=False)
    export_beside(cache, str(tmp_path / "out.csv"), [str(tmp_path / "in.csv")])
    assert pd.read_csv(tmp_path / "out.csv")["llm"].tolist() == [f"picture, {i}" for i in range(40_000)]


def tar(path, members, mode="w", form=tarfile.PAX_FORMAT):
    with tarfile.open(path, mode, format=form) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), 1_600_000_000, 0o640
            archive.addfile(info, io.BytesIO(data))
    return path


def members_of(path):
    with tarfile.open(path) as archive:
        return [(m.name, m.mtime, m.mode, m.type, archive.extractfile(m).read() if m.isreg() else b"") for m in archive]


LONG = "deep/" * 40 + "000"
MEMBERS = [
    ("__meta__/about.txt", b"not a sample"),
    (f"{LONG}.jpg", b"\xff\xd8 image"),
    (f"{LONG}.txt", b"a dog runs\n"),
    ("a/001.json", json.dumps({"url": "http://x/1", "sha": 2**70, "p": 0.1}).encode()),
    ("a/001.jpg", bytes(range(256)) * 5),
    ("a/001.txt", "一只狗在海滩".encode()),
    ("a/002.jpg", b"x"),
    ("a/002.txt", b"an unknown one"),
    ("a/003.jpg", b"x"),
    ("README", b"no sample either"),
    ("a/004.jpg", b"x"),
    ("a/004.json", b"{broken"),
    ("a/004.txt", b"a cat"),
]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_keep_every_member_and_gain_fields(tmp_path, cache, form):
    source = tar(tmp_path / "0.tar", MEMBERS, form=form)
    said, whole = export_beside(cache, str(tmp_path / "out"), [str(source)])
    before, after = members_of(source), members_of(tmp_path / "out" / "0.tar")
    changed = {f"{LONG}.json", "a/001.json", "a/002.json"}
    assert [member for member in after if member[0] not in changed] == [m for m in before if m[0] not in changed]
    fields = {name: json.loads(data) for name, _, _, _, data in after if name in changed}
    assert fields == {
        f"{LONG}.json": {
            "original": "a dog runs\n", "chatgpt": "a dog is running\nfast", "bard": 'the "dog", runs',
        },
        "a/001.json": {
            "url": "http://x/1", "sha": 2**70, "p": 0.1,
            "original": "一只狗在海滩", "chatgpt": "海滩上有一只狗", "bard": "狗在 海滩\t上",
        },
        "a/002.json": {"original": "an unknown one"},
    }  # fmt: skip
    assert whole and said[-1].endswith("--json-text-key 'original;chatgpt;bard' --json-text-key-probs 1 1 1")
    assert "refused, no-caption: 1" in "\n".join(said) and "refused, malformed-json: 1" in "\n".join(said)
    # read as open_clip 4 does: the caption, and each text that there is
    log = InputLog()
    keys = TextKeys.of(json_text_key="original;chatgpt;bard", probs=[1, 1, 1])
    found = [caption for _, caption in tar_captions(str(tmp_path / "out" / "0.tar"), log, keys)]
    assert found == [
        *("a dog runs\n", "a dog is running\nfast", 'the "dog", runs'),
        *("一只狗在海滩", "海滩上有一只狗", "狗在 海滩\t上"),
        "an unknown one",
    ]


def test_captions_in_json_stay_where_they_are(tmp_path, cache):
    source = tar(tmp_path / "0.tar", [("0.json", b'{"alt": "a cat", "n": 1}'), ("0.jpg", b"x")])
    options = InputOptions(text_keys=TextKeys.of(json_text_key="alt"))
    said, _ = export_beside(cache, str(tmp_path / "out"), [str(source)], options)
    assert json.loads(members_of(tmp_path / "out" / "0.tar")[0][-1]) == {
        "alt": "a cat",
        "n": 1,
        "chatgpt": "the cat sits",
    }
    assert "--json-text-key 'alt;chatgpt;bard'" in said[-1]
    with pytest.raises(ConfigurationError, match="has a field 'chatgpt' already"):
        export_beside(cache, str(tmp_path / "third"), [str(tmp_path / "out" / "0.tar")], options)
    assert not (tmp_path / "third" / "0.tar").exists()


def test_tars_go_on_where_they_were_and_damaged_ones_are_not_written(tmp_path, cache):
    for number in range(3):
        tar(tmp_path / f"{number}.tar", [(f"{number}.txt", b"a cat"), (f"{number}.jpg", bytes(30_000))])
    whole = (tmp_path / "1.tar").read_bytes()
    (tmp_path / "1.tar").write_bytes(whole[:20_000])
    pattern, out = [str(tmp_path / "{0..2}.tar")], tmp_path / "out"
    said, complete = export_beside(cache, str(out), pattern)
    assert not complete and f"not written, {tmp_path / '1.tar'}: " in "\n".join(said)
    assert sorted(path.name for path in out.iterdir()) == ["0.tar", "2.tar", "laclip-aug.json"]
    times = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    (tmp_path / "1.tar").write_bytes(whole)
    said, complete = export_beside(cache, str(out), pattern)
    assert complete and said[0].startswith("1 samples") and said[1] == "2 tars were there already"
    assert {name: (out / name).stat().st_mtime_ns for name in times} == times
    # another cache, another option, or what is no export, is not gone on with
    other = cache_of(tmp_path / "other", {"a cat": {"x": ["cat x"]}}, ["x"])
    with pytest.raises(ConfigurationError, match="an export of something else"):
        export_beside(other, str(out), pattern)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "0.tar").write_bytes(b"mine")
    with pytest.raises(ConfigurationError, match=r"holds '0\.tar'"):
        export_beside(cache, str(tmp_path / "mine"), pattern)
    with pytest.raises(ConfigurationError, match="would replace itself"):
        export_beside(cache, str(tmp_path), pattern)
    (tmp_path / "more").mkdir()
    tar(tmp_path / "more" / "0.tar", [("0.txt", b"a cat")])
    with pytest.raises(ConfigurationError, match="one name"):
        export_beside(cache, str(tmp_path / "new"), [*pattern, str(tmp_path / "more" / "0.tar")])


def flipped(place):
    return lambda data: data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("0.tar", flipped(3 * 2048 + 10)),  # in the fourth sample's header
        ("0.tar", lambda data: data[: 3 * 2048 + 100]),
        ("0.tar", lambda data: data[: 3 * 2048] + bytes(512) + data[3 * 2048 + 512 :]),
        ("0.tar", lambda data: data[: 3 * 2048]),  # between two members, where a download may end too
        ("0.tgz", flipped(-6)),  # the checksum alone: some byte is another
        ("0.tar.bz2", lambda data: data[:-20]),
        ("0.tar.xz", flipped(300)),
    ],
)
def test_tars_that_are_damaged_behind_their_beginning_are_not_written(tmp_path, cache, name, damage):
    members, noise = [], random.Random(0)
    for i in range(9):
        members += [(f"{i}.jpg", noise.randbytes(500)), (f"{i}.txt", b"a cat")]  # 2048 bytes a sample
    tar(tmp_path / name, members, {"gz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}.get(name[-3:].lstrip("t."), "w"))
    tar(tmp_path / "1.tar", [("1.txt", b"a cat")])
    whole, inputs, out = (
        (tmp_path / name).read_bytes(),
        [str(tmp_path / name), str(tmp_path / "1.tar")],
        tmp_path / "out",
    )
    (tmp_path / name).write_bytes(damage(whole))
    for _ in range(2):  # the second finds the other tar there already, and this one no more
        said, complete = export_beside(cache, str(out), inputs)
        assert not complete and sorted(path.name for path in out.glob("*.tar")) == ["1.tar"]
        assert f"not written, {tmp_path / name}: " in "\n".join(said)
    (tmp_path / name).write_bytes(whole)
    assert export_beside(cache, str(out), inputs)[1]
    assert len(members_of(out / "0.tar")) == 27


def test_a_tar_without_an_end_mark_is_written_once_it_has_one(tmp_path, cache):
    source = tar(tmp_path / "0.tar", [("0.txt", b"a cat")])
    source.write_bytes(source.read_bytes()[:1024])
    said, complete = export_beside(cache, str(tmp_path / "out"), [str(source)])
    assert not complete and "if it is whole, add 1024 zero bytes" in "\n".join(said)
    source.write_bytes(source.read_bytes() + bytes(1024))
    assert export_beside(cache, str(tmp_path / "out"), [str(source)])[1]
    assert [member[0] for member in members_of(tmp_path / "out" / "0.tar")] == ["0.txt", "0.json"]


@pytest.mark.parametrize("name", ["in.csv.gz", "in.csv.xz", "in.jsonl.gz", "in.jsonl.xz", "in.parquet"])
@pytest.mark.parametrize("cut", [True, False])
def test_tables_that_are_damaged_are_not_taken_for_a_full_disk(tmp_path, cache, name, cut):
    rows = [{"caption": f"a cat {i * 7919 % 100_003}", "filepath": f"{i}.jpg"} for i in range(60_000)]
    if "csv" in name:
        pd.DataFrame(rows).to_csv(tmp_path / name, index=False)
    elif "json" in name:
        pd.DataFrame(rows).to_json(tmp_path / name, orient="records", lines=True)
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name, compression="gzip")
    path, whole = tmp_path / name, (tmp_path / name).read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if cut else flipped(len(whole) // 2)(whole))
    outputs = [str(tmp_path / name.removesuffix(".gz").removesuffix(".xz")).replace("in.", "out.")]
    for output in [*outputs, str(tmp_path / "out-{source}.txt")]:
        with pytest.raises(InputError, match=r"cannot be read|no readable Parquet"):
            export_beside(cache, output, [str(path)])
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("ending", ["gz", "xz"])
def test_lines_of_a_headerless_csv_that_is_damaged(tmp_path, cache, ending, cut):
    rows = [(f"a/{i * 7919 % 100_003}.jpg", "a cat") for i in range(60_000)]
    path = tmp_path / f"in.csv.{ending}"
    pd.DataFrame(rows).to_csv(path, index=False, header=False)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if cut else flipped(len(whole) // 2)(whole))
    with pytest.raises(InputError, match="cannot be read"):
        export_beside(cache, str(tmp_path / "out-{source}.txt"), [str(path)])
    assert not list(tmp_path.glob("out*"))


def test_packed_tars_are_written_unpacked(tmp_path, cache):
    tar(tmp_path / "0.tar.gz", [("0.txt", b"a cat")], "w:gz")
    tar(tmp_path / "1.tgz", [("1.txt", b"a cat")], "w:gz")
    export_beside(cache, str(tmp_path / "out"), [str(tmp_path / "0.tar.gz"), str(tmp_path / "1.tgz")])
    for number in range(2):
        with tarfile.open(tmp_path / "out" / f"{number}.tar", "r:") as archive:
            assert archive.getnames() == [f"{number}.txt", f"{number}.json"]


def test_a_folder_in_use_is_told_before_an_imported_cache_is_read(tmp_path):
    (tmp_path / "in.jsonl").write_text(json.dumps({"caption": "a dog runs", "x": "a dog runs"}) + "\n")
    import_cache(tmp_path / "in.jsonl", tmp_path / "cache", ImportForm(rewrite_keys=("x",)))
    (shard,) = (tmp_path / "cache").glob("shard-*")
    shard.write_bytes(shard.read_bytes()[:-9])  # reading it fails, which the refused text needs
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        member = tarfile.TarInfo("0.txt")
        member.size = 10
        tar.addfile(member, io.BytesIO(b"a dog runs"))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"taken holds 'notes.txt'; name a new directory"):
        export_beside(tmp_path / "cache", str(tmp_path / "taken"), [str(tmp_path / "0.tar")])
    with pytest.raises(CacheCorruptError):
        export_beside(tmp_path / "cache", str(tmp_path / "new"), [str(tmp_path / "0.tar")])

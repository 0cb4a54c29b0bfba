"""Captions come in as open_clip's own loaders see them, and whatever is wrong with an input has a name."""

import gzip
import io
import json
import subprocess
import tarfile

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laclip_aug.cache.browse import records
from laclip_aug.cache.export import export_beside
from laclip_aug.cache.ingest import import_cache
from laclip_aug.errors import ConfigurationError, InputError
from laclip_aug.exchange.import_form import ImportForm
from laclip_aug.exchange.places import expand, kind_of
from laclip_aug.exchange.readers import CaptionInput, InputOptions


def read(*inputs, **options):
    source = CaptionInput([str(path) for path in inputs], InputOptions(**options))
    return list(source), source.log


def tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


ODD_TABLE = (
    "filepath\ttitle\textra\n"
    'a.jpg\t"quoted ""dog"" and\ta tab"\t1\n'
    'b.jpg\t"two\nlines"\t1\n'
    "c.jpg\tNA\t1\n"
    "d.jpg\t\t1\n"
    "e.jpg\t1984\t1\n"
    "f.jpg\t  spaces  \t1\n"
    "g.jpg\tit's 5\" wide\t1\n"
    "h.jpg\tfew fields\n"
    "i.jpg\ta\x00b\t1\n"
    "j.jpg\tcafé 猫 🐕\t1\n"
    "k.jpg\tTrue\t1\n"
    "l.jpg\tNone\t1\n"
    "m.jpg\tnull\t1\n"
)


@pytest.mark.parametrize(
    "table",
    [
        ODD_TABLE,
        "filepath\ttitle\na\t007\nb\t1e3\nc\t5\n",  # a column of numbers is rewritten by pandas
        "filepath\ttitle\na\t1\nb\t\nc\t2\n",
        "filepath\ttitle\na\tTrue\nb\tFalse\n",
        "filepath\ttitle\n" + "".join(f"{i}.jpg\t{i}\n" for i in range(20_000)) + "x.jpg\ta dog\n",
        "filepath\ttitle\n" + "a.jpg\ta dog\n" + "".join(f"{i}.jpg\t0{i}\n" for i in range(20_000)),
    ],
)
def test_csv_captions_are_those_of_open_clip(tmp_path, table):
    from open_clip_train.data import CsvDataset

    path = tmp_path / "captions.tsv"
    path.write_text(table, encoding="utf-8", newline="")
    dataset = CsvDataset(str(path), None, "filepath", "title", sep="\t", tokenizer=None)
    captions, log = read(path)
    assert captions == [str(caption) for caption in dataset.captions]
    assert log.rows == len(dataset)


def test_csv_separator_and_column(tmp_path):
    (tmp_path / "a.csv").write_text('url,caption\nu,"a dog, sitting"\n')
    (tmp_path / "b.csv").write_text("filepath;my words\nu;a cat\n")
    (tmp_path / "c.tsv").write_text("caption\turl\na cow\tu\n")
    assert read(tmp_path / "a.csv")[0] == ["a dog, sitting"]
    assert read(tmp_path / "b.csv", separator=";", caption_key="my words")[0] == ["a cat"]
    assert read(tmp_path / "c.tsv")[0] == ["a cow"]
    with pytest.raises(InputError, match="'nothing'; its columns are: url, caption"):
        read(tmp_path / "a.csv", caption_key="nothing")
    with pytest.raises(InputError, match=r"no column 'title' or 'caption' or 'text'.*filepath;my words"):
        read(tmp_path / "b.csv")


def test_tables_that_the_trainer_cannot_read_either(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(b"caption\turl\na dog\tu\ncaf\xe9\tu\n")
    with pytest.raises(InputError, match=r"line 3 is not UTF-8.*iconv -f WINDOWS-1252"):
        read(path)
    path.write_bytes(b"caption\turl\na dog\tu\na\tb\tc\n")
    with pytest.raises(InputError, match="line 3, saw 3"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        read(path)


def test_jsonl(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [b'{"caption": "a dog"}', b"{broken", b'{"text": "other key"}', b'{"caption": null}', b"[1]", b""]
    rows += [b'{"caption": "caf\xe9"}', b'{"caption": ["one", "two", 3]}', b"[" * 100_000, b'{"caption": "\\ud800"}']
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(rows))
    captions, log = read(path)
    assert captions == ["a dog", "nan", "one", "two", "\ud800"]
    assert log.rejections == {"malformed-row": 3, "missing-key": 1, "not-text": 1, "missing": 1, "invalid-utf8": 1}
    assert log.examples["invalid-utf8"] == [f"{path}: line 7"]
    assert log.rows == 9
    with gzip.open(tmp_path / "b.jsonl.gz", "wb") as file:
        file.write(b'{"text": "a cat"}\n')
    assert read(tmp_path / "b.jsonl.gz")[0] == ["a cat"]
    path.write_bytes(b"a dog\na cat\n")
    with pytest.raises(InputError, match="no line that is a JSON object"):
        read(path)
    path.write_bytes(b'{"raw": "a dog"}\n')
    with pytest.raises(InputError, match="its columns are: raw"):
        read(path)


@pytest.mark.parametrize("array", [False, True])
def test_rows_of_json_that_leave_out_what_is_null(tmp_path, array):
    """As Spark writes them; what the first row lacks, others have."""
    rows = [{"url": "u0"}, {"url": "u1", "note": "x"}, {"caption": "a dog", "url": "u2"}, {"url": "u3"}]
    rows += [{"caption": "a cat", "url": "u4", "title": "Cats"}]
    text = json.dumps(rows) if array else "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "in.jsonl").write_text(text)
    source = CaptionInput([str(tmp_path / "in.jsonl")])
    assert list(source) == ["a dog", "a cat"]
    assert source.log.rejections == {"missing-key": 3} and source.log.rows == 5
    assert "line 1" in source.log.lines()[0] or "element 1" in source.log.lines()[0]


def test_a_column_that_no_row_has_is_missed_before_all_is_read(tmp_path):
    with (tmp_path / "in.jsonl").open("w") as file:
        file.writelines(json.dumps({"url": f"u{i}", "words": "a dog"}) + "\n" for i in range(5000))
    source = CaptionInput([str(tmp_path / "in.jsonl")])
    with pytest.raises(InputError, match=r"has no column 'title' or 'caption' or 'text'; its columns are: url, words"):
        list(source)
    assert source.log.rows == 1000


COCO = {
    "info": {"year": 2017},
    "images": [{"id": 9, "file_name": "000009.jpg"}, {"id": 4, "file_name": "000004.jpg"}],
    "licenses": [],
    "annotations": [
        {"image_id": 9, "id": 1, "caption": "A dog, running."},
        {"image_id": 4, "id": 2, "caption": "A cat\tsits 猫"},
        {"image_id": 9, "id": 3, "caption": 'The "dog" runs.\n'},
    ],
}


@pytest.mark.parametrize("name", ["captions val.json", "captions.json.gz"])
@pytest.mark.parametrize("indent", [None, 2])
def test_captions_of_coco_are_named_with_a_command_that_makes_a_table(tmp_path, monkeypatch, name, indent):
    monkeypatch.chdir(tmp_path)
    data = json.dumps(COCO, indent=indent, ensure_ascii=False).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    told = set()
    for form in (None, ImportForm(), ImportForm(group_key="image_id"), ImportForm(list_key="caption")):
        with pytest.raises(InputError, match="images and annotations apart, as COCO's captions") as error:
            import_cache(name, "cache", form) if form else read(name)
        told.add(str(error.value).rsplit("with: ", 1)[1])
    (command,) = told
    subprocess.run(command, shell=True, check=True)
    table = f"{name.partition('.')[0]}.tsv"
    assert read(table)[0] == ["A cat\tsits 猫", "A dog, running.", 'The "dog" runs.\n']
    import_cache(table, "cache", ImportForm(group_key="filepath"))
    found = {record.caption: [text.text.strip() for text in record.rewrites] for record in records(tmp_path / "cache")}
    dogs = ["A dog, running.", 'The "dog" runs.']  # stored as a tokenizer reads them, whose spaces are one
    assert found == {"A cat sits 猫": [], dogs[0]: [dogs[1]], dogs[1]: [dogs[0]]}


def test_a_row_with_images_and_annotations_of_its_own_is_a_row(tmp_path):
    row = {"caption": "a dog", "images": ["1.jpg"], "annotations": [{"caption": "dog", "box": [0, 0, 2, 2]}]}
    (tmp_path / "in.jsonl").write_text(json.dumps(row))
    assert read(tmp_path / "in.jsonl")[0] == ["a dog"]


def test_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"caption": ["a dog", None, "a cat"], "n": [1, 2, 3]}), path)
    captions, log = read(path)
    assert captions == ["a dog", "nan", "a cat"]
    assert (log.rows, dict(log.rejections), log.fraction) == (3, {"missing": 1}, 1.0)
    pd.DataFrame({"caption": ["a dog \u732b".encode(), b"bad \xff", None]}).to_parquet(path)
    assert read(path)[0] == ["a dog \u732b", "nan"]
    assert read(path)[1].rejections == {"invalid-utf8": 1, "missing": 1}
    broken = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\4\0\0\0\5\0\0\0"), pa.py_buffer(b"caf\xe9a"))
    pq.write_table(pa.table({"caption": broken}), path)
    assert read(path)[0] == ["a"]
    assert read(path)[1].rejections == {"invalid-utf8": 1}
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match="no readable Parquet"):
        read(path)


def test_a_parquet_file_with_two_columns_of_one_name(tmp_path):
    path = tmp_path / "a.parquet"
    texts = [pa.array(["a dog runs"]), pa.array(["the dog"]), pa.array(["one dog"])]
    pq.write_table(pa.table(texts, names=["caption", "llm", "caption"]), path)
    (tmp_path / "b.jsonl").write_text('{"caption": "a dog runs", "llm": "the dog"}')
    import_cache(tmp_path / "b.jsonl", tmp_path / "cache", ImportForm(("llm",)))
    for use in (
        lambda: read(path),
        lambda: import_cache(path, tmp_path / "other", ImportForm(("llm",))),
        lambda: export_beside(tmp_path / "cache", str(tmp_path / "out.parquet"), [str(path)]),
    ):
        with pytest.raises(InputError, match=r"a\.parquet has 2 columns of the name 'caption'.* renamed or left out"):
            use()
    assert not (tmp_path / "out.parquet").exists()
    pq.write_table(pa.table(texts, names=["url", "caption", "url"]), path)  # those that are not read may have twins
    assert read(path)[0] == ["the dog"]


def test_plain_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b'"a dog", he said\r\n\nbad \xff\n  a cat')
    captions, log = read(path)
    assert captions == ['"a dog", he said', "", "  a cat"]
    assert log.rejections == {"invalid-utf8": 1}


def test_tars_give_the_texts_that_webdataset_decodes(tmp_path):
    import webdataset as wds

    members = [
        ("a/000.jpg", b"x"),
        ("a/000.txt", b" a dog\n"),
        ("a/001.txt", "café 猫".encode()),
        ("a/001.JPG", b"x"),
        ("a/002.jpg", b"x"),  # no caption
        ("a/003.jpg", b"x"),
        ("a/003.TXT", b"upper-case suffix"),
        ("a/003.other.txt", b"another member"),
        ("a/004.txt", b"bad \xff"),
        ("a/004.jpg", b"x"),
        ("__meta__/x.txt", b"not a sample"),
    ]
    path = tar(tmp_path / "0.tar", members)
    captions, log = read(path)
    assert captions == [" a dog\n", "café 猫", "upper-case suffix"]
    assert log.rejections == {"no-caption": 1, "invalid-utf8": 1}
    assert log.rows == 5

    def ignore(error):
        return True

    pipeline = wds.DataPipeline(
        wds.SimpleShardList([str(path)]),
        wds.tarfile_to_samples(),
        wds.select(lambda sample: "txt" in sample),
        wds.map(lambda sample: {"__key__": sample["__key__"], "txt": sample["txt"]}),
        wds.decode(handler=ignore),
    )
    assert captions == [sample["txt"] for sample in pipeline]


def test_a_damaged_tar_is_counted_and_the_next_one_read(tmp_path):
    first = tar(tmp_path / "0.tar", [("0.txt", b"a dog"), ("1.txt", b"x" * 3000)])
    first.write_bytes(first.read_bytes()[:2000])
    tar(tmp_path / "1.tar", [("0.txt", b"a cat")])
    captions, log = read(tmp_path / "{0..1}.tar")
    assert captions == ["a dog", "a cat"]
    assert log.rejections == {"damaged-tar": 1}


def test_a_tar_through_a_pipe(tmp_path):
    path = tar(tmp_path / "0.tar", [("0.txt", b"a dog")])
    assert read(f"pipe:cat {path}")[0] == ["a dog"]


def test_names_of_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("1.txt", "2.txt", "odd{1,2}.txt", "captions"):
        (tmp_path / name).write_text(name + "\n")
    assert expand(["{1..2}.txt"]) == ["1.txt", "2.txt"]
    assert expand(["2.txt::1.txt"]) == ["2.txt", "1.txt"]
    assert expand(["[0-9].txt"]) == ["1.txt", "2.txt"]
    assert expand(["odd{1,2}.txt"]) == ["odd{1,2}.txt"]
    for wrong, message in (
        ("3.txt", "no such file: 3.txt"),
        ("{1..3}.txt", "3.txt"),
        (".", "directory"),
        ("{1.txt", "brace"),
    ):
        with pytest.raises(InputError, match=message):
            expand([wrong])
    with pytest.raises(InputError, match="no input"):
        expand([])
    with pytest.raises(InputError, match="--input-format"):
        kind_of("captions")
    assert read("captions", format="text")[0] == ["captions"]
    with pytest.raises(ConfigurationError, match="did you mean 'text'"):
        CaptionInput(["1.txt"], InputOptions(format="txt"))


@pytest.mark.parametrize(
    ("kind", "rows"), [("csv", 3_000), ("csv", 40_000), ("csv.gz", 3_000), ("parquet", 40_000), ("jsonl", 40_000)]
)
def test_a_total_reckoned_from_what_was_read_is_that_of_the_rows(tmp_path, kind, rows):
    """A table is read in pieces of many rows, and these by buffers of 256 KiB: what was read is not yet given."""
    import pandas as pd

    table = pd.DataFrame({"title": [f"a dog runs along beach number {row}" for row in range(rows)]})
    file = str(tmp_path / f"captions.{kind}")
    if kind == "jsonl":
        table.to_json(file, orient="records", lines=True)
    else:
        table.to_parquet(file) if kind == "parquet" else table.to_csv(file, index=False)
    source = CaptionInput([file])
    for given, _ in enumerate(source, 1):
        if given % 500 == 0:
            assert given / source.log.fraction == pytest.approx(rows, rel=0.3)


def test_progress_knows_how_far_it_is(tmp_path):
    for name in ("1.txt", "2.txt"):
        (tmp_path / name).write_text("a dog\n" * 50)
    source = CaptionInput([str(tmp_path / "{1..2}.txt")])
    seen = [source.log.fraction for _ in source]
    assert seen == sorted(seen)
    assert seen[60] > 0.5
    assert source.log.fraction == 1.0

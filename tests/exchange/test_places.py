"""Names of inputs: addresses, patterns, folders, compression, and the advice about each."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import shlex
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laclip_aug.errors import InputError
from laclip_aug.exchange.places import expand
from laclip_aug.exchange.readers import CaptionInput, InputOptions
from tests.exchange.test_tars import tar


def read(*inputs, **options):
    return list(CaptionInput([str(name) for name in inputs], InputOptions(**options)))


@pytest.fixture
def memory():
    import fsspec

    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    yield filesystem
    filesystem.store.clear()


def test_every_kind_of_file_from_an_address(tmp_path, memory):
    pq.write_table(pa.table({"caption": ["a parquet dog"]}), tmp_path / "a.parquet")
    tar(tmp_path / "a.tar", [("0.txt", b"a tar dog")])
    (tmp_path / "a.csv").write_text("caption,url\na csv dog,u\n,u\n")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"caption": "a json dog"}\n'))
    (tmp_path / "a.txt").write_text("a text dog\n")
    names = ["a.csv", "a.jsonl.gz", "a.parquet", "a.tar", "a.txt"]
    for name in names:
        memory.pipe(f"/set/{name}", (tmp_path / name).read_bytes())
    expected = ["a csv dog", "nan", "a json dog", "a parquet dog", "a tar dog", "a text dog"]
    assert read(*(f"memory://set/{name}" for name in names)) == expected
    assert read("memory://set/*") == expected
    assert read("memory://set/a.{csv,tar}") == ["a csv dog", "nan", "a tar dog"]
    assert read("memory://set/a.csv::memory://set/a.tar") == ["a csv dog", "nan", "a tar dog"]
    assert read(*((tmp_path / name).as_uri() for name in names)) == expected  # file:///...


def test_addresses_that_cannot_be_read(memory):
    with pytest.raises(InputError, match=r"unreachable: 1.*none\.tar"):
        read("memory://set/none.tar")
    for name in ("none.csv", "none.jsonl", "none.parquet", "none.txt"):
        with pytest.raises(InputError, match=r"none\.\w+ .*(cannot be read|no readable)"):
            read(f"memory://set/{name}")
    with pytest.raises(InputError, match="nothing matches"):
        read("memory://set/*.tar")


def test_a_driver_that_is_not_installed_is_named_with_another_way():
    from fsspec import get_filesystem_class

    with pytest.raises(ImportError):
        get_filesystem_class("gs")  # the test needs a driver that is truly absent
    for name in ("gs://bucket/a b.tar", "gs://bucket/a b.csv"):
        with pytest.raises(InputError) as error:
            read(name)
        assert "pip install gcsfs" in str(error.value)
        advised = str(error.value).rsplit("too: ", 1)[1]
        (word,) = shlex.split(advised)  # one word for the shell, which the pipe's own shell splits
        assert shlex.split(word.removeprefix("pipe:")) == ["gsutil", "cat", name]
    with pytest.raises(InputError, match="pipe:COMMAND"):
        read("nosuchscheme://bucket/a.tar")


def test_a_list_longer_than_a_file_name(tmp_path):
    files = [tmp_path / f"{number:05d}.txt" for number in range(400)]
    for file in files:
        file.write_text(f"photo {file.stem}\n")
    joined = "::".join(map(str, files))
    assert len(joined) > 4096
    assert read(joined) == [f"photo {file.stem}" for file in files]
    with pytest.raises(InputError, match="no such file: x") as error:
        read("x" * 5000)
    assert len(str(error.value)) < 500


def test_folders(tmp_path, monkeypatch):
    odd = tmp_path / "it's a set"
    odd.mkdir()
    with pytest.raises(InputError, match="none of its files ends in"):
        read(odd)
    tar(odd / "0.tar", [("0.txt", b"a dog")])
    with pytest.raises(InputError) as error:
        read(odd)
    advised = str(error.value).rsplit("files: ", 1)[1]
    assert read(*shlex.split(advised)) == ["a dog"]


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_compressed_files_of_every_kind(tmp_path, ending, pack):
    tar(tmp_path / "a.tar", [("0.txt", b"a tar dog")])
    (tmp_path / "a.csv").write_text("caption,url\na csv dog,u\n")
    (tmp_path / "a.jsonl").write_text('{"caption": "a json dog"}\n')
    (tmp_path / "a.txt").write_text("a text dog\n")
    names = ["a.csv", "a.jsonl", "a.tar", "a.txt"]
    for name in names:
        (tmp_path / f"{name}.{ending}").write_bytes(pack((tmp_path / name).read_bytes()))
    assert read(*(tmp_path / f"{n}.{ending}" for n in names)) == ["a csv dog", "a json dog", "a tar dog", "a text dog"]
    (tmp_path / "plain.txt").write_bytes(pack(b"a dog\n"))
    with pytest.raises(InputError, match=rf"compressed.*add \.{ending}"):
        read(tmp_path / "plain.txt")


@pytest.mark.parametrize("damage", ["cut", "a byte", "a byte of the sum"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "a.parquet"])
@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_compressed_files_that_are_damaged(tmp_path, ending, pack, name, damage):
    rows = [{"caption": f"photo {i * 7919 % 10007}", "url": str(i)} for i in range(5000)]
    content = {
        "a.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "a.json": json.dumps(rows),
        "a.csv": "caption,url\n" + "".join(f"{row['caption']},{row['url']}\n" for row in rows),
        "a.tsv": "caption\turl\n" + "".join(f"{row['caption']}\t{row['url']}\n" for row in rows),
        "a.txt": "".join(f"{row['caption']}\n" for row in rows),
    }.get(name, "")
    path = tmp_path / f"{name}.{ending}"
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    else:
        (tmp_path / name).write_text(content)
    data = bytearray(pack((tmp_path / name).read_bytes()))
    path.write_bytes(data)
    assert read(path) == [row["caption"] for row in rows]
    if damage == "cut":
        del data[-20:]
    elif damage == "a byte":
        data[len(data) // 2] ^= 0x10
    else:  # CRC of gzip and bzip2 at the end; of xz before its index
        data[{"gz": -8, "bz2": -5, "xz": -40}[ending]] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"cannot be read|no readable Parquet"):
        read(path)


def test_json_arrays(tmp_path):
    rows = [{"caption": f"photo {i} é猫", "more": ["x"] * (i % 50)} for i in range(5000)]
    (tmp_path / "a.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    (tmp_path / "b.json").write_text("\ufeff" + json.dumps(rows, indent=2), encoding="utf-8")
    (tmp_path / "c.json").write_text(json.dumps([{"caption": "x" * 300_000}, {"text": "y"}, 5, {"caption": None}]))
    expected = [row["caption"] for row in rows]
    assert read(tmp_path / "a.json") == read(tmp_path / "b.json") == expected
    source = CaptionInput([str(tmp_path / "c.json")])
    assert list(source) == ["x" * 300_000, "nan"]
    assert source.log.rejections == {"missing-key": 1, "malformed-row": 1, "missing": 1} and source.log.rows == 4
    (tmp_path / "d.json").write_text('[{"caption": "a dog"}, {"caption": ')
    with pytest.raises(InputError, match="after element 1"):
        read(tmp_path / "d.json")
    (tmp_path / "e.json").write_text("[]")
    with pytest.raises(InputError, match="JSON array of objects"):
        read(tmp_path / "e.json")


@pytest.mark.parametrize("between", ["", "\n", " \r\n\t"])
def test_json_arrays_one_after_another(tmp_path, between):
    """As ``cat`` joins files, and as some tools write batches: an array in each line."""
    arrays = [[{"caption": "a dog"}, {"caption": "a cat"}], [], [{"caption": "a [bird], {flying"}], [{"caption": "x"}]]
    (tmp_path / "a.json").write_text(between.join(json.dumps(array) for array in arrays) + between)
    source = CaptionInput([str(tmp_path / "a.json")])
    assert list(source) == ["a dog", "a cat", "a [bird], {flying", "x"] and source.log.rows == 4
    (tmp_path / "cut.json").write_text(f'[{{"caption": "a dog"}}]{between}[{{"caption": "a c')
    with pytest.raises(InputError, match="no whole JSON array: after element 1"):
        read(tmp_path / "cut.json")


@pytest.mark.parametrize("rest", ['{"caption": "a cat"}', "]", ', {"caption": "a cat"}]', "\0\0", "null"])
def test_what_follows_a_json_array_is_not_passed_over(tmp_path, rest):
    (tmp_path / "a.json").write_text(f'[{{"caption": "a dog"}}]\n{rest}\n')
    with pytest.raises(InputError, match=r"a.json: after element 1 its array ends, and .* follows"):
        read(tmp_path / "a.json")


@pytest.mark.parametrize("ending", ["tsv", "txt", "jsonl"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_other_encodings_are_named_with_a_command_that_converts(tmp_path, ending, encoding):
    import pandas as pd

    lines = ["a café in Málaga", "naïve “quotes” – and a dash", "a dog", "a cat"]
    text = {
        "tsv": "filepath\ttitle\n" + "".join(f"{i}.jpg\t{line}\n" for i, line in enumerate(lines)),
        "txt": "".join(line + "\n" for line in lines),
        "jsonl": "".join(json.dumps({"caption": line}, ensure_ascii=False) + "\n" for line in lines),
    }[ending]
    path = tmp_path / f"it's a file.{ending}"
    path.write_bytes(text.encode(encoding))
    if ending == "tsv":
        with pytest.raises(UnicodeError):  # what is refused here stops the trainer too
            pd.read_csv(path, sep="\t")["title"]
    source = CaptionInput([str(path)])
    if encoding == "cp1252" and ending != "tsv":  # the lines of ASCII can be read
        assert list(source) == ["a dog", "a cat"]
        (said,) = source.log.lines()
    else:
        with pytest.raises(InputError) as error:
            list(source)
        said = str(error.value)
    assert ("WINDOWS-1252" if encoding == "cp1252" else encoding[:6].upper()) in said
    subprocess.run(said.rsplit("with: ", 1)[1], shell=True, check=True, cwd=tmp_path)
    converted = tmp_path / f"it's a file.utf8.{ending}"
    assert read(converted) == lines


def test_another_encoding_of_a_table_whose_separator_is_named(tmp_path):
    (tmp_path / "a.csv").write_bytes("filepath,title\nx.jpg,un café\n".encode("utf-16"))
    with pytest.raises(InputError, match="it looks like UTF-16") as error:
        read(tmp_path / "a.csv", separator=",")
    subprocess.run(str(error.value).rsplit("with: ", 1)[1], shell=True, check=True)
    assert read(tmp_path / "a.utf8.csv", separator=",") == ["un café"]


def test_damaged_utf8_and_unknown_encodings(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes("caption\turl\ncafé 猫\tu\n".encode() + b"caf\xe9 \xe7\x8c\tu\n" + "две собаки\tu\n".encode())
    with pytest.raises(InputError, match="some bytes are damaged") as error:
        read(path)
    done = subprocess.run(str(error.value).rsplit("with: ", 1)[1], shell=True, cwd=tmp_path, stderr=subprocess.PIPE)
    assert done.returncode in (0, 1)  # iconv -c says with 1 that it dropped something
    assert read(tmp_path / "a.utf8.tsv") == ["café 猫", "caf ", "две собаки"]
    path.write_bytes("caption\turl\nдве собаки\tu\n".encode("cp1251"))
    with pytest.raises(InputError, match=r"none that is recognised.*iconv -f ENCODING"):
        read(path)
    packed = tmp_path / "a.tsv.gz"
    packed.write_bytes(gzip.compress("caption\turl\na café\tu\n".encode("cp1252")))
    with pytest.raises(InputError) as error:
        read(packed)
    subprocess.run(str(error.value).rsplit("with: ", 1)[1], shell=True, check=True, cwd=tmp_path)
    assert read(tmp_path / "a.utf8.tsv") == ["a café"]


def test_an_input_without_a_caption_is_an_error(tmp_path):
    for name, content in (
        ("a.txt", ""),
        ("b.txt", "\n  \n"),
        ("c.csv", "caption,url\n"),
        ("d.csv", "caption,url\n,u\nNA,u\n"),
        ("e.jsonl", '{"caption": 5}\n'),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=r"no caption was read|is empty"):
            read(tmp_path / name)
    (tmp_path / "g.txt").write_text("a dog\n")
    assert read(tmp_path / "a.txt", tmp_path / "g.txt") == ["a dog"]
    assert expand([str(tmp_path / "g.txt")]) == [str(tmp_path / "g.txt")]

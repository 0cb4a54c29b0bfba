"""Text files beside a table, a line for each of its rows, as released with the paper."""

import gzip
import subprocess

import pandas as pd
import pytest

from laclip_aug.augmenter import Rewrite
from laclip_aug.cache.browse import records
from laclip_aug.cache.ingest import import_cache
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cli import main
from laclip_aug.errors import InputError
from laclip_aug.exchange.import_form import ImportForm
from laclip_aug.exchange.readers import InputOptions


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

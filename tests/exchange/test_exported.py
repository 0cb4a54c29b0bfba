"""A cache becomes a table, and the table a cache of the same records."""

import gzip

import pytest

from laclip_aug.augmenter import Rewrite
from laclip_aug.cache.browse import records
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.filter import filter_cache
from laclip_aug.cache.ingest import import_cache
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.verify import verify_cache
from laclip_aug.eda import EDAAugmenter
from laclip_aug.errors import ConfigurationError, InputError
from laclip_aug.exchange.export import export
from laclip_aug.exchange.import_form import ImportForm
from tests.exchange.conftest import jsonl


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

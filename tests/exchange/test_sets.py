"""Published sets in their own shapes, by their columns alone; and texts joined with captions by a key."""

from __future__ import annotations

import io
import json
import tarfile

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laclip_aug.augmenter import Rejection, Rewrite
from laclip_aug.cache.browse import find
from laclip_aug.cache.ingest import import_cache
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.errors import ConfigurationError, InputError
from laclip_aug.exchange.import_form import ImportForm
from laclip_aug.exchange.readers import InputOptions

RECAP = {
    "url": ["http://a/1.jpg", "http://a/2.jpg"],
    "re_caption": ["The image shows a red mug on a table.", None],
    "org_caption": ["Red Mug 11oz", "IMG_204"],
    "sha256": ["9f" * 32, "0c" * 32],
    "key": ["000000012", "000000013"],
    "re_clip_score": [0.3, 0.1],
    "org_clip_score": [0.2, 0.1],
    "re_length": [9, 0],
    "org_length": [3, 1],
    "re_gpt4v_score": [4, 1],
    "org_gpt4v_score": [3, 1],
}
PIXELPROSE = {
    "uid": ["00" * 32],
    "url": ["https://media/plate?s=612x612"],
    "key": ["007740026"],
    "status": ["success"],
    "original_caption": ["A plate of food from Murray Bros Caddy Shack"],
    "vlm_model": ["gemini-pro-vision"],
    "vlm_caption": ["This image displays: A plate of fried calamari with a lemon wedge."],
    "toxicity": [0.01],
    "aesthetic_score": [5.2],
    "exif": ["{}"],
    "sha256": ["ab" * 32],
}
CAPSFUSION = {
    "image_url": ["http://a/kite.jpg"],
    "laion_2b": ["Amritsar: Protesters use kites #Gallery"],
    "laion_coco": ["A man holding up two kites."],
    "capsfusion": ["In Amritsar, a protester holds up two kites."],
}
DREAMLIP = (
    "Image Path,raw_caption,shortIB_captions,longIB_captions,shortSV_captions,longSV_captions,shortLLA_captions,"
    "longLLA_captions\n"
    'https://s/9957.jpg,how to build a cabin,a small cabin in a field,"In the image, there is a cabin. The house '
    'appears to be under construction.",a cabin,"A cabin, and a ""roof"".\n\nIt is green.",cabin in a field,\n'
)


def parquet(path, columns):
    pq.write_table(pa.table(columns), path)
    return path


def tar(path, samples):
    """Samples as (key, {ending: bytes}) in the order given."""
    with tarfile.open(path, "w") as archive:
        for key, members in samples:
            for ending, data in members.items():
                info = tarfile.TarInfo(f"{key}.{ending}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


def imported(tmp_path, source, *, caption_key=None, **form):
    report = import_cache(source, tmp_path / "cache", ImportForm(**form), InputOptions(caption_key=caption_key))
    return CaptionCache(tmp_path / "cache"), report


@pytest.mark.parametrize(
    ("columns", "name", "caption", "texts"),
    [
        (RECAP, "Recap-DataComp-1B", "Red Mug 11oz", (("recap", RECAP["re_caption"][0]),)),
        (
            PIXELPROSE,
            "PixelProse",
            *[PIXELPROSE["original_caption"][0], (("pixelprose", PIXELPROSE["vlm_caption"][0]),)],
        ),
        (
            CAPSFUSION,
            "CapsFusion-120M",
            CAPSFUSION["laion_2b"][0],
            (("laion_coco", CAPSFUSION["laion_coco"][0]), ("capsfusion", CAPSFUSION["capsfusion"][0])),
        ),
    ],
)
def test_parquet_sets(tmp_path, columns, name, caption, texts):
    cache, report = imported(tmp_path, parquet(tmp_path / "0.parquet", columns))
    assert cache.get(caption) == tuple(Rewrite(*pair) for pair in texts)
    assert report.input.audit[0].startswith(f"recognised as {name} by its columns: captions in ")
    if columns is RECAP:
        assert find(tmp_path / "cache", "IMG_204").rejections == (Rejection("recap", "missing"),)


def test_dreamlip(tmp_path):
    (tmp_path / "cc3m_3long_3short_1raw_captions_url.csv").write_text(DREAMLIP)
    cache, _ = imported(tmp_path, tmp_path / "cc3m_3long_3short_1raw_captions_url.csv")
    got = {rewrite.source: rewrite.text for rewrite in cache.get("how to build a cabin")}
    assert list(got) == ["shortIB", "longIB", "shortSV", "longSV", "shortLLA"]
    assert got["longIB"] == "In the image, there is a cabin. The house appears to be under construction."
    assert got["longSV"] == 'A cabin, and a "roof".\n\nIt is green.'
    assert find(tmp_path / "cache", "how to build a cabin").rejections == (Rejection("longLLA", "missing"),)


def test_what_is_said_wins(tmp_path):
    source = parquet(tmp_path / "0.parquet", CAPSFUSION)
    cache, report = imported(tmp_path, source, caption_key="laion_2b", rewrite_keys=("capsfusion",))
    assert [rewrite.source for rewrite in cache.get(CAPSFUSION["laion_2b"][0])] == ["capsfusion"]
    assert not any("recognised" in line for line in report.input.audit)
    import_cache(source, tmp_path / "named", ImportForm(sources=("blip", "fused")))
    assert CaptionCache(tmp_path / "named").sources == ("blip", "fused")
    import_cache(source, tmp_path / "other", ImportForm(), InputOptions(caption_key="image_url"))
    assert len(CaptionCache(tmp_path / "other").get("http://a/kite.jpg")) == 2
    with pytest.raises(ConfigurationError, match="one --source for each"):
        import_cache(source, tmp_path / "third", ImportForm(sources=("one",)))


def datacompdr(number, uid, texts, **more):
    members = {
        "url.txt": f"http://a/{number}.jpg".encode(),
        "syn.json": texts if isinstance(texts, bytes) else json.dumps({"syn_text": texts}).encode(),
        "paug.json": b'{"param_aug": "[[[32, 291, 657, 709], []]]"}',
        "npz": b"PK\x03\x04",
        "json": json.dumps({"uid": uid, "sha256": "9f" * 32}).encode(),
        **more,
    }
    return f"{number:09d}", members


def test_datacompdr_with_its_captions_beside(tmp_path):
    source = tar(
        tmp_path / "0.tar",
        [
            datacompdr(0, "d6", ["a white desktop computer", "a white tablet"], txt=b"Apple iMac 24", jpg=b"x"),
            datacompdr(1, "31", b"{broken", txt=b"a puzzle"),
            datacompdr(2, "32", [5], txt=b"a lamp"),
        ],
    )
    cache, report = imported(tmp_path, source)
    assert cache.get("Apple iMac 24") == (
        Rewrite("datacompdr", "a white desktop computer"),
        Rewrite("datacompdr", "a white tablet"),
    )
    assert cache.get("a puzzle") == () and report.input.rejections == {"malformed-json": 1}
    assert find(tmp_path / "cache", "a lamp").rejections == (Rejection("datacompdr", "not-text"),)


def test_datacompdr_joined_with_the_metadata_of_datacomp(tmp_path):
    source = tar(
        tmp_path / "0.tar",
        [
            datacompdr(0, "d6", ["a white computer"]),
            datacompdr(1, "31", ["a word search puzzle", "a person"]),
            datacompdr(2, "77", ["a bench"]),
            datacompdr(3, "d6", ["another computer"]),
            datacompdr(4, None, ["a wall"]),
        ],
    )
    captions = {
        "uid": ["31", "d6", "e8", "31", None, "d7"],
        "url": ["u"] * 6,
        "text": ["MLK Word Search", "Apple iMac 24", "Fuel Filter", "another text", "no uid", None],
        "sha256": ["9f" * 32] * 6,
    }
    parts = (str(parquet(tmp_path / "meta.parquet", captions)),)
    cache, report = imported(tmp_path, source, captions=parts)
    assert cache.get("Apple iMac 24") == (Rewrite("datacompdr", "a white computer"),)
    assert [rewrite.text for rewrite in cache.get("MLK Word Search")] == ["a word search puzzle", "a person"]
    assert len(cache) == 2
    assert report.input.rejections == {
        "not-in-captions": 1,
        "not-in-texts": 1,
        "key-twice": 1,
        "key-twice-in-captions": 1,
        "no-key": 2,
        "missing": 1,
    }
    assert report.input.examples["not-in-captions"] == [f"{source}: 000000002"]
    assert report.input.examples["not-in-texts"] == [f"{parts[0]}: row 3"]
    assert report.input.examples["no-key"] == [f"{parts[0]}: row 5", f"{source}: 000000004"]
    assert "joined by uid" in report.input.audit


def test_joins_of_tables_by_a_named_key(tmp_path):
    (tmp_path / "texts.csv").write_text("image_id,fused\n7,a red mug\n8,a blue mug\n,a mug\n")
    (tmp_path / "captions.jsonl").write_text('{"id": 8, "title": "mug, blue"}\n{"id": 7, "title": "mug"}\n')
    form = ImportForm(rewrite_keys=("fused",), captions=(str(tmp_path / "captions.jsonl"),))
    with pytest.raises(InputError, match=r"share no column uid, sha256, url .*image_id, fused.*id, title.*--join KEY"):
        import_cache(tmp_path / "texts.csv", tmp_path / "cache", form)
    cache, report = imported(
        tmp_path, tmp_path / "texts.csv", rewrite_keys=("fused",), captions=form.captions, join="image_id=id"
    )
    assert cache.get("mug") == (Rewrite("fused", "a red mug"),)
    assert cache.get("mug, blue") == (Rewrite("fused", "a blue mug"),)
    assert report.input.rejections == {"no-key": 1}


@pytest.mark.parametrize("name", ["texts.csv", "texts.parquet"])
def test_joins_by_numbers_that_pandas_made_floats(tmp_path, name):
    table = pd.DataFrame({"image_id": [7, 8, None, 9.5], "fused": ["a red mug", "a blue mug", "a mug", "mugs"]})
    table.to_csv(tmp_path / name, index=False) if name == "texts.csv" else table.to_parquet(tmp_path / name)
    (tmp_path / "captions.jsonl").write_text(
        '{"image_id": 8, "title": "mug, blue"}\n{"image_id": "7", "title": "mug"}\n'
    )
    captions = (str(tmp_path / "captions.jsonl"),)
    cache, report = imported(
        tmp_path, tmp_path / name, rewrite_keys=("fused",), captions=captions, join="image_id"
    )  # fmt: skip
    assert cache.get("mug") == (Rewrite("fused", "a red mug"),)
    assert cache.get("mug, blue") == (Rewrite("fused", "a blue mug"),)
    # 9.5 is a text in a CSV, which might be a key
    refused = {"no-key": 1, "not-in-captions": 1} if name == "texts.csv" else {"no-key": 2}
    assert report.input.rejections == refused
    assert "Each row needs a text or a whole number as the key" in "\n".join(report.lines())


def test_joins_that_make_no_sense(tmp_path):
    (tmp_path / "texts.jsonl").write_text('{"uid": "a", "fused": "a red mug"}\n')
    (tmp_path / "captions.jsonl").write_text('{"uid": "b", "title": "mug"}\n')
    captions = (str(tmp_path / "captions.jsonl"),)
    for form, message in (
        (ImportForm(rewrite_keys=("fused",), join="uid"), "goes with --captions"),
        (ImportForm(captions=captions), "goes with --rewrite-key"),
        (ImportForm(list_key="fused", captions=captions), "goes with --rewrite-key"),
        (ImportForm(rewrite_keys=("fused",), captions=(str(tmp_path / "none.csv"),)), "no such file"),
        (ImportForm(rewrite_keys=("fused",), captions=captions, join="key"), "has no column 'key'"),
        (ImportForm(rewrite_keys=("fused",), captions=captions), r"(?s)no caption was read.*not-in-captions: 1"),
    ):
        with pytest.raises((ConfigurationError, InputError), match=message):
            import_cache(tmp_path / "texts.jsonl", tmp_path / "cache", form)
    assert not (tmp_path / "cache").exists()

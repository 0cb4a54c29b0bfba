"""Caches whose rewrites are of images: found by the image's key, however many images share a caption."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from laclip_aug.augmenter import Outcome, Rejection, Rewrite
from laclip_aug.cache.add import add_texts
from laclip_aug.cache.browse import find, records
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.filter import filter_cache
from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.ingest import import_cache
from laclip_aug.cache.keys import caption_key, record_key
from laclip_aug.cache.lookup import CachedAugmenter, CaptionCache
from laclip_aug.cache.merge import merge_caches
from laclip_aug.cache.repair import repair_cache
from laclip_aug.cache.todo import missing_captions
from laclip_aug.cache.verify import verify_cache
from laclip_aug.cli import main
from laclip_aug.eda import EDAAugmenter
from laclip_aug.errors import CacheMismatchError, CacheMissError, ConfigurationError
from laclip_aug.exchange.export import export
from laclip_aug.exchange.import_form import ImportForm
from laclip_aug.training.augmentation import TextAugmentation
from laclip_aug.training.custom import DrawCounts, TextAugCollate, TextAugOptions, TextMap, TextStage, sampler_for

FORM = ImportForm(rewrite_keys=("recap",), image_key="uid")
# DataComp's shape: a web alt-text that many images share, and what a captioning model saw in each
ROWS = [{"uid": f"{i:04x}", "caption": "image", "recap": f"a photo of {i} boats"} for i in range(300)]


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def cache(tmp_path):
    import_cache(jsonl(tmp_path / "in.jsonl", ROWS), tmp_path / "cache", FORM)
    return tmp_path / "cache"


def test_each_image_has_its_own_rewrites(tmp_path, cache, capsys):
    opened = CaptionCache(cache)
    assert opened.by_image and len(opened) == 300
    for row in ROWS:
        assert opened.get(row["caption"], row["uid"]) == (Rewrite("recap", row["recap"]),)
    assert opened.get("image", "ffff") is None
    sent = pickle.loads(pickle.dumps(opened))  # noqa: S301 - as to a spawned worker
    assert sent.get("any", "0007") == (Rewrite("recap", "a photo of 7 boats"),)
    with pytest.raises(ConfigurationError, match="a caption alone finds nothing"):
        opened.get("image")
    assert find(cache, "0007") == Outcome("image", (Rewrite("recap", "a photo of 7 boats"),), image="0007")
    assert verify_cache(cache) == ([], [])
    manifest = json.loads((cache / "manifest.json").read_text())
    assert manifest["format_version"] == 4  # releases that know no image keys refuse it
    assert manifest["configs"][0]["describe"]["keyed_by"] == "image"
    assert main(["cache", "show", str(cache), "0007"]) == 0
    assert capsys.readouterr().out == "0007: image\n  recap: a photo of 7 boats\n"
    assert main(["cache", "info", str(cache)]) == 0
    assert "  keyed_by: image\n  image_key: uid\n" in capsys.readouterr().out


def test_an_image_is_found_by_its_key_as_the_table_wrote_it(tmp_path):
    """``7.0`` is what pandas makes of a 7; whoever asks for it has it from the same table."""
    rows = [{"uid": key, "caption": "image", "recap": f"a photo of {key}"} for key in ("7.0", "8", "v1.0", "1.10")]
    import_cache(jsonl(tmp_path / "in.jsonl", rows), tmp_path / "cache", FORM)
    opened = CaptionCache(tmp_path / "cache")
    for key, written in (("7.0", "7.0"), ("7", "7.0"), ("8.0", "8"), ("v1.0", "v1.0"), ("1.10", "1.10")):
        assert opened.get("image", key) == (Rewrite("recap", f"a photo of {written}"),)
        assert find(tmp_path / "cache", key).rewrites == (Rewrite("recap", f"a photo of {written}"),)
    assert opened.get("image", "1.1") is None


def test_an_images_key_is_no_caption():
    assert record_key("a dog") == caption_key("a dog")
    assert record_key("a dog", "a dog") != caption_key("a dog")
    assert record_key("a dog", "1") == record_key("a cat", "1") != record_key("a dog", "01")


def test_rows_whose_caption_says_nothing_keep_their_texts(tmp_path):
    rows = [
        {"uid": 7, "caption": None, "recap": "a red boat"},  # keys may be whole numbers
        {"uid": "b", "caption": "", "recap": "a blue boat"},
        {"uid": "c", "caption": "x" * 5000, "recap": "a green boat"},
        {"uid": "d", "caption": 5, "recap": "a white boat"},
        {"uid": None, "caption": "image", "recap": "lost"},
        {"uid": 1.5, "caption": "image", "recap": "lost"},
        {"uid": "", "caption": "image", "recap": "lost"},
        {"uid": " ", "caption": "image", "recap": "lost"},
        {"uid": "e\ud800", "caption": "image", "recap": "lost"},
        {"uid": "b", "caption": "again", "recap": "another boat"},
        {"uid": "猫", "caption": "image", "recap": "image"},
    ]
    report = import_cache(jsonl(tmp_path / "in.jsonl", rows), tmp_path / "cache", FORM)
    assert report.input.rejections == {"no-image-key": 4, "not-unicode": 1, "other-rewrites": 1}
    assert report.input.examples["no-image-key"][0].endswith("line 5")
    assert (report.made, report.repeated) == (5, 1)
    opened = CaptionCache(tmp_path / "cache")
    found = {key: opened.get("", key) for key in ("7", "b", "c", "d", "猫")}
    texts = {key: [rewrite.text for rewrite in rewrites] for key, rewrites in found.items()}
    assert texts == {"7": ["a red boat"], "b": ["a blue boat"], "c": ["a green boat"], "d": ["a white boat"], "猫": []}
    assert find(tmp_path / "cache", "猫").rejections == (Rejection("recap", "unchanged", "image"),)
    assert verify_cache(tmp_path / "cache") == ([], [])
    again = import_cache(tmp_path / "in.jsonl", tmp_path / "cache", FORM)
    assert (again.made, again.repeated) == (0, 6)


@pytest.mark.parametrize("name", ["in.csv", "in.parquet"])
def test_numbers_that_pandas_made_floats_are_keys(tmp_path, name):
    """One cell of the column is missing; the loader may have the numbers in either type."""
    keys = [7, 8, None, 2**53 + 2]
    table = pd.DataFrame({"uid": keys, "caption": "image", "recap": ["a red boat", "a blue boat", "none", "too large"]})
    table.to_csv(tmp_path / name, index=False) if name == "in.csv" else table.to_parquet(tmp_path / name)
    report = import_cache(tmp_path / name, tmp_path / "cache", FORM)
    # of the last a float says not which number it is; in a CSV it might be a text
    assert report.input.rejections == {"no-image-key": 1 if name == "in.csv" else 2}
    assert CaptionCache(tmp_path / "cache").get("image", "8") == (Rewrite("recap", "a blue boat"),)
    lenient = sampler_for(TextAugOptions(mode="laclip-mt", cache=str(tmp_path / "cache"), on_miss="original"))
    mapped = TextMap(lenient, image_key="uid")
    for uid in (8, 8.0, "8", "8.0", np.int64(8), np.float64(8)):
        assert mapped({"caption": ["image"], "uid": [uid]})["texts"] == [["image", "a blue boat"]]
    assert mapped({"caption": ["image"], "uid": [float("nan")]})["texts"] == [["image", "image"]]


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet", "out.csv", "folder"])
def test_export_and_import_keep_the_keys(tmp_path, cache, name):
    assert main(["cache", "export", str(cache), str(tmp_path / name)]) == 0
    out = tmp_path / name / "data" / "00000.parquet" if name == "folder" else tmp_path / name
    import_cache(out, tmp_path / "second", ImportForm())
    first = {record.image: record for record in records(cache)}
    assert {record.image: record for record in records(tmp_path / "second")} == first
    assert len(first) == 300
    assert CaptionCache(tmp_path / "second").by_image and verify_cache(tmp_path / "second") == ([], [])
    import_cache(jsonl(tmp_path / "plain.jsonl", [{"caption": "a", "x": "b c"}]), tmp_path / "p", ImportForm(("x",)))
    export(records(tmp_path / "p"), tmp_path / "plain-out.jsonl")
    if name != "folder":
        with pytest.raises(ConfigurationError, match="import each apart"):
            import_cache([str(out), str(tmp_path / "plain-out.jsonl")], tmp_path / "third", ImportForm())


def test_captions_and_images_never_share_a_cache(tmp_path, cache):
    rows = jsonl(tmp_path / "plain.jsonl", [{"caption": "a dog", "recap": "the dog"}])
    with pytest.raises(CacheMismatchError, match="keyed_by: 'image' there, None asked for"):
        import_cache(rows, cache, ImportForm(rewrite_keys=("recap",)))
    (tmp_path / "in.txt").write_text("a dog runs\n")
    with pytest.raises(CacheMismatchError, match="keyed by images, and these records by captions"):
        build_cache(tmp_path / "in.txt", cache, EDAAugmenter(), allow_mixed=True)
    import_cache(rows, tmp_path / "plain", ImportForm(rewrite_keys=("recap",)))
    with pytest.raises(CacheMismatchError, match="two caches"):
        merge_caches([cache, tmp_path / "plain"], tmp_path / "out", allow_mixed=True)
    with pytest.raises(ConfigurationError, match="new texts are made of captions"):
        add_texts(cache, tmp_path / "out", EDAAugmenter())
    with pytest.raises(ConfigurationError, match="rewrites are made of captions"):
        list(missing_captions(["a dog"], cache))
    with pytest.raises(ConfigurationError, match="sees captions alone"):
        CachedAugmenter(cache)
    with pytest.raises(ConfigurationError, match="goes with --rewrite-key alone"):
        import_cache(rows, tmp_path / "new", ImportForm(list_key="captions", image_key="uid"))
    assert verify_cache(cache) == ([], [])


def test_merged_and_filtered_caches_keep_the_keys(tmp_path, cache):
    more = [{"uid": f"m{i}", "caption": "image", "recap": f"{i} cats in a tree"} for i in range(40)]
    import_cache(jsonl(tmp_path / "more.jsonl", [*more, ROWS[3]]), tmp_path / "more", FORM)
    report = merge_caches([cache, tmp_path / "more"], tmp_path / "both")
    assert (report.repeated, report.conflicts, report.counts.captions) == (1, 0, 340)
    merged = CaptionCache(tmp_path / "both")
    assert merged.get("image", "m7") == (Rewrite("recap", "7 cats in a tree"),)
    assert merged.get("image", "0003") == (Rewrite("recap", "a photo of 3 boats"),)
    assert verify_cache(tmp_path / "both") == ([], [])
    filter_cache(cache, tmp_path / "strict", "words>=0.9")
    assert CaptionCache(tmp_path / "strict").get("image", "0003") == ()
    filter_cache(tmp_path / "strict", tmp_path / "back", "none")
    assert list(records(tmp_path / "back")) == list(records(cache))
    with pytest.raises(ConfigurationError, match="leave out --images"):
        filter_cache(cache, tmp_path / "third", "none", images=dict)


def test_damage_is_found_and_repaired(tmp_path, cache):
    (shard,) = cache.glob("shard-*.parquet")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert any("is damaged" in sentence for sentence in verify_cache(cache)[0])
    repair_cache(cache)
    import_cache(tmp_path / "in.jsonl", cache, FORM)
    assert verify_cache(cache) == ([], [])
    assert {record.image for record in records(cache)} == {row["uid"] for row in ROWS}
    (cache / "manifest.json").unlink()  # what the shards say of themselves is enough
    repair_cache(cache)
    assert read_manifest(cache).by_image
    assert CaptionCache(cache).get("image", "0009") == (Rewrite("recap", "a photo of 9 boats"),)


def test_a_killed_import_goes_on(tmp_path):
    rows = [{"uid": f"{i:06x}", "caption": "image", "recap": f"a photo of {i} boats"} for i in range(40_000)]
    source, journal = jsonl(tmp_path / "in.jsonl", rows), tmp_path / "cache" / "journal-000000"
    command = [sys.executable, "-c", "import sys; from laclip_aug.cli import main; sys.exit(main())", "cache", "import"]
    keys = ["--rewrite-key", "recap", "--image-key", "uid", "--cache", str(tmp_path / "cache")]
    with subprocess.Popen([*command, str(source), *keys]) as child:
        while not (journal.exists() and journal.stat().st_size > 10_000):
            assert child.poll() is None
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
        child.wait(60)
    stored = {record.image for record in records(tmp_path / "cache")}
    report = import_cache(source, tmp_path / "cache", FORM)
    assert 0 < report.recovered == len(stored) < 40_000
    assert report.made == 40_000 - len(stored)
    assert verify_cache(tmp_path / "cache") == ([], [])
    assert CaptionCache(tmp_path / "cache").get("image", "009c3f") == (Rewrite("recap", "a photo of 39999 boats"),)


def words(texts):
    import torch

    return torch.tensor([[len(text)] for text in texts])


def test_loaders_draw_by_the_key_of_the_image(cache):
    sampler = sampler_for(TextAugOptions(mode="laclip-mt", cache=str(cache)))
    samples = [{"pixels": i, "caption": "image", "uid": row["uid"]} for i, row in enumerate(ROWS[:20])]
    batch = TextAugCollate(words, sampler, caption="caption", image_key="uid")(samples)
    expected = [[len("image")], [len(ROWS[0]["recap"])]] * 10 + [[len("image")], [len(ROWS[10]["recap"])]] * 10
    assert batch["caption"].tolist() == expected
    triples = [(i, "image", row["uid"]) for i, row in enumerate(ROWS[:20])]
    by_place = TextAugCollate(words, sampler, image_key=lambda sample: sample[2])(triples)
    assert by_place[1].tolist() == expected
    (staged,) = TextStage(sampler, image_key="__key__")([{"__key__": "0007", "txt": "image"}])
    assert staged["txt"] == ["image", "a photo of 7 boats"]
    mapped = TextMap(sampler, image_key="uid")({"caption": ["image", "image"], "uid": ["0001", "0002"]})
    assert mapped["texts"] == [["image", "a photo of 1 boats"], ["image", "a photo of 2 boats"]]


def test_images_that_share_a_caption_draw_for_themselves(cache):
    sampler = sampler_for(TextAugOptions(mode="laclip", cache=str(cache)))
    drawn = {sampler.draw("image", epoch, key="0001").sources for epoch in range(40)}
    assert drawn == {("original",), ("recap",)}
    epoch = [sampler.draw("image", 0, key=row["uid"]).sources[0] for row in ROWS]
    assert 100 < epoch.count("recap") < 200  # about half of 300 images with one caption, in the same epoch


def test_what_has_no_key_or_no_rewrites_is_said(cache):
    sampler = sampler_for(TextAugOptions(mode="laclip-mt", cache=str(cache)))
    for make in (TextAugCollate, TextStage, TextMap):
        with pytest.raises(ConfigurationError, match="is keyed by images; say with image_key="):
            make(*([words] if make is TextAugCollate else []), sampler)
    collate = TextAugCollate(words, sampler, image_key=2)
    with pytest.raises(CacheMissError, match="no rewrites of the image 'ffff' in the cache cache"):
        collate([(0, "image", "ffff")])
    with pytest.raises(ConfigurationError, match="there is no 2 in a tuple"):
        collate([(0, "image")])
    with pytest.raises(ConfigurationError, match="key is a float"):
        collate([(0, "image", 1.5)])
    with pytest.raises(ConfigurationError, match="a caption alone"):
        sampler.draw("image", 0)
    lenient = sampler_for(TextAugOptions(mode="laclip-mt", cache=str(cache), on_miss="original"))
    counts = DrawCounts(lenient.strategies, 0)
    batch = TextAugCollate(words, lenient, image_key=2, counts=counts)(
        [(0, "a red boat", "ffff"), (1, "a boat", None), (2, "image", "0005")]
    )
    assert batch[1].tolist() == [[10], [10], [6], [6], [5], [len("a photo of 5 boats")]]
    assert counts.take().missed == 2


def test_open_clips_trainer_refuses_it_in_words(cache):
    with pytest.raises(ConfigurationError, match=r"loaders give captions alone; import .* without --image-key"):
        TextAugmentation(TextAugOptions(mode="laclip", cache=str(cache)))

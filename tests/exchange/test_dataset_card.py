"""A folder that ``datasets`` loads offline, and tars that open_clip's loader reads."""

from __future__ import annotations

import inspect
import io
import json
import random
import tarfile

import pytest
import yaml
from PIL import Image

from laclip_aug.augmenter import Outcome, Rewrite
from laclip_aug.cache.browse import records
from laclip_aug.cache.config import Config
from laclip_aug.cache.export import export_beside, export_records
from laclip_aug.cache.ingest import import_cache
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.errors import ConfigurationError
from laclip_aug.exchange import dataset_card
from laclip_aug.exchange.import_form import ImportForm

ROWS = [
    {"caption": f"photo {i} 猫", "llm": f"picture {i}" if i % 3 else "", "fused": f'a "photo"\n{i}'} for i in range(30)
]


@pytest.fixture
def cache(tmp_path):
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    import_cache(tmp_path / "in.jsonl", tmp_path / "cache", ImportForm(rewrite_keys=("llm", "fused")))
    return tmp_path / "cache"


def test_datasets_loads_the_folder(tmp_path, cache, monkeypatch):
    import datasets

    monkeypatch.setattr(dataset_card, "_ROWS", 10)  # several files, the last of them full
    assert export_records(cache, str(tmp_path / "my data")) == 30
    loaded = datasets.load_dataset(str(tmp_path / "my data"), cache_dir=str(tmp_path / "hub"))
    assert list(loaded) == ["train"]
    found = {row["caption"]: row for row in loaded["train"]}
    assert len(found) == 30
    for record in records(cache):
        row = found[record.caption]
        assert [(r["source"], r["text"]) for r in row["rewrites"]] == [(r.source, r.text) for r in record.rewrites]
        assert [r["reason"] for r in row["rejections"]] == [r.reason for r in record.rejections]
    card = (tmp_path / "my data" / "README.md").read_text()
    header = yaml.safe_load(card.split("---")[1])
    assert header["license"] == "unknown" and "# fill in" in card
    features = datasets.Features._from_yaml_list(header["dataset_info"]["features"])
    assert features == loaded["train"].features
    assert "| llm | 20 |" in card and '"augmenter": "import"' in card and "- `in.jsonl`: 30 rows" in card
    assert str(tmp_path) not in card  # a card is for others, who have no such folder
    assert sorted(path.name for path in tmp_path.glob("my data/data/*")) == [f"{i:05d}.parquet" for i in range(3)]
    # and back
    import_cache(str(tmp_path / "my data" / "data" / "*.parquet"), tmp_path / "second", ImportForm())
    first = {record.caption: record for record in records(cache)}
    assert {record.caption: record for record in records(tmp_path / "second")} == first


def test_a_folder_is_whole_or_absent(tmp_path, cache, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(ConfigurationError, match="holds something already"):
        export_records(cache, str(tmp_path / "full"))

    def broken(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(dataset_card, "write_parquet", broken)
        with pytest.raises(Exception, match="free some space"):
            export_records(cache, str(tmp_path / "out"))
    assert not list(tmp_path.glob("out*"))
    (tmp_path / "out.tmp" / "data").mkdir(parents=True)  # what a kill leaves
    (tmp_path / "out.tmp" / "data" / "00007.parquet").write_bytes(b"half")
    (tmp_path / "out").mkdir()
    assert export_records(cache, str(tmp_path / "out")) == 30
    assert [path.name for path in tmp_path.glob("out/data/*")] == ["00000.parquet"]
    assert not (tmp_path / "out.tmp").exists()


def test_an_empty_cache_is_no_data_set(tmp_path):
    with CacheWriter(tmp_path / "cache", Config("llm", "test", 0, 1, ("x",))) as writer:
        writer.finish()
    with pytest.raises(ConfigurationError, match="holds no captions"):
        export_records(tmp_path / "cache", str(tmp_path / "out"))
    assert not list(tmp_path.glob("out*"))


def test_the_trainers_loader_draws_from_exported_tars(tmp_path):
    import webdataset as wds
    from open_clip_train import data, params

    texts = {f"photo {i}": [f"picture {i}", f"image {i}"] for i in range(8)}
    with CacheWriter(tmp_path / "cache", Config("llm", "test", 0, 2, ("a", "b"))) as writer:
        for caption, (one, other) in texts.items():
            writer.new([caption])
            writer.add(Outcome(caption, (Rewrite("a", one), *([Rewrite("b", other)] if caption != "photo 0" else []))))
        writer.finish()
    pngs = []
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for i in range(8):
            png = io.BytesIO()
            Image.new("RGB", (8, 8), (30 * i,) * 3).save(png, format="png")
            pngs.append(png.getvalue())
            for name, content in ((f"{i}.png", png.getvalue()), (f"{i}.txt", f"photo {i}".encode())):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    said, _ = export_beside(tmp_path / "cache", str(tmp_path / "out"), [str(tmp_path / "0.tar")])
    options = said[-1].partition(": ")[2]
    assert options == "--json-text-key 'original;a;b' --json-text-key-probs 1 1 1"

    samples = list(wds.WebDataset(str(tmp_path / "out" / "0.tar"), shardshuffle=False))
    assert [sample["png"] for sample in samples] == pngs
    fields = [json.loads(sample["json"]) for sample in samples]
    assert [list(row.values()) for row in fields[1:]] == [[c, *t] for c, t in texts.items()][1:]
    assert fields[0] == {"original": "photo 0", "a": "picture 0"}
    if "json_text_key" not in inspect.getsource(params):
        return  # open_clip before 4
    random.seed(0)
    extract = data.JsonCaptionExtractor("original;a;b", sample_probs=[1, 1, 1])
    drawn = [[extract(row) for _ in range(200)] for row in fields]
    assert [set(texts) for texts in drawn] == [set(row.values()) for row in fields]
    assert CaptionCache(tmp_path / "cache").get("photo 1")

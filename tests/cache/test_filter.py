"""A cache through gates: there and back without a byte lost, kills, images, and the command."""

import json
import os
import random
import signal
import subprocess
import sys

import pytest
from PIL import Image
from shouting import ShoutAugmenter

from laclip_aug.augmenter import Outcome, Rejection, Rewrite
from laclip_aug.cache.browse import find, records
from laclip_aug.cache.build import build_cache
from laclip_aug.cache.filter import filter_cache, sweep
from laclip_aug.cache.format import read_manifest
from laclip_aug.cache.ingest import import_cache
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cache.record import decode, encode
from laclip_aug.cache.verify import verify_cache
from laclip_aug.cli import main
from laclip_aug.errors import CacheMismatchError, ConfigurationError
from laclip_aug.exchange.import_form import ImportForm
from laclip_aug.quality.signals import Signal

WORDS = "dog cat train boat tree snow grass beach man woman red two runs sleeps old small by under with".split()


def imported(path, captions=300, texts=3, seed=0):
    """A cache of rewrites of random words, equal ones among them."""
    draw = random.Random(seed)
    rows = []
    for number in range(captions):
        said = draw.sample(WORDS, 6)
        made = [" ".join(draw.sample(said, draw.randint(2, 6)) + draw.sample(WORDS, 1)) for _ in range(texts - 1)]
        rows.append({"caption": f"{' '.join(said)} {number}", "rewrites": [*made, made[0]]})
    source = path.with_suffix(".jsonl")
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_cache(source, path, ImportForm(rewrite_keys=("rewrites",), sources=("words",)))
    return path


def content(directory):
    """Every byte of shards and look-up, and what the manifest says of the texts."""
    files = {f.name: f.read_bytes() for f in directory.iterdir() if f.suffix in (".parquet", ".table")}
    manifest = json.loads((directory / "manifest.json").read_text())
    return files, {name: manifest[name] for name in ("configs", "runs", "inputs", "shards", "tables")}


def texts(directory):
    return sorted(
        (r.caption, t.source, t.text) for r in records(directory) for t in (*r.rewrites, *r.rejections) if t.text
    )


def test_there_and_back_is_the_same_to_the_byte(tmp_path):
    first = imported(tmp_path / "first")
    strict, loose = "kept>=0.6 novelty>=0.2", "kept>=0.4"
    filter_cache(first, tmp_path / "strict", strict)
    filter_cache(tmp_path / "strict", tmp_path / "loose", loose)
    filter_cache(tmp_path / "loose", tmp_path / "strict again", strict)
    filter_cache(first, tmp_path / "loose at once", loose)
    filter_cache(tmp_path / "strict again", tmp_path / "back", "none")
    assert content(tmp_path / "strict") == content(tmp_path / "strict again")
    assert content(tmp_path / "loose") == content(tmp_path / "loose at once")
    assert content(first) == content(tmp_path / "back")
    assert content(tmp_path / "strict") != content(tmp_path / "loose") != content(first)
    for name in ("strict", "loose", "back"):
        assert texts(tmp_path / name) == texts(first)
        assert verify_cache(tmp_path / name) == ([], [])


def test_what_is_refused_is_not_looked_up_and_tells_why(tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"caption": "a brown dog", "rewrites": ["the brown dog", "one cat"]}) + "\n")
    import_cache(source, tmp_path / "all", ImportForm(sources=("human",), rewrite_keys=("rewrites",)))
    report = filter_cache(tmp_path / "all", tmp_path / "some", "novelty<=0.6")
    assert [r.text for r in CaptionCache(tmp_path / "some").get("a brown dog")] == ["the brown dog"]
    # by hand: none of five words is shared
    assert find(tmp_path / "some", "a brown dog").rejections == (Rejection("human", "novelty", "one cat", 1.0, 1),)
    manifest = read_manifest(tmp_path / "some")
    assert manifest.counts.rejections == {"novelty": 1}
    assert manifest.config.describe["filter"]["spec"] == "novelty<=0.6"
    text = "\n".join(report.lines())
    assert "2 texts before, 1 now" in text and "refused, novelty: 0 → 1" in text


def test_a_built_cache_goes_on_after_its_filter_is_taken_back(tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("a dog\nreject me\nhopeless case\n")
    build_cache(source, tmp_path / "built", ShoutAugmenter(), n=4)
    filter_cache(tmp_path / "built", tmp_path / "filtered", "shared-letters>=0.5")
    assert {r.source for record in records(tmp_path / "filtered") for r in record.rewrites} == {"calm"}
    source.write_text("a dog\na cat\n")
    with pytest.raises(CacheMismatchError):
        build_cache(source, tmp_path / "filtered", ShoutAugmenter(), n=4)
    filter_cache(tmp_path / "filtered", tmp_path / "back", "none")
    assert content(tmp_path / "back") == content(tmp_path / "built")
    assert build_cache(source, tmp_path / "back", ShoutAugmenter(), n=4).made == 1


def test_what_cannot_be_filtered_is_said(tmp_path, capsys):
    first = imported(tmp_path / "first", captions=3)
    with pytest.raises(ConfigurationError, match="is the cache itself"):
        filter_cache(first, first, "kept>=0.5")
    with pytest.raises(ConfigurationError, match="looks at images; say where they are with --images"):
        filter_cache(first, tmp_path / "out", "clip(no-such-model)>=0.2")  # and no model is looked for
    (tmp_path / "photos.csv").write_text("filepath,title\n0.png,photo 0\n")
    argv = ["filter", str(first), "--images", str(tmp_path / "photos.csv"), "--gate", "clip(no-such-model)>=0.2"]
    assert main(["cache", *argv, "--out", str(tmp_path / "unmade")]) == 2
    assert "open_clip cannot make 'no-such-model'" in capsys.readouterr().err
    assert not (tmp_path / "unmade").exists()
    filter_cache(first, tmp_path / "out", "kept>=0.5")
    with pytest.raises(CacheMismatchError, match="another cache, or one by another gate"):
        filter_cache(first, tmp_path / "out", "kept>=0.6")
    before = content(tmp_path / "out")
    filter_cache(first, tmp_path / "out", "kept>=0.5")
    assert content(tmp_path / "out") == before


def test_a_record_that_a_gate_refused_survives_the_journal():
    record = Outcome(
        "a dog", (Rewrite("x", "b"),), (Rejection("x", "echo", "A"), Rejection("x", "words", "c", -0.5, 1))
    )
    assert decode(encode(record)) == record


VICTIM = """
import os, signal, sys
from laclip_aug.cache import filter as module
write, done = module.write_shard, []
def deadly(*args):
    if len(done) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(1)
    return write(*args)
module.write_shard = deadly
module.filter_cache(sys.argv[1], sys.argv[2], "kept>=0.5")
"""


def test_killed_it_goes_on_with_the_shard_under_way(tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("".join(f"photo {number} of a dog\n" for number in range(50)))
    build_cache(source, tmp_path / "built", ShoutAugmenter(), shard_rows=10)
    command = [sys.executable, "-c", VICTIM, str(tmp_path / "built"), str(tmp_path / "killed")]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(read_manifest(tmp_path / "killed").shards) == 2
    filter_cache(tmp_path / "built", tmp_path / "killed", "kept>=0.5")
    filter_cache(tmp_path / "built", tmp_path / "whole", "kept>=0.5")
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


@pytest.mark.parametrize("spec", ["rank<=1", "neighbours<=0.95", "tfidf>=0.5", "ngrams>=0.3 words>=0"])
def test_signals_over_shards_and_corpora_lead_back_too(tmp_path, spec):
    first = imported(tmp_path / "first", captions=60)
    filter_cache(first, tmp_path / "a", spec)
    filter_cache(tmp_path / "a", tmp_path / "b", "kept>=0.5")
    filter_cache(tmp_path / "b", tmp_path / "c", spec)
    assert content(tmp_path / "a") == content(tmp_path / "c") != content(first)


def test_the_command(tmp_path, capsys):
    first = imported(tmp_path / "first", captions=40)
    assert main(["cache", "filter", str(first), "--sweep", "--gate", "kept>=0 novelty<=1"]) == 0
    swept = capsys.readouterr().out
    assert "kept>=" in swept and "novelty<=" in swept and "100.0%" in swept and "of 120 texts" in swept
    assert main(["cache", "filter", str(first), "--out", str(tmp_path / "out"), "--gate", "default"]) == 0
    assert "120 texts before" in capsys.readouterr().out
    assert read_manifest(tmp_path / "out").config.describe["filter"]["spec"] == "kept>=0.3 tfidf>=0.2"
    assert main(["cache", "filter", str(first), "--out", str(tmp_path / "x"), "--gate", "kpet>=0.5"]) == 2
    assert "did you mean 'kept'" in capsys.readouterr().err
    assert main(["cache", "filter", str(first), "--out", str(tmp_path / "x")]) == 2
    assert "--gate default" in capsys.readouterr().err
    assert main(["cache", "filter", str(first)]) == 2
    with pytest.raises(SystemExit):
        main(["cache", "filter", "--help"])
    help_text = capsys.readouterr().out
    assert (
        "worst-support" in help_text and "shared-letters  Share of the letters of either that are in both." in help_text
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cache": "absent"}, "absent"),
        ({"--gate": "clp>=0.2"}, "clp"),
        ({"--out": "taken"}, "taken is neither empty nor a rewrite cache"),
        ({}, "has no column 'filepath'"),
    ],
    ids=["no cache", "no such signal", "a folder in use", "all right but the images"],
)
def test_all_else_is_looked_at_before_the_tables_of_images_are_read(tmp_path, capsys, change, message):
    imported(tmp_path / "first", captions=3)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    (tmp_path / "photos.csv").write_text("title\nphoto 0\n")  # reading it fails
    given = {"cache": "first", "--gate": "kept>=0.5", "--out": "new", **change}
    argv = ["cache", "filter", str(tmp_path / given["cache"]), "--images", str(tmp_path / "photos.csv")]
    assert main([*argv, "--gate", given["--gate"], "--out", str(tmp_path / given["--out"])]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    if "--out" not in change:
        assert main([*argv, "--gate", given["--gate"], "--sweep"]) == 2
        assert message in capsys.readouterr().err


def test_images_come_from_tables_and_tars(tmp_path, capsys):
    """A tiny CLIP of random weights: the gate is set between the two cosines that open_clip gives."""
    import io
    import tarfile

    import open_clip
    import torch

    from laclip_aug import openclip

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    (tmp_path / "tiny-filter.json").write_text(json.dumps(config))
    openclip.add_model_config(tmp_path / "tiny-filter.json")
    torch.manual_seed(1)
    model, _, preprocess = open_clip.create_model_and_transforms("tiny-filter")
    torch.save(model.state_dict(), tmp_path / "tiny.pt")
    rewrites = ["a wall", "some red thing"]
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"caption": "a red wall", "rewrites": rewrites}) + "\n")
    import_cache(source, tmp_path / "all", ImportForm(rewrite_keys=("rewrites",), sources=("human",)))
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 10, 10)).save(file, "png")
    (tmp_path / "wall.png").write_bytes(file.getvalue())
    (tmp_path / "images.csv").write_text("filepath,title\nwall.png,a red wall\n")
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        for name, data in (("0.png", file.getvalue()), ("0.txt", b"a red wall")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    with torch.inference_mode():
        image = model.eval().encode_image(preprocess(Image.open(file))[None], normalize=True)
        cosines = (model.encode_text(open_clip.get_tokenizer("tiny-filter")(rewrites), normalize=True) @ image.T)[:, 0]
    better = rewrites[int(cosines.argmax())]
    gate = f"clip(tiny-filter:{tmp_path / 'tiny.pt'})>={float(cosines.mean()):.4f}"
    for number, images in enumerate(("images.csv", "images.tar")):
        out = tmp_path / f"out{number}"
        argv = ["cache", "filter", str(tmp_path / "all"), "--out", str(out), "--gate", gate]
        assert main([*argv, "--images", str(tmp_path / images)]) == 0
        record = find(out, "a red wall")
        assert [r.text for r in record.rewrites] == [better]
        assert record.rejections[0].value == pytest.approx(float(cosines.min()), abs=1e-3)


def test_a_sweep_holds_each_value_once_however_many_texts_there_are(tmp_path):
    source = tmp_path / "in.jsonl"
    rows = [{"caption": f"dog {number}", "rewrites": [f"dog {number}", f"the dog {number}"]} for number in range(200)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_cache(source, tmp_path / "all", ImportForm(rewrite_keys=("rewrites",), sources=("human",)))
    swept = sweep(tmp_path / "all", "novelty>=0 likelihood>=-2")
    # by hand: "the" is one of three words, and nobody told a likelihood; a text that is its caption is not imported
    assert swept["novelty>="].counts == {0.3333: 200}
    assert (swept["likelihood>="].counts, swept["likelihood>="].unknown) == ({}, 200)


def test_every_signal_that_learns_reads_all_captions(tmp_path, monkeypatch):
    read = []

    class Reads(Signal):
        def learn(self, captions):
            read.append(sorted(captions))

        def measure(self, pairs):
            return [0.0] * len(pairs)

    source = tmp_path / "in.txt"
    source.write_text("a dog\na cat\na cow\n")
    build_cache(source, tmp_path / "built", ShoutAugmenter(), shard_rows=2)
    monkeypatch.setattr("laclip_aug.quality.gate.create_signal", lambda reference: Reads())
    sweep(tmp_path / "built", "words>=0 kept>=0")
    filter_cache(tmp_path / "built", tmp_path / "filtered", "words>=0 kept>=0")
    assert read == [["a cat", "a cow", "a dog"]] * 4

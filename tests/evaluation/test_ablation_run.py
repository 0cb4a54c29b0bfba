"""``laclip-aug ablate`` with the real trainer on drawn images, killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import laclip_aug.version
from laclip_aug.augmenter import Outcome, Rewrite
from laclip_aug.cache.config import Config
from laclip_aug.cache.writer import CacheWriter

COLOURS = {"red": (210, 30, 30), "green": (30, 190, 40), "blue": (40, 60, 220), "yellow": (240, 220, 50)}
SIDES = ("left", "right", "top", "bottom")
STRATEGIES = ("chatgpt", "bard", "human")
EPOCHS = 10
MODEL = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def cache_of(directory: Path, captions: list[str]) -> None:
    with CacheWriter(directory, Config("llm", "test", seed=0, n=3, sources=STRATEGIES)) as writer:
        for caption in captions:
            writer.new([caption])
            writer.add(Outcome(caption, tuple(Rewrite(name, f"{name} sees {caption}") for name in STRATEGIES)))
        writer.finish()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photos of a coloured half, tables of captions to train and to test on, a cache, and a model's configuration."""
    (tmp_path / "photos").mkdir()
    rows = []
    for number in range(48):
        colour, side = list(COLOURS)[number % 4], SIDES[number // 4 % 4]
        pixels = np.random.default_rng(number).integers(0, 60, (32, 32, 3), dtype=np.uint8)
        part = {"left": np.s_[:, :16], "right": np.s_[:, 16:], "top": np.s_[:16], "bottom": np.s_[16:]}[side]
        pixels[part] = COLOURS[colour]
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number:02d}.png")
        rows.append(f"photos/{number:02d}.png\tpicture {number} is {colour} at its {side}")
    (tmp_path / "train.tsv").write_text("\n".join(["filepath\ttitle", *rows]) + "\n")
    (tmp_path / "test.tsv").write_text("\n".join(["filepath\tcaption", *rows[:16]]) + "\n")
    (tmp_path / "small.json").write_text(json.dumps(MODEL))
    cache_of(tmp_path / "rewrites", [row.split("\t")[1] for row in rows])
    return tmp_path


def write(folder: Path, **changes: Any) -> Path:
    """The ablation's file; ``changes`` are of its grid."""
    train = {"train-data": "train.tsv", "batch-size": 8, "epochs": EPOCHS, "lr": "1e-3", "warmup": 2, "workers": 0}
    train |= {"precision": "fp32", "log-every-n-steps": 1} | changes.pop("train", {})
    grid = {"model": "small.json", "mode": ["laclip", "laclip-mt"], "cache": {"llm": "rewrites"}, "texts": [0, 2]}
    evaluate = ["retrieval --data photos --captions test.tsv --workers 0"]
    content = {"train": train, "evaluate": evaluate, "grid": grid | {"seed": [1, 2]} | changes}
    (folder / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "study.yaml"


@pytest.fixture
def ablate(folder: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts ``laclip-aug ablate study.yaml`` in a session of its own, with two GPUs to choose from."""

    def start(*options: str) -> subprocess.Popen[str]:
        code = "import sys; from laclip_aug.cli import main; sys.exit(main(sys.argv[1:]))"
        return subprocess.Popen(
            [sys.executable, "-c", code, "ablate", "study.yaml", *options],
            cwd=folder,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "3,5", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    end = time.monotonic() + 240
    while not (found := condition()):
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise AssertionError(process.communicate())
        time.sleep(0.01)
    return found


def broken(runs: Path) -> set[str]:
    """The runs that have a checkpoint and are not trained."""
    return {
        run.name
        for run in runs.glob("*")
        if (run / "checkpoints/epoch_latest.pt").exists() and not (run / "trained.json").exists()
    }


def finished(runs: Path) -> set[str]:
    return {file.parent.name for file in runs.glob("*/eval-*.json")}


def starts(run: Path) -> int:
    return len(json.loads((run / "cell.json").read_text())["starts"])


def children(parent: int, file: str) -> list[list[str]]:
    """The words of a file in /proc of each child of a process; none of a child that has just ended."""
    found = []
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):
            found.append(Path(f"/proc/{child}/{file}").read_bytes().decode().split("\0"))
    return found


def devices_of(parent: int) -> set[str]:
    """``CUDA_VISIBLE_DEVICES`` of the children of a process."""
    words = [word for environment in children(parent, "environ") for word in environment]
    return {word.split("=", 1)[1] for word in words if word.startswith("CUDA_VISIBLE_DEVICES=")}


def in_training(parent: int) -> set[str]:
    """The runs whose trainers are children of a process."""
    lines = children(parent, "cmdline")
    return {line[line.index("--name") + 1] for line in lines if "--name" in line}


def test_killed_twice(folder: Path, ablate: Callable[..., subprocess.Popen[str]]) -> None:
    """Two runs suffice: a start of the trainer is seconds of imports. ``benchmarks/killed_ablation.py`` has six."""
    write(folder, mode="laclip", seed=1)
    runs = folder / "study" / "runs"

    # everything is killed once a run has a checkpoint
    first = ablate()
    wait_for(lambda: devices_of(first.pid) == {"3", "5"}, first)  # two side by side, each on its own
    wait_for(lambda: broken(runs), first)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    cut = broken(runs)
    assert cut

    # only the parent is killed: its trainers go on, and nobody else may take their runs
    second = ablate()
    held = wait_for(lambda: in_training(second.pid) & cut, second)
    os.kill(second.pid, signal.SIGKILL)
    second.wait()

    third = ablate()
    said = third.communicate(timeout=300)
    assert third.returncode == 0, said
    assert any(f"{name}: a process of an earlier start is still at it" in said[1] for name in held), said

    for name in cut:
        resumed = (runs / name / "out.log").read_text()
        assert "resuming checkpoint" in resumed
        at = [int(line.rsplit("(epoch ", 1)[1].split(")")[0]) for line in resumed.splitlines() if "=> resuming" in line]
        assert 1 <= at[0] < EPOCHS  # not from the start, and not by chance after the end
        assert resumed.count(f"Start epoch {at[0] - 1}\n") == 1  # what was finished is not trained again

    expected = {"none_small_seed1", "laclip_llm_2_small_seed1"}
    assert {run.name for run in runs.iterdir()} == expected == finished(runs)
    for name in expected:
        noted = dict(line.split(": ", 1) for line in (runs / name / "params.txt").read_text().splitlines())
        assert noted["text_aug"] == name.split("_")[0]
        assert noted["seed"] == "1"
        if not name.startswith("none"):
            assert noted["text_aug_strategies"] == "('chatgpt', 'bard')"  # the first two of three
            assert noted["text_aug_seed"] == "1"
        assert not (runs / name / "checkpoints/epoch_latest.pt").exists()
        assert not (runs / name / "features").exists()

    check_results(folder / "study", runs)

    before = {file: file.stat().st_mtime_ns for file in runs.rglob("*") if file.is_file()}
    again = ablate()
    out, said_again = again.communicate(timeout=120)
    assert again.returncode == 0, said_again
    assert "2 of 2 runs are finished" in out
    assert {file: file.stat().st_mtime_ns for file in before} == before  # a finished run is not touched again
    assert "training" not in said_again


def check_results(study: Path, runs: Path) -> None:
    """The results against the evaluations' own files, by other means than the code's."""
    results = json.loads((study / "results.json").read_text())
    assert len(results["runs"]) == 2
    assert results["unfinished"] == []
    assert results["config"]["grid"]["seed"] == 1
    for run in results["runs"]:
        assert run["command"].startswith("open_clip train --save-frequency 0 --train-data train.tsv")
        assert f"--name {run['name']}" in run["command"]
        assert run["cell"]["seed"] == 1
        for start in run["starts"]:
            assert start["laclip_aug"] == laclip_aug.version.__version__
            assert start["open_clip"] and start["machine"]["cpus"]
    figure = "image-to-text R@5"
    found = {}
    for run in runs.iterdir():
        [document] = [json.loads(file.read_text()) for file in run.glob("eval-*.json")]
        [result] = document["results"]
        found[run.name.split("_")[0]] = result["metrics"][figure]
    table = {
        row["arm"]["mode"]: row for row in results["tables"][f"{result['data']['name']} {result['protocol']} {figure}"]
    }
    text = (study / "table.md").read_text()
    for mode, paper in (("none", 40.2), ("laclip", 46.5)):
        assert table[mode]["summary"]["mean"] == found[mode]
        assert table[mode]["paper"] == paper
        assert f"{found[mode]:.2f}" in text
    assert table["laclip"]["difference"]["mean"] == pytest.approx(found["laclip"] - found["none"])
    with Image.open(study / "plot.png") as plot:
        assert plot.format == "PNG" and len(np.unique(np.asarray(plot.convert("L")))) > 10


def test_a_failing_run_is_told_with_its_last_words(folder: Path, ablate: Callable[..., subprocess.Popen[str]]) -> None:
    cache_of(folder / "other", ["a caption of another data set"])
    write(folder, mode="laclip", cache={"other": "other"}, texts=3, seed=7, train={"epochs": 1})
    process = ablate("--jobs", "1")
    out, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "laclip_other_3_small_seed7: training ended with status 2" in said
    assert "not in the cache" in said or "text-aug-on-miss" in said
    assert "0 of 1 runs are finished" in out
    assert json.loads((folder / "study/results.json").read_text())["unfinished"] == ["laclip_other_3_small_seed7"]


def test_a_run_is_judged_with_the_options_of_its_training(
    folder: Path, ablate: Callable[..., subprocess.Popen[str]]
) -> None:
    """Recall by open_clip alone, told the options by hand; without them the checkpoint does not even load."""
    import open_clip

    given = {"force-image-size": 48, "force-context-length": 11, "siglip": True, "image-interpolation": "bilinear"}
    given |= {"image-mean": [0.485, 0.456, 0.406], "image-std": [0.229, 0.224, 0.225], "epochs": 4}
    write(folder, mode="none", cache={}, seed=3, texts=0, train=given)
    process = ablate("--jobs", "1")
    said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    [run] = (folder / "study/runs").iterdir()
    [document] = [json.loads(file.read_text()) for file in run.glob("eval-*.json")]
    assert document["model"]["options"] == (
        "--force-context-length 11 --force-image-size 48 --image-interpolation bilinear "
        "--image-mean 0.485 0.456 0.406 --image-std 0.229 0.224 0.225 --siglip"
    )

    open_clip.add_model_config(folder / "small.json")
    model, _, preprocess = open_clip.create_model_and_transforms(
        "small",
        str(run / "checkpoints/epoch_4.pt"),
        force_image_size=48,
        force_context_length=11,
        image_mean=(0.485, 0.456, 0.406),
        image_std=(0.229, 0.224, 0.225),
        image_interpolation="bilinear",
        init_logit_bias=0,
    )
    model.eval()
    rows = [line.split("\t") for line in (folder / "test.tsv").read_text().splitlines()[1:]]
    with torch.no_grad():
        pixels = torch.stack([preprocess(Image.open(folder / file)) for file, _ in rows])
        images = model.encode_image(pixels, normalize=True)
        texts = open_clip.SimpleTokenizer(context_length=11)([caption for _, caption in rows])
        likeness = images @ model.encode_text(texts, normalize=True).T
    rank = (likeness > likeness.diag()[:, None]).sum(dim=1)
    metrics = document["results"][0]["metrics"]
    for at in (1, 5, 10):
        assert metrics[f"image-to-text R@{at}"] == pytest.approx(100 * float((rank < at).float().mean()))


def test_a_frozen_pretrained_text_tower(folder: Path, ablate: Callable[..., subprocess.Popen[str]]) -> None:
    import transformers

    words = sorted({word for row in (folder / "train.tsv").read_text().split("\n") for word in row.split()})
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder / "bert")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=200, max_position_embeddings=80, **sizes)
    torch.manual_seed(5)
    tower = transformers.BertModel(config, add_pooling_layer=False)
    tower.save_pretrained(folder / "bert")

    encoder = {"bert frozen": {"hf_model_name": "bert", "frozen": True}}
    write(folder, mode="none", cache={}, seed=3, train={"epochs": 1}, **{"text-encoder": encoder})
    process = ablate("--jobs", "1")
    out, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert "bert frozen" in out
    [checkpoint] = (folder / "study/runs").glob("*/checkpoints/epoch_1.pt")
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    for name, value in tower.state_dict().items():
        assert torch.equal(state[f"text.transformer.{name}"], value), name  # the file's own, and untouched
    assert "text.proj.0.weight" in state


def test_other_options_under_the_same_name_are_refused(
    folder: Path, ablate: Callable[..., subprocess.Popen[str]]
) -> None:
    write(folder, mode="none", cache={}, seed=3, train={"epochs": 1})
    assert ablate().wait(200) == 0
    write(folder, mode="none", cache={}, seed=3, train={"epochs": 2})
    process = ablate()
    _, said = process.communicate(timeout=200)
    assert process.returncode == 2
    assert "--epochs was 1, is 2" in said and "--out" in said
    write(folder, mode="none", cache={}, seed=3, train={"epochs": 1})
    (folder / "train.tsv").write_text((folder / "train.tsv").read_text().replace("picture 7", "figure 7"))
    process = ablate()
    _, said = process.communicate(timeout=200)
    assert process.returncode == 2 and "train-data has changed" in said

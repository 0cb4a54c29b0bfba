"""The store of features: kept, resumed after a kill, made again when something changed or was damaged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from laclip_aug.errors import ConfigurationError, InputError, ModelError
from laclip_aug.evaluation import features
from laclip_aug.evaluation.features import FeatureStore
from laclip_aug.evaluation.images import ImageSet, local_images
from laclip_aug.evaluation.libraries import library_images
from laclip_aug.evaluation.model import Model
from tests.evaluation.conftest import COLOURS, class_folders, encoded, run_folder, tar_of
from tests.evaluation.test_data import mnist


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    monkeypatch.setattr(features, "PART", 5)
    return FeatureStore(tmp_path / "features", batch=2, workers=0)


def parts_of(store: FeatureStore, kind: str = "images") -> list[Path]:
    return sorted(store.folder.glob(f"*/{kind}-*/*.npz"))


def test_kept_features_are_the_models_and_need_no_model(
    store: FeatureStore, model: Any, model_files: tuple[Path, Path], tmp_path: Path
) -> None:
    photos = local_images(str(class_folders(tmp_path / "photos")))  # 12 images: parts of 5, 5 and 2
    found = store.images(model, photos)
    with torch.no_grad():
        pixels = torch.stack([model.loaded.preprocess(photos.read(i)) for i in range(12)])
        expected = model.loaded.model.encode_image(pixels).numpy()
    np.testing.assert_allclose(found.vectors, expected, rtol=1e-4, atol=1e-5)
    assert [len(np.load(part)["features"]) for part in parts_of(store)] == [5, 5, 2]

    class Unloadable(Model):
        loaded = property(lambda self: pytest.fail("the model was loaded"))  # type: ignore[assignment]

    again = Unloadable("tiny-eval", str(model_files[1]), model_files[0])
    np.testing.assert_array_equal(store.images(again, photos).vectors, found.vectors)


def test_a_changed_image_another_model_or_split_is_not_taken_for_the_old_one(
    store: FeatureStore, model: Any, model_files: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = class_folders(tmp_path / "photos")
    before = store.images(model, local_images(str(folder)))
    (folder / "red_rose/0.png").write_bytes(encoded((0, 0, 0), 1))
    after = store.images(model, local_images(str(folder)))
    changed = np.flatnonzero((before.vectors != after.vectors).any(axis=1))
    assert changed.tolist() == [8]
    some = store.images(model, local_images(str(folder)).only([3, 8]))
    np.testing.assert_allclose(some.vectors, after.vectors[[3, 8]], rtol=1e-4, atol=1e-5)

    state = torch.load(model_files[1], weights_only=True)["state_dict"]
    torch.save({"state_dict": {k: 2 * v for k, v in state.items()}}, tmp_path / "other.pt")
    other = Model("tiny-eval", str(tmp_path / "other.pt"), model_files[0], device="cpu")
    assert not np.allclose(store.images(other, local_images(str(folder))).vectors, after.vectors)
    (tmp_path / "copy.pt").write_bytes(model_files[1].read_bytes())
    assert Model("tiny-eval", str(tmp_path / "copy.pt"), model_files[0]).key == model.key  # the same bytes


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "gone", "text"])
def test_a_damaged_part_is_made_again_and_only_it(store: FeatureStore, model: Any, tmp_path: Path, damage: str) -> None:
    photos = local_images(str(class_folders(tmp_path / "photos")))
    found = store.images(model, photos)
    parts = parts_of(store)
    times = [part.stat().st_mtime_ns for part in parts]
    content = bytearray(parts[1].read_bytes())
    content[len(content) // 3] ^= 0x10
    new = {"cut": content[:-40], "flipped": content, "empty": b"", "text": b"PK not a zip"}
    parts[1].unlink() if damage == "gone" else parts[1].write_bytes(bytes(new[damage]))
    np.testing.assert_allclose(store.images(model, photos).vectors, found.vectors, rtol=1e-4, atol=1e-5)
    after = [part.stat().st_mtime_ns for part in parts_of(store)]
    assert (after[0], after[2]) == (times[0], times[2])
    assert after[1] != times[1]


SLOW = """
import sys, time
from pathlib import Path
from laclip_aug.evaluation import features
from laclip_aug.evaluation.images import ImageSet, local_images
from laclip_aug.evaluation.libraries import library_images
from laclip_aug.evaluation.model import Model
features.PART = 5
config, weights, photos, store = map(Path, sys.argv[1:])
model = Model("tiny-eval", str(weights), config)
encode = model.encode_images
def slow(pixels):
    time.sleep(0.3)
    return encode(pixels)
model.encode_images = slow
features.FeatureStore(store, batch=1, workers=0).images(model, local_images(str(photos)))
"""


def test_a_killed_run_goes_on_where_it_was(
    store: FeatureStore, model: Any, model_files: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = class_folders(tmp_path / "photos")
    command = [sys.executable, "-c", SLOW, *map(str, (*model_files, folder, store.folder))]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not parts_of(store) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = parts_of(store)
    assert 1 <= len(kept) < 3
    written = kept[0].stat().st_mtime_ns
    encoded_rows: list[int] = []
    encode = model.encode_images
    model.encode_images = lambda pixels: encoded_rows.append(len(pixels)) or encode(pixels)
    photos = local_images(str(folder))
    found = store.images(model, photos)
    assert sum(encoded_rows) == 12 - 5 * len(kept)
    assert kept[0].stat().st_mtime_ns == written
    fresh = FeatureStore(tmp_path / "fresh", batch=3, workers=0).images(model, photos)
    np.testing.assert_allclose(found.vectors, fresh.vectors, rtol=1e-4, atol=1e-5)


def test_two_processes_make_them_once(
    store: FeatureStore, model: Any, model_files: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = class_folders(tmp_path / "photos")
    command = [sys.executable, "-c", SLOW, *map(str, (*model_files, folder, store.folder))]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=240)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert len(parts_of(store)) == 3
    assert not list(store.folder.rglob("*.tmp"))


def test_unreadable_images_are_named_and_left_out(store: FeatureStore, model: Any, tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "photos", 2)
    (folder / "blue_sky/0.png").write_bytes(b"")
    (folder / "blue_sky/1.png").write_bytes(encoded((1, 2, 3), 0)[:60])
    (folder / "red_rose/0.png").write_bytes(b"<html>not found</html>" * 50)
    found = store.images(model, local_images(str(folder)))
    assert found.readable.tolist() == [False, False, True, True, False, True]
    assert "UnidentifiedImageError" in found.failed[4]
    again = store.images(model, local_images(str(folder)))
    assert again.failed.tolist() == found.failed.tolist()
    for file in folder.rglob("*.png"):
        file.write_bytes(b"x")
    with pytest.raises(InputError, match="none of the 6 images of photos can be read"):
        store.images(model, local_images(str(folder)))


def test_links_to_images_that_are_not_there_are_left_out(store: FeatureStore, model: Any, tmp_path: Path) -> None:
    """As of a disk that is not mounted, or of files that git-annex or DVC have not fetched."""
    folder = class_folders(tmp_path / "photos", 2)
    for name in ("blue_sky/1.png", "red_rose/0.png"):
        (folder / name).rename(tmp_path / Path(name).parent.name)
        (folder / name).symlink_to(tmp_path / "not fetched")
    images = local_images(str(folder))
    assert images.labels is not None and images.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert store.images(model, images).readable.tolist() == [True, False, True, True, False, True]
    (tmp_path / "red_rose").rename(tmp_path / "not fetched")
    assert store.images(model, local_images(str(folder))).readable.all()


def test_a_model_that_diverged_is_an_error(store: FeatureStore, model_files: tuple[Path, Path], tmp_path: Path) -> None:
    state = torch.load(model_files[1], weights_only=True)["state_dict"]
    torch.save({"state_dict": {k: v * float("nan") for k, v in state.items()}}, tmp_path / "nan.pt")
    model = Model("tiny-eval", str(tmp_path / "nan.pt"), model_files[0], device="cpu")
    with pytest.raises(ModelError, match="features that are no numbers"):
        store.images(model, local_images(str(class_folders(tmp_path / "photos", 1))))


def images_of_every_kind(folder: Path) -> dict[str, ImageSet]:
    """Ten photos of a folder of twelve, nine of a tar, twelve of torchvision's MNIST."""
    members = [(f"{name}/{i}.png", encoded(COLOURS[name], i)) for name in COLOURS for i in range(3)]
    mnist(folder / "library")
    return {
        "folder": local_images(str(class_folders(folder / "photos"))).only(range(2, 12)),
        "tar": local_images(str(tar_of(folder / "photos.tar", members))),
        "torchvision": library_images("torchvision:MNIST", "test", folder / "library"),
    }


@pytest.mark.usefixtures("spawn")
@pytest.mark.parametrize("kind", ["folder", "tar", "torchvision"])
def test_spawned_workers_decode_the_same(tmp_path: Path, model: Any, kind: str) -> None:
    """As workers are started on macOS, and on Linux from Python 3.14 on: what reads the images is pickled."""
    images = images_of_every_kind(tmp_path)[kind]
    expected = FeatureStore(tmp_path / "here", batch=8, workers=0).images(model, images)
    found = FeatureStore(tmp_path / "there", batch=8, workers=1).images(model, images)
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    assert found.readable.all()


def test_a_checkpoint_of_open_clip_2_is_read(model_files: tuple[Path, Path], tmp_path: Path) -> None:
    """The learning rate in it is a float64 of NumPy, which ``weights_only`` would refuse."""
    saved = torch.load(model_files[1], weights_only=True)
    torch.save(saved | {"optimizer": {"param_groups": [{"lr": np.float64(1e-3)}]}}, tmp_path / "older.pt")
    files = (model_files[1], tmp_path / "older.pt")
    new, old = (Model("tiny-eval", str(file), model_files[0], device="cpu").loaded.model.state_dict() for file in files)
    assert all(torch.equal(value, old[name]) for name, value in new.items())


def test_hostile_texts_are_encoded(store: FeatureStore, model: Any) -> None:
    texts = ["", "\ud800", "\0", "a" * 100_000, "犬と猫", "🦊" * 500, "{c}{0.__class__}%s", "a", "b"]
    found = store.texts(model, texts)
    assert found.shape == (9, 16)
    assert np.isfinite(found).all()
    assert not np.allclose(store.texts(model, ["b", "a"]), store.texts(model, ["a", "b"]))
    assert json.loads(next(store.folder.rglob("texts-*/about.json")).read_text())["kind"] == "texts"


TRAINED = {
    "activation": (["force_quick_gelu: True"], {"force_quick_gelu": True}, "--force-quick-gelu"),
    "image size": (["force_image_size: 32"], {"force_image_size": 32}, "--force-image-size 32"),
    "sides": (["force_image_size: [16, 32]"], {"force_image_size": (16, 32)}, "--force-image-size 16 32"),
    "context": (["force_context_length: 9"], {"force_context_length": 9}, "--force-context-length 9"),
    "custom text": (["force_custom_text: True"], {"force_custom_text": True}, "--force-custom-text"),
    "siglip": (
        ["siglip: True"],
        {"init_logit_scale": np.log(10), "init_logit_bias": -10},
        "--siglip",
    ),
    "preprocessing": (
        [
            "image_interpolation: bilinear",
            "image_mean: [0.485, 0.456, 0.406]",
            "image_resize_mode: squash",
            "image_std: [0.229, 0.224, 0.225]",
        ],
        {
            "image_mean": (0.485, 0.456, 0.406),
            "image_std": (0.229, 0.224, 0.225),
            "image_interpolation": "bilinear",
            "image_resize_mode": "squash",
        },
        "--image-interpolation bilinear --image-mean 0.485 0.456 0.406 --image-resize-mode squash "
        "--image-std 0.229 0.224 0.225",
    ),
}


@pytest.mark.parametrize(("lines", "made_with", "words"), TRAINED.values(), ids=TRAINED)
def test_a_checkpoint_is_judged_as_it_was_trained(
    model_files: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    lines: list[str],
    made_with: dict[str, Any],
    words: str,
) -> None:
    """Against open_clip told all by hand; the trainer's command line is gone by then, but for its params.txt."""
    import open_clip
    from PIL import Image

    torch.manual_seed(1)
    own, _, preprocess = open_clip.create_model_and_transforms("tiny-eval", output_dict=True, **made_with)
    own.eval()
    weights = run_folder(tmp_path / "logs/run", own.state_dict(), *lines)
    judged = Model("tiny-eval", str(weights), model_files[0], device="cpu")

    noise = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    text = "a red dog runs over the green grass to a blue house that has many windows"
    context = made_with.get("force_context_length", 24)
    with torch.no_grad():
        image = own.encode_image(preprocess(Image.fromarray(noise))[None]).numpy()
        tokens = open_clip.SimpleTokenizer(context_length=context)([text])
        caption = own.encode_text(tokens).numpy()
    found = judged.encode_images(judged.loaded.preprocess(Image.fromarray(noise))[None])
    np.testing.assert_allclose(found, image, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(judged.encode_texts([text]), caption, rtol=1e-4, atol=1e-5)
    assert judged.identity["options"] == words
    said = f"tiny-eval:{weights} {words}: the options are of its training, by its run's params.txt\n"
    assert said in capsys.readouterr().err


def test_a_checkpoint_that_was_taken_out_of_its_run_is_judged_with_a_warning(
    model_files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And following it judges the checkpoint as it was trained: in another run's folder, with lines typed by hand."""
    state = torch.load(model_files[1], weights_only=True)["state_dict"]
    trained = run_folder(tmp_path / "run", state, "image_interpolation: bilinear")
    copy = tmp_path / "best/epoch_1.pt"
    copy.parent.mkdir()
    copy.write_bytes(trained.read_bytes())
    model = Model("tiny-eval", str(copy), model_files[0], device="cpu")
    assert "options" not in model.identity
    said = capsys.readouterr().err
    assert said.count("\n") == 1  # once, and before the model is loaded: where its features are kept, it never is
    assert f"tiny-eval:{copy}: no params.txt of its training is beside it" in said
    assert "tiny-eval's own activation, context length, image size and preprocessing" in said
    assert f"RUN/checkpoints/{copy.name}, beside RUN/params.txt" in said and "image_mean: [0.5, 0.5, 0.5]" in said
    _ = model.loaded
    assert "params.txt" not in capsys.readouterr().err

    (tmp_path / "best/checkpoints").mkdir()
    copy.rename(tmp_path / "best/checkpoints/epoch_1.pt")
    typed = "force_quick_gelu: True\r\nimage_mean: [0.5, 0.5, 0.5]\r\n"
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "best/params.txt").write_bytes(typed.encode(encoding))
        model = Model("tiny-eval", str(tmp_path / "best/checkpoints/epoch_1.pt"), model_files[0], device="cpu")
        assert model.identity["options"] == "--force-quick-gelu --image-mean 0.5 0.5 0.5"
        assert "the options are of its training" in capsys.readouterr().err
    (tmp_path / "best/params.txt").write_bytes(typed.encode("utf-16"))
    with pytest.raises(
        ConfigurationError, match=r"params\.txt is not UTF-8; .*convert it with: iconv -f UTF-16 -t UTF-8"
    ):
        _ = Model("tiny-eval", str(tmp_path / "best/checkpoints/epoch_1.pt"), model_files[0], device="cpu").identity


@pytest.mark.parametrize("options", [[], ["force_quick_gelu: True"]])
def test_nothing_is_assumed_of_a_checkpoint_in_its_run(
    model_files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    weights = run_folder(tmp_path / "run", torch.load(model_files[1], weights_only=True)["state_dict"], *options)
    _ = Model("tiny-eval", str(weights), model_files[0], device="cpu").identity
    assert "no params.txt" not in capsys.readouterr().err


def test_options_of_training_are_part_of_the_key(
    model_files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = torch.load(model_files[1], weights_only=True)["state_dict"]
    plain = run_folder(tmp_path / "plain", state)
    other = run_folder(tmp_path / "other", state, "image_interpolation: bilinear")
    other.write_bytes(plain.read_bytes())
    (tmp_path / "copy.pt").write_bytes(plain.read_bytes())
    (tmp_path / "link.pt").symlink_to(other)
    monkeypatch.chdir(other.parent)
    files = (plain, tmp_path / "copy.pt", other, tmp_path / "link.pt", Path("epoch_1.pt"))
    first, copy, second, link, near = (Model("tiny-eval", str(file), model_files[0], device="cpu") for file in files)
    assert first.key == copy.key
    assert "options" not in first.identity
    assert second.key == link.key == near.key != first.key


def test_the_preprocessing_of_the_weights_that_training_started_from(
    model_files: tuple[Path, Path], tmp_path: Path
) -> None:
    """``--pretrained webli``: its mean and deviation are 0.5, images are squashed; what was given is kept."""
    state = torch.load(model_files[1], weights_only=True)["state_dict"]
    given = ("model: ViT-B-16-SigLIP", "pretrained: webli", "image_mean: [0.1, 0.2, 0.3]")
    judged = Model("tiny-eval", str(run_folder(tmp_path / "run", state, *given)), model_files[0], device="cpu")
    assert judged.identity["options"] == (
        "--image-mean 0.1 0.2 0.3 --image-std 0.5 0.5 0.5 --image-interpolation bicubic --image-resize-mode squash"
    )
    file = ("model: ViT-B-16-SigLIP", "pretrained: logs/before/checkpoints/epoch_3.pt")
    judged = Model("tiny-eval", str(run_folder(tmp_path / "more", state, *file)), model_files[0], device="cpu")
    assert "options" not in judged.identity


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("image_mean: __import__('os').abort()", r"params\.txt: image_mean is .*abort.*, no number and no list"),
        ("force_image_size: 'large'", "--force-image-size large"),
        ("image_interpolation: nearest-ish", "--image-interpolation nearest-ish"),
    ],
)
def test_options_that_make_no_model_are_named(
    model_files: tuple[Path, Path], tmp_path: Path, line: str, message: str
) -> None:
    weights = run_folder(tmp_path / "run", torch.load(model_files[1], weights_only=True)["state_dict"], line)
    with pytest.raises(ConfigurationError, match=message):
        _ = Model("tiny-eval", str(weights), model_files[0], device="cpu").loaded


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("local-dir:here", {"pretrained": "laion2b"}, "local-dir:here .* leave --pretrained out"),
        ("hf-hub:somebody/tiny", {"pretrained": "openai"}, "name a file of weights, or leave --pretrained out"),
        ("hf-hub:somebody/tiny", {"config": True}, "tiny-eval.json describes the model 'tiny-eval'"),
        ("ViT-B-32", {"pretrained": "openai", "config": True}, "give --model tiny-eval, or leave --model-config out"),
        ("my models/tiny.json", {"pretrained": "openai"}, "give --model-config 'my models/tiny.json' --model tiny"),
    ],
)
def test_what_open_clip_would_pass_over_is_refused(
    model_files: tuple[Path, Path], name: str, given: dict[str, Any], message: str
) -> None:
    config = model_files[0] if given.pop("config", False) else None
    with pytest.raises(ConfigurationError, match=message):
        Model(name, config=config, **given)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_no_fault_of_the_model(model_files: tuple[Path, Path], device: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"^--device {device} .*; leave it out, or name one such as cpu"
    ) as told:
        _ = Model("tiny-eval", str(model_files[1]), model_files[0], device=device).loaded
    assert len(str(told.value).splitlines()) == 1

"""``laclip-aug eval`` as people run it: a process, drawn photos, a small model of open_clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laclip_aug.errors import ConfigurationError, InputError
from laclip_aug.evaluation.datasets import load_dataset
from laclip_aug.evaluation.features import FeatureStore
from laclip_aug.evaluation.probe import best_cost
from laclip_aug.evaluation.protocols import Composition, FewShot, LinearProbe, load_protocol
from laclip_aug.evaluation.run import Evaluation
from tests.evaluation.conftest import COLOURS, CONFIG, Run, class_folders, encoded, tar_of
from tests.training.upstream import KNOWS_DIRECTORIES


def results(file: Path) -> dict[str, Any]:
    return {result["protocol"]: result for result in json.loads(file.read_text())["results"]}


def test_zero_shot_is_open_clips_own(laclip_eval: Run, model_files: tuple[Path, Path], tmp_path: Path) -> None:
    """Against a loop over open_clip alone, image by image."""
    import open_clip
    import torch
    from PIL import Image

    photos = class_folders(tmp_path / "photos")
    out = tmp_path / "results" / "o"  # its folder is made
    done = laclip_eval("zero-shot", "--data", str(photos), "--protocol", "zero-shot-7", "--json", str(out))
    assert done.returncode == 0, done.stderr
    found = results(out)["zero-shot-7"]

    model, _, preprocess = open_clip.create_model_and_transforms("tiny-eval", pretrained=str(model_files[1]))
    model.eval()
    tokenizer = open_clip.get_tokenizer("tiny-eval")
    right = []
    with torch.no_grad():
        columns = []
        for name in ("blue sky", "green grass", "red rose"):
            texts = tokenizer([template(name) for template in open_clip.SIMPLE_IMAGENET_TEMPLATES])
            column = model.encode_text(texts, normalize=True).mean(dim=0)
            columns.append(column / column.norm())
        for number, folder in enumerate(sorted(COLOURS)):
            for file in sorted((photos / folder).iterdir()):
                image = model.encode_image(preprocess(Image.open(file))[None], normalize=True)[0]
                right.append(int(torch.stack([image @ column for column in columns]).argmax()) == number)
    assert found["metrics"]["top-1"] == pytest.approx(100 * np.mean(right))
    assert found["protocol_version"] == 1
    assert found["counts"] == {"images": 12, "classes": 3}
    assert found["data"]["name"] == "photos"
    document = json.loads(out.read_text())
    assert document["model"]["weights"].startswith("sha256:")
    assert "zero-shot-7 v1" in done.stdout
    assert f"{found['metrics']['top-1']:.2f}" in done.stdout


def test_all_runs_what_fits_and_again_without_the_model(laclip_eval: Run, tmp_path: Path) -> None:
    class_folders(tmp_path / "photos/train", 10)
    class_folders(tmp_path / "photos/test", 4, first=50)
    (tmp_path / "few.yaml").write_text(
        "name: few\nversion: 3\nkind: few-shot\nepisodes: 20\nways: 2\nshots: 3\nqueries: 2\nseed: 5\n"
    )
    rows = "".join(f"{name}/{i}.png\ta picture of {name} {i}\n" for name in COLOURS for i in range(50, 54))
    (tmp_path / "captions.tsv").write_text("filepath\tcaption\n" + rows + "elsewhere.png\tnot there\n")
    arguments = ["--data", str(tmp_path / "photos"), "--captions", str(tmp_path / "captions.tsv")]
    for name in (
        "zero-shot-80",
        "zero-shot-own",
        str(tmp_path / "few.yaml"),
        "linear-probe",
        "retrieval",
        "composition",
    ):
        arguments += ["--protocol", name]
    done = laclip_eval("all", *arguments, "--json", str(tmp_path / "first"))
    assert done.returncode == 0, done.stderr
    assert "photos: zero-shot-own left out: no templates of its own" in done.stderr
    assert "photos: composition left out: no hard negatives" in done.stderr
    assert "1 captions whose image is absent, left out" in done.stderr
    found = results(tmp_path / "first")
    assert set(found) == {"zero-shot-80", "few", "linear-probe", "retrieval"}
    assert found["few"]["protocol_version"] == 3
    assert found["few"]["seed"] == 5
    assert found["few"]["metrics"]["accuracy"] > 90  # colours are easy, also for random weights
    assert found["linear-probe"]["metrics"]["accuracy"] > 90
    assert found["linear-probe"]["counts"] == {
        "images": 12, "train images": 24, "val images": 6, "test images": 12
    }  # fmt: skip
    assert found["retrieval"]["counts"] == {"images": 12, "texts": 12}
    assert "features of photos" in done.stderr  # progress

    again = laclip_eval("all", *arguments, "--json", str(tmp_path / "second"))
    assert again.returncode == 0, again.stderr
    assert "features of" not in again.stderr
    assert results(tmp_path / "second") == found


def test_retrieval_in_another_language_uses_the_same_image_features(laclip_eval: Run, tmp_path: Path) -> None:
    members = [(f"images/{i}.jpg", encoded((40 * i, 10, 200), i, "JPEG")) for i in range(5)]
    tar_of(tmp_path / "images.tar", members)
    for name, words in (("en", "a dog number"), ("de", "ein größerer Hund Nummer")):
        text = "".join(f"images/{i}.jpg,{words} {i}\nimages/{i}.jpg,{words} {i} again\n" for i in range(5))
        (tmp_path / f"{name}.csv").write_text("filepath,title\n" + text, encoding="utf-8")
    data = ["--data", str(tmp_path / "images.tar"), "--captions"]
    first = laclip_eval("retrieval", *data, str(tmp_path / "en.csv"), "--json", "-")
    assert json.loads(first.stdout)["results"][0]["counts"] == {"images": 5, "texts": 10}
    second = laclip_eval("retrieval", *data, str(tmp_path / "de.csv"))
    assert second.returncode == 0, second.stderr
    assert "features of texts" in second.stderr
    assert "features of images.tar" not in second.stderr


def test_composition_of_sugar_crepes_form(laclip_eval: Run, model: Any, tmp_path: Path) -> None:
    photos = class_folders(tmp_path / "photos", 1)
    texts = [("blue sky", "green sky"), ("green grass", "green grass"), ("red rose", "blue rose")]
    rows = {
        str(n * 7): {"filename": f"{name}/0.png", "caption": right, "negative_caption": wrong}
        for n, (name, (right, wrong)) in enumerate(zip(COLOURS, texts, strict=True))
    }
    rows["99"] = {"filename": "absent.png", "caption": "a", "negative_caption": "b"}
    (tmp_path / "swap_obj.json").write_text(json.dumps(rows))
    done = laclip_eval(
        "composition", "--data", str(photos), "--negatives", str(tmp_path / "swap_obj.json"), "--json", "-"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["results"][0]
    import torch
    from PIL import Image

    right = []
    for name, (caption, wrong) in zip(COLOURS, texts, strict=True):
        pixels = model.loaded.preprocess(Image.open(photos / name / "0.png"))[None]
        with torch.no_grad():
            image = model.loaded.model.encode_image(pixels, normalize=True)
            both = model.loaded.model.encode_text(model.loaded.tokenize([caption, wrong]), normalize=True)
        near, far = (image @ both.T)[0].tolist()
        right.append(near > far)
    assert right[1] is False  # the same text twice is no choice
    assert found["metrics"]["swap_obj"] == pytest.approx(100 * np.mean(right))
    assert found["left_out"] == {"rows whose image is absent": 1}


def test_one_failure_leaves_the_others(laclip_eval: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    photos = class_folders(tmp_path / "photos")
    done = laclip_eval("all", "--data", str(tmp_path / "empty"), "--data", str(photos), "--protocol", "zero-shot-7")
    assert done.returncode == 1
    assert "empty: " in done.stderr
    assert "holds no image" in done.stderr
    assert "photos  zero-shot-7 v1" in done.stdout


def test_what_cannot_be_evaluated_is_told_before_images_are_read(laclip_eval: Run, model: Any, tmp_path: Path) -> None:
    """Features are made of the images of a whole set, which may take hours."""
    class_folders(tmp_path / "photos/train", 2)
    class_folders(tmp_path / "photos/test", 2)
    given = ["--data", str(tmp_path / "photos")]
    for option in ("--captions", "--negatives"):
        done = laclip_eval("all", *given, option, str(tmp_path / "absent.json"))
        assert done.returncode == 2
        assert f"there is no file {tmp_path}/absent.json; check the path of {option}" in done.stderr

    evaluation = Evaluation(model, FeatureStore(tmp_path / "features", workers=0))
    data = load_dataset(str(tmp_path / "photos"))
    for ways, shots, words in ((4, 1, "4-way episodes need as many classes .* there are 3"), (3, 3, "3-shot episodes")):
        few = FewShot(name="few", version=1, episodes=2, ways=ways, shots=shots, queries=1, seed=0)
        with pytest.raises(InputError, match=words):
            evaluation.run(few, data)
    row = {"filename": "red_rose/0.png", "caption": "a rose", "negative_caption": "a lily"}
    for name, rows in (("swap", [row]), ("add", [{**row, "filename": "tulip/7.png"}])):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    both = load_dataset(str(tmp_path / "photos"), negatives=[str(tmp_path / "swap.json"), str(tmp_path / "add.json")])
    with pytest.raises(InputError, match=r"add.json: none of its 1 rows is of an image"):
        evaluation.run(Composition(name="composition", version=1), both)
    assert not (tmp_path / "features").exists()


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        ("linear-probe", "objective: l1", "objective must be norm or scikit-learn, not 'l1'"),
        ("linear-probe", "costs: []", "costs must be above 0"),
        ("linear-probe", "costs: [0, 1]", "costs must be above 0"),
        ("linear-probe", "costs: [1, .nan]", "costs must be above 0"),
        ("linear-probe", "costs: [10, 1]", "each above the one before"),
        ("linear-probe", "iterations: 0", "iterations must be at least 1, not 0"),
        ("linear-probe", "iterations: .inf", "iterations must be int, not inf"),
        ("linear-probe", "fine: -1", "fine must be at least 0, not -1"),
        ("zero-shot", "templates: simpel", "templates must be own, openai, simple or a list"),
        ("zero-shot", "templates: a photo of a {c}.", "templates must be own, openai, simple or a list"),
        ("zero-shot", "templates: []", "templates must be own, openai, simple or a list"),
        ("zero-shot", "templates:", "templates must be str or list of str, not None"),
        ("zero-shot", "templates: {a: b}", "templates must be str or list of str"),
        ("zero-shot", "templates: ['a {c}', null]", "templates must be str or list of str"),
        ("zero-shot", "templates: [a photo]", "templates: 'a photo' has no {c} for the class"),
        ("zero-shot", "name:", "name must be str, not None"),
        ("few-shot", "episodes: 0", "episodes must be at least 1, not 0"),
        ("few-shot", "ways: 1", "ways must be at least 2, not 1"),
        ("few-shot", "shots: 0", "shots must be at least 1, not 0"),
        ("few-shot", "queries: -1", "queries must be at least 1, not -1"),
        ("few-shot", "seed: -8", "seed must be at least 0, not -8"),
        ("retrieval", "at: []", "at must be ranks of at least 1"),
        ("retrieval", "at: [0, 5]", "at must be ranks of at least 1, such as [1, 5, 10], not [0, 5]"),
    ],
)
def test_a_protocol_that_cannot_be_run_is_refused_as_it_is_read(
    tmp_path: Path, kind: str, wrong: str, message: str
) -> None:
    settings = {
        "linear-probe": {"objective": "norm", "iterations": "9", "costs": "[1]", "fine": "3"},
        "zero-shot": {"templates": "['a photo of a {c}.', 'art: {}']"},
        "few-shot": {"episodes": "2", "ways": "2", "shots": "1", "queries": "1", "seed": "0"},
        "retrieval": {"at": "[1]"},
    }[kind] | {"kind": kind, "name": "p", "version": "1"}
    file = tmp_path / "own.yaml"
    file.write_text("\n".join(f"{name}: {value}" for name, value in settings.items()))
    assert load_protocol(str(file)).name == "p"
    field, _, value = wrong.partition(":")
    settings[field] = value
    file.write_text("\n".join(f"{name}: {value}" for name, value in settings.items()))
    with pytest.raises(ConfigurationError) as error:
        load_protocol(str(file))
    assert str(error.value).startswith("own.yaml: ") and message in str(error.value)


def test_a_probe_without_a_finer_search_and_lines_left_blank_are_what_they_say(tmp_path: Path) -> None:
    probe = ["kind: linear-probe", "name: p", "version: 1", "objective: norm", "iterations: 9", "costs: [1, 10]"]
    (tmp_path / "own.yaml").write_text("\n".join([*probe, "fine: 0", "source:"]))
    protocol = load_protocol(str(tmp_path / "own.yaml"))
    assert isinstance(protocol, LinearProbe) and protocol.fine == 0
    assert protocol.source == ""
    tried: list[float] = []
    assert best_cost(lambda cost: tried.append(cost) or cost, list(protocol.costs), protocol.fine) == 10
    assert tried == [1, 10]

    class_folders(tmp_path / "photos", 1)
    lines = ["name: own", "data: photos", "metric:", "captions:", "negatives:", "splits:", "classnames:", "source:"]
    (tmp_path / "data.yaml").write_text("\n".join(lines))
    data = load_dataset(str(tmp_path / "data.yaml"))
    assert (data.captions, data.negatives, data.spec.metric) == (None, [], "top-1")
    assert len(data.labelled("test").labels) == 3


def folder_of_a_model(folder: Path) -> Path:
    """What a model on the Hugging Face hub is: the small model's configuration, and weights that are not the file's."""
    import open_clip
    import torch

    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}}))
    torch.manual_seed(7)
    torch.save(open_clip.create_model("tiny-eval").state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder


@pytest.mark.parametrize("place", ["local-dir", "hf-hub"])
def test_a_file_named_with_a_model_that_has_weights_is_what_is_judged(
    laclip_eval: Run,
    model_files: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    """As after fine-tuning a model of the hub; open_clip passes over the file."""
    if place == "local-dir" and not KNOWS_DIRECTORIES:
        pytest.skip("open_clip 2 knows no directories")
    hub = tmp_path / "hub/models--somebody--tiny"
    folder = folder_of_a_model(hub / "snapshots/1a2b")
    (hub / "refs").mkdir()
    (hub / "refs/main").write_text("1a2b")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    name = {"local-dir": f"local-dir:{folder}", "hf-hub": "hf-hub:somebody/tiny"}[place]
    data = ["--data", str(class_folders(tmp_path / "photos")), "--protocol", "zero-shot-7", "--json", "-"]

    def judged(model: list[str] | None) -> tuple[dict[str, Any], Any]:
        known = set(tmp_path.glob("features/*/images-*/*.npz"))
        done = laclip_eval("zero-shot", *data, model=model)
        assert done.returncode == 0, done.stderr
        (new,) = set(tmp_path.glob("features/*/images-*/*.npz")) - known
        return json.loads(done.stdout)["model"], np.load(new)["features"]

    said, expected = judged(None)
    of_the_folder, own = judged(["--model", name])
    of_the_file, found = judged(["--model", name, "--pretrained", str(model_files[1])])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(own, expected, atol=1e-3)
    assert of_the_file["weights"] == said["weights"] != of_the_folder.get("weights")
    assert of_the_file["model"] == name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "unknown data set, file or folder 'nowhere'"),
        (["--data", "cifra10"], "did you mean 'cifar10'"),
        (["--data", "cifar10"], "name the folder that its data are in with --root"),
        (["--data", "PHOTOS", "--protocol", "zero-shot-8"], "did you mean 'zero-shot-80'"),
        (["--data", "PHOTOS", "--protocol", "retrieval"], "ask for eval retrieval"),
        (["--data", "PHOTOS", "--batch-size", "0"], "--batch-size must be at least 1"),
        (["--data", "PHOTOS", "--pretrained", "no/such.pt"], "there is no such file"),
        (["--data", "PHOTOS", "--pretrained", "no_such_tag"], "open_clip cannot make 'tiny-eval:no_such_tag'"),
    ],
)
def test_mistakes_are_explained(laclip_eval: Run, tmp_path: Path, arguments: list[str], message: str) -> None:
    photos = class_folders(tmp_path / "photos", 1)
    done = laclip_eval("zero-shot", *(str(photos) if word == "PHOTOS" else word for word in arguments))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr

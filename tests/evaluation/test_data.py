"""Layouts of data: folders, CLIP_benchmark's, torchvision's; splits; descriptions in YAML; captions beside images."""

from __future__ import annotations

import gzip
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from laclip_aug.errors import ConfigurationError, InputError, UnknownNameError
from laclip_aug.evaluation.captions import captioned, hard_negatives
from laclip_aug.evaluation.datasets import DataSet, dataset_names, load_dataset, same_classes
from laclip_aug.evaluation.images import local_images
from laclip_aug.evaluation.libraries import library_images
from laclip_aug.evaluation.model import _filling
from laclip_aug.evaluation.protocols import load_protocol, protocol_names
from laclip_aug.evaluation.splits import usual
from tests.evaluation.conftest import class_folders, encoded, tar_of

NAMES = ["blue sky", "green grass", "red rose"]


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "photos", 2)
    (folder / "notes.txt").write_text("no image")
    found = local_images(str(folder))
    assert found.classes == NAMES
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.keys[0] == "blue_sky/0.png"
    assert found.read(0).mode == "RGB"


def test_folders_that_are_no_class(tmp_path: Path) -> None:
    """Copies that Jupyter keeps, a viewer's thumbnails, and a link to a folder that it is in."""
    folder = class_folders(tmp_path / "photos", 1)
    for hidden in (".ipynb_checkpoints", "red_rose/.ipynb_checkpoints", ".thumbs/normal"):
        (folder / hidden).mkdir(parents=True)
        (folder / hidden / "0-checkpoint.png").write_bytes(encoded((9, 9, 9), 7))
    (folder / "red_rose/latest").symlink_to("..")
    own = ["blue_sky/0.png", "green_grass/0.png", "red_rose/0.png"]
    found = local_images(str(folder))
    assert (list(found.keys), found.classes) == (own, NAMES)
    members = [(f"./{name}", encoded((9, 9, 9), 0)) for name in (".thumbs/0.png", *own, "red_rose/.thumbs/0.png")]
    packed = local_images(str(tar_of(tmp_path / "photos.tar", [*members, ("../red_rose/1.png", members[0][1])])))
    assert list(packed.keys) == [f"./{name}" for name in own] + ["../red_rose/1.png"]


def test_a_link_to_a_folder_elsewhere_is_a_class(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "photos", 1)
    (folder / "blue_sky").rename(tmp_path / "kept")
    (folder / "blue_sky").symlink_to(tmp_path / "kept")
    assert local_images(str(folder)).classes == NAMES


def test_clip_benchmarks_layout(tmp_path: Path) -> None:
    """As its ``webdataset_builder`` writes it: ``test/0.tar`` ..., ``.cls`` as text, names and templates beside."""
    for shard in range(11):  # 10.tar comes after 9.tar
        members = []
        for index in (0, 1):
            key = f"s{shard * 2 + index:07d}"
            members += [(f"{key}.cls", str((shard + index) % 3).encode()), (f"{key}.png", encoded((9, 9, 9), shard))]
        tar_of(tmp_path / f"set/test/{shard}.tar", members)
    (tmp_path / "set/classnames.txt").write_text("sky\ngrass\nrose\n")
    (tmp_path / "set/zeroshot_classification_templates.txt").write_text("a photo of a {c}.\nart of the {c}.\n")
    data = load_dataset(str(tmp_path / "set"))
    part = data.labelled("test")
    assert part.images.classes == ["sky", "grass", "rose"]
    assert part.labels.tolist() == [(shard + index) % 3 for shard in range(11) for index in (0, 1)]
    assert list(part.images.templates) == ["a photo of a {c}.", "art of the {c}."]
    assert data.splits == {"test": "test"}
    (tmp_path / "set/classnames.txt").write_text("sky\ngrass\n")
    with pytest.raises(InputError, match="class number 2, but"):
        load_dataset(str(tmp_path / "set")).labelled("test")


def test_files_as_windows_saves_them(tmp_path: Path) -> None:
    """With a byte order mark and carriage returns; PowerShell's ``>`` writes UTF-16, of which YAML has a reader."""
    mark = b"\xef\xbb\xbf"
    members = [("0.cls", mark + b"1\r\n"), ("0.png", encoded((9, 9, 9), 1)), ("0.txt", mark + b"a rose\r\nred\r\n")]
    tar_of(tmp_path / "set/test/0.tar", members)
    (tmp_path / "set/classnames.txt").write_bytes(mark + b"sky\r\nrose\r\n")
    (tmp_path / "set/zeroshot_classification_templates.txt").write_bytes(mark + b"a photo of a {c}.\r\n")
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "set.yaml").write_bytes("name: Blümchen\r\ndata: set\r\n".encode(encoding))
        data = load_dataset(str(tmp_path / "set.yaml"))
        part = data.labelled("test")
        assert data.spec.name == "Blümchen"
        assert (part.labels.tolist(), part.images.classes) == ([1], ["sky", "rose"])
        assert part.images.captions == [["a rose", "red"]]
        assert list(part.images.templates) == ["a photo of a {c}."]
    (tmp_path / "set/classnames.txt").write_bytes("sky\r\nrose\r\n".encode("utf-16"))
    with pytest.raises(InputError, match=r"classnames.txt, line 1: not UTF-8; .*with: iconv -f UTF-16 -t UTF-8"):
        load_dataset(str(tmp_path / "set.yaml")).labelled("test")


def mnist(root: Path) -> None:
    """MNIST's own files, drawn here: 30 images to train, 12 to test."""
    raw = root / "MNIST/raw"
    raw.mkdir(parents=True)
    for name, count in (("train", 30), ("t10k", 12)):
        pixels = np.random.default_rng(count).integers(0, 255, count * 28 * 28, dtype=np.uint8).tobytes()
        labels = bytes(n % 10 for n in range(count))
        for kind, head, content in (
            ("images-idx3", struct.pack(">4i", 0x803, count, 28, 28), pixels),
            ("labels-idx1", struct.pack(">2i", 0x801, count), labels),
        ):
            (raw / f"{name}-{kind}-ubyte").write_bytes(head + content)
            with gzip.open(raw / f"{name}-{kind}-ubyte.gz", "wb") as packed:
                packed.write(head + content)


def test_torchvision(tmp_path: Path) -> None:
    mnist(tmp_path)
    data = load_dataset("torchvision:MNIST", tmp_path)
    train, val, test = (data.labelled(role) for role in ("train", "val", "test"))
    assert (len(train.labels), len(val.labels), len(test.labels)) == (30, 0, 12)  # a fifth of 3 is none
    assert test.images.read(0).mode == "RGB"
    assert test.labels.tolist() == [n % 10 for n in range(12)]
    assert test.images.classes[3] == "3 - three"
    with pytest.raises(UnknownNameError, match="did you mean 'MNIST'"):
        load_dataset("torchvision:MINST", tmp_path)
    with pytest.raises(InputError, match=r"d\.CIFAR10\(.*download=True"):
        load_dataset("torchvision:CIFAR10", tmp_path).images("test")


def test_a_damaged_image_of_torchvisions_is_left_out_unless_its_class_is_told_beside_it(tmp_path: Path) -> None:
    for name, content in (("Forest", b"x"), ("River", encoded((9, 9, 9), 1))):
        (tmp_path / "eurosat/2750" / name).mkdir(parents=True)
        (tmp_path / "eurosat/2750" / name / "0.png").write_bytes(content)
    found = library_images("torchvision:EuroSAT", "all", tmp_path)
    assert found.labels is not None
    assert (found.labels.tolist(), found.classes) == ([0, 1], ["Forest", "River"])
    assert found.read(1).mode == "RGB"
    (tmp_path / "eurosat/2750/Forest/0.png").write_bytes(encoded((9, 9, 9), 2))
    assert library_images("torchvision:EuroSAT", "all", tmp_path).fingerprint != found.fingerprint
    species = tmp_path / "2021_train/00000_Animalia_Chordata_Aves_Passeriformes_Corvidae_Pica_pica"
    species.mkdir(parents=True)
    (species / "0.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=r"image 0 of INaturalist.* cannot be read .*fetch or repair it"):
        library_images("torchvision:INaturalist", "all", tmp_path)


def test_clip_benchmark_reads_its_data_sets(tmp_path: Path) -> None:
    """Its own classes and names: one that it makes by torchvision, and its tars, which need nothing of it."""
    mnist(tmp_path)
    test = load_dataset("clip-benchmark:mnist", tmp_path).labelled("test")
    assert test.labels.tolist() == [n % 10 for n in range(12)]
    assert test.images.classes[3] == "3"
    assert test.images.templates == ['a photo of the number: "{c}".']
    with pytest.raises(InputError, match=r"build_dataset as b; b\('cifar10', .*download=True"):
        load_dataset("clip-benchmark:cifar10", tmp_path).images("test")
    tar_of(tmp_path / "w/test/0.tar", [("0.cls", b"1"), ("0.png", encoded((9, 9, 9), 1))])
    (tmp_path / "w/classnames.txt").write_text("day\nnight\n")
    part = load_dataset("clip-benchmark:wds/own", tmp_path / "w").labelled("test")
    assert (part.labels.tolist(), part.images.classes) == ([1], ["day", "night"])


def test_what_clip_benchmark_writes_is_read_as_it_reads_it(tmp_path: Path) -> None:
    """Its own converter makes the tars, and its own reader says what is in them."""
    from clip_benchmark.datasets.builder import build_dataset
    from clip_benchmark.webdataset_builder import PIL_to_bytes, convert_dataset, convert_retrieval_dataset

    class Photos(list[tuple[Image.Image, int]]):
        classes = ("sky", "grass", "rose")
        templates = ("a photo of a {c}.", "art of the {c}.")

    pixels = np.random.default_rng(3).integers(0, 255, (7, 6, 6, 3), dtype=np.uint8)
    pictures = [Image.fromarray(one) for one in pixels]
    photos = Photos((picture, number % 3) for number, picture in enumerate(pictures))
    convert_dataset(photos, "test", str(tmp_path / "w"), transform=PIL_to_bytes("webp"), max_count=3, verbose=False)
    theirs = build_dataset("wds/own", root=str(tmp_path / "w"), transform=np.asarray, split="test")
    part = load_dataset("clip-benchmark:wds/own", tmp_path / "w").labelled("test")
    assert part.images.classes == theirs.classes == list(Photos.classes)
    assert list(part.images.templates) == theirs.templates == list(Photos.templates)
    expected = list(theirs)
    assert part.labels.tolist() == [label for _, label in expected] == [0, 1, 2, 0, 1, 2, 0]
    for index, (array, _) in enumerate(expected):
        assert (np.asarray(part.images.read(index)) == array).all()

    captions = [[f"one {number}", f"two {number}"] for number in range(7)]
    rows = list(zip(pictures, captions, strict=True))
    convert_retrieval_dataset(rows, "test", str(tmp_path / "r"), transform=PIL_to_bytes("png"), verbose=False)
    theirs = build_dataset("wds/own", root=str(tmp_path / "r"), transform=np.asarray, task="zeroshot_retrieval")
    images, chosen = load_dataset("clip-benchmark:wds/own", tmp_path / "r").images("test")
    found = captioned(images.only(chosen.tolist()), None)
    assert found.images.captions == captions == [texts for _, texts in theirs]


@pytest.mark.parametrize(
    ("name", "by"),
    [("imagenetv2", "https://.*imagenetv2"), ("fer2013", "."), ("objectnet", "."), ("crossmodal3600", "wget")],
)
def test_what_clip_benchmark_would_fetch_is_refused(
    name: str, by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These of its builders do not ask ``download``. A program named wget would say that it was started."""
    (tmp_path / "wget").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "wget").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=f"cannot be read.*{by}.*to fetch it: python -c"):
        load_dataset(f"clip-benchmark:{name}", tmp_path / "empty").images("test")
    assert not (tmp_path / "started").exists()
    with pytest.raises(InputError, match=r"there is no folder .*absent.*--root"):
        load_dataset(f"clip-benchmark:{name}", tmp_path / "absent").images("test")
    assert not (tmp_path / "absent").exists()


def test_splits_are_parts_of_each_class_that_do_not_overlap(tmp_path: Path) -> None:
    class_folders(tmp_path / "photos", 10)
    yaml = tmp_path / "set.yaml"
    yaml.write_text("name: s\ndata: photos\nsplits: {train: 'all[:60%]', val: 'all[60%:80%]', test: 'all[80%:]'}\n")
    parts = [load_dataset(str(yaml)).labelled(role) for role in ("train", "val", "test")]
    assert [np.bincount(part.labels).tolist() for part in parts] == [[6] * 3, [2] * 3, [2] * 3]
    assert sorted(np.concatenate([part.chosen for part in parts]).tolist()) == list(range(30))
    assert parts[0].chosen[:6].tolist() != [0, 1, 2, 3, 4, 5]  # not the order of the files
    (tmp_path / "photos/red_rose/0.png").touch()
    assert load_dataset(str(yaml)).labelled("val").chosen.tolist() == parts[1].chosen.tolist()


def test_usual_splits() -> None:
    assert usual({}) == {"test": "all"}
    assert usual({"train": "train", "test": "test"}) == {
        "train": "train[20%:]", "val": "train[:20%]", "test": "test"
    }  # fmt: skip
    assert usual({"train": "t", "val": "v"}) == {"train": "t[20%:]", "val": "t[:20%]", "test": "v"}


def test_classes_are_told_apart_by_name(tmp_path: Path) -> None:
    """A class that the test images lack does not shift the numbers of the others."""
    class_folders(tmp_path / "p/train", 2)
    class_folders(tmp_path / "p/test", 1)
    for file in (tmp_path / "p/test/blue_sky").iterdir():
        file.unlink()
    data = load_dataset(str(tmp_path / "p"))
    train, test = same_classes([data.labelled("train"), data.labelled("test")])
    assert set(test.tolist()) == {1, 2}
    assert sorted(set(train.tolist())) == [0, 1, 2]


def names_of(data: DataSet, role: str) -> dict[str, str]:
    """The class of each image of a split, by name."""
    part = data.labelled(role)
    labels = zip(part.chosen, part.labels, strict=True)
    return {part.images.keys[place]: part.images.classes[label] for place, label in labels}


def test_class_names_are_of_the_folders_of_all_splits(tmp_path: Path) -> None:
    """Sorted by the folders' own names, where Z comes before _; the names have other orders than the folders."""
    (tmp_path / "names.txt").write_text("sky\nroof\ngrass\nrose\n")
    for split, folders in (("train", ("blueZroof", "blue_sky", "green_grass")), ("test", ("blue_sky", "red_rose"))):
        for folder in folders:
            (tmp_path / "p" / split / folder).mkdir(parents=True)
            (tmp_path / "p" / split / folder / "0.png").write_bytes(encoded((9, 9, 9), 0))
    for order in (("test", "train"), ("train", "test")):
        data = load_dataset(str(tmp_path / "p"), classnames=str(tmp_path / "names.txt"))
        data.splits = {"train": "train", "test": "test"}
        found = {role: names_of(data, role) for role in order}
        assert found["test"] == {"blue_sky/0.png": "roof", "red_rose/0.png": "rose"}
        assert found["train"] == {"blueZroof/0.png": "sky", "blue_sky/0.png": "roof", "green_grass/0.png": "grass"}
        train, test = same_classes([data.labelled("train"), data.labelled("test")])
        assert (train.tolist(), test.tolist()) == ([0, 1, 2], [1, 3])


def test_class_names_of_other_folders_are_refused(tmp_path: Path) -> None:
    class_folders(tmp_path / "p/val", 1)
    (tmp_path / "set.yaml").write_text(
        "name: s\ndata: p\nsplits: {train: train, test: val}\nclassnames: [a, b, c, d]\n"
    )
    with pytest.raises(ConfigurationError, match="4 class names for 3 classes that have a folder in train, test"):
        load_dataset(str(tmp_path / "set.yaml")).labelled("test")
    # as many folders in both splits as there are names, but others
    class_folders(tmp_path / "p/train", 1)
    (tmp_path / "p/train/red_rose").rename(tmp_path / "p/train/red_roof")
    (tmp_path / "set.yaml").write_text("name: s\ndata: p\nsplits: {train: train, test: val}\nclassnames: [a, b, c]\n")
    data = load_dataset(str(tmp_path / "set.yaml"))
    assert names_of(data, "test")["red_rose/0.png"] == "c"
    with pytest.raises(ConfigurationError, match="3 class names for 4 classes"):
        data.labelled("train")


def test_class_names_of_numbers_may_be_more(tmp_path: Path) -> None:
    """A tar's ``.cls`` counts in the names, wherever its images are."""
    tar_of(tmp_path / "a/test/0.tar", [("dog/0.png", encoded((9, 9, 9), 0)), ("dog/0.cls", b"1")])
    (tmp_path / "names.txt").write_text("cat\ndog\neel\n")
    data = load_dataset(str(tmp_path / "a"), classnames=str(tmp_path / "names.txt"))
    assert names_of(data, "test") == {"dog/0.png": "dog"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: s\ndata: photos\nsplits: {test: 'all[80%:20%]'}", "must go up"),
        ("name: s\ndata: photos\nsplits: {test: 'all[a%:]'}", "not written like train"),
        ("name: s\ndata: photos\nmetric: top1", "did you mean 'top-1'"),
        ("name: s\ndata: photos\nclassnames: [a, b]", "2 class names for 3 classes"),
        ("name: s\ndata: photos\nsplit: {}", "did you mean 'splits'"),
        ("data: photos", "lacks name"),
        ("name: s\nversion: many\ndata: photos", "version must be int"),
        ("- a\n- b", "holds no settings"),
        ("name: [", "cannot be read as YAML"),
        ("name: !!python/object/apply:os.system ['false']\ndata: x", "cannot be read as YAML"),
        ("name: s\ndata: photos\nsplits: {test: night}", "has no folder 'night'"),
    ],
)
def test_a_wrong_description_is_explained(tmp_path: Path, text: str, message: str) -> None:
    class_folders(tmp_path / "photos", 1)
    (tmp_path / "set.yaml").write_text(text)
    with pytest.raises((ConfigurationError, InputError), match=message):
        load_dataset(str(tmp_path / "set.yaml")).labelled("test")


def test_all_of_the_packages_files_can_be_read(tmp_path: Path) -> None:
    assert len(dataset_names()) >= 15
    for name in dataset_names():
        (tmp_path / "train").mkdir(exist_ok=True)
        assert load_dataset(name, tmp_path).spec.name == name
    for name in protocol_names():
        assert load_protocol(name).name == name
    means = [name for name in dataset_names() if load_dataset(name, tmp_path).spec.metric == "mean-per-class"]
    assert means == ["aircraft", "caltech101", "flowers", "pets"]


def test_classes_that_torchvision_only_numbers_have_names(tmp_path: Path) -> None:
    """PCAM in every release, the flowers in older ones."""
    names = load_dataset("pcam", tmp_path).spec.classnames
    assert names == ["lymph node", "lymph node containing metastatic tumor tissue"]
    names = load_dataset("flowers", tmp_path).spec.classnames
    assert (len(names), names[0], names[59], names[101]) == (
        102, "pink primrose", "pink and yellow dahlia", "blackberry lily"
    )  # fmt: skip


def test_captions_from_every_kind_of_file(tmp_path: Path) -> None:
    members = [(f"images/{i}.png", encoded((i, i, i), i)) for i in range(3)]
    images = local_images(str(tar_of(tmp_path / "i.tar", members)))
    coco = {
        "images": [{"id": 7, "file_name": "1.png"}, {"id": 8, "file_name": "0.png"}],
        "annotations": [{"image_id": 7, "caption": "one"}, {"image_id": 8, "caption": "ei\u00df"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    (tmp_path / "t.jsonl").write_text(
        '{"image": "images/1.png", "caption": ["one", "uno"]}\n{"image": "2.png", "caption": null}\n'
    )
    (tmp_path / "t.csv").write_text("filepath,title\n/data/images/1.png,one\nimages/0.png,\nimages/9.png,nine\n")
    assert captioned(images, tmp_path / "coco.json").images.captions == [["ei\u00df"], ["one"]]
    lines = captioned(images, tmp_path / "t.jsonl")
    assert (list(lines.images.keys), lines.images.captions) == (["images/1.png"], [["one", "uno"]])
    table = captioned(images, tmp_path / "t.csv")
    assert table.images.captions == [["one"]]
    assert table.left_out == {
        "rows without a caption": 1, "captions whose image is absent": 1, "images without a caption": 2
    }  # fmt: skip
    (tmp_path / "other.csv").write_text("filepath,title\nphotos/7.jpg,one\nphotos/8.jpg,two\n")
    with pytest.raises(InputError) as told:
        captioned(images, tmp_path / "other.csv")
    assert "(2 captions whose image is absent)" in str(told.value)
    assert f"called like 'images/0.png', and in {tmp_path / 'other.csv'} like 'photos/7.jpg'" in str(told.value)
    for content, message in (("{}", "no 'images' and 'annotations'"), ("{", "cannot be read as JSON")):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(InputError, match=message):
            captioned(images, tmp_path / "bad.json")
    for content in ('[{"filename": "0.png"}]', "[1]", '{"a": {"filename": 1, "caption": "a", "negative_caption": []}}'):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(InputError, match="has not SugarCrepe's form"):
            hard_negatives(images, tmp_path / "bad.json")


def test_splits_that_number_their_images_alike_keep_their_own_captions(tmp_path: Path) -> None:
    """One table of all splits; that the test images lack a row does not give one the training image's."""
    for split in ("train", "test"):
        (tmp_path / "photos" / split).mkdir(parents=True)
        for number in range(3):
            (tmp_path / f"photos/{split}/0000{number}.jpg").write_bytes(encoded((9, 9, 9), number, "JPEG"))
    rows = [f"{split}/0000{n}.jpg" for split in ("train", "test") for n in range(3)][:-1]
    for before in ("photos/", "/mnt/other/photos/", "", "./photos/", f"{tmp_path}/photos/"):
        lines = [f"{before}{row}\tof {row}" for row in rows]
        for order in (lines, lines[::-1]):
            (tmp_path / "t.tsv").write_text("\n".join(["filepath\ttitle", *order]) + "\n")
            data = load_dataset(str(tmp_path / "photos"), captions=str(tmp_path / "t.tsv"))
            found = captioned(data.images("test")[0], data.captions, data.folders("test"))
            assert dict(zip(found.images.keys, found.images.captions or [], strict=True)) == {
                "00000.jpg": ["of test/00000.jpg"],
                "00001.jpg": ["of test/00001.jpg"],
            }
            assert found.left_out == {"captions whose image is absent": 3, "images without a caption": 1}
    negatives = [{"filename": row, "caption": f"of {row}", "negative_caption": "no"} for row in rows]
    (tmp_path / "n.json").write_text(json.dumps(negatives))
    hard = hard_negatives(data.images("test")[0], tmp_path / "n.json", data.folders("test"))
    assert (hard.images, hard.right) == ([0, 1], ["of test/00000.jpg", "of test/00001.jpg"])
    assert hard.left_out == {"rows whose image is absent": 3}


def test_splits_in_tars_keep_their_own_captions(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("filepath,title\nphotos/train/0.png,train\nphotos/test/0.png,test\n")
    for tar in ("a/photos/test.tar", "b/photos/test/0.tar"):
        tar_of(tmp_path / tar, [("0.png", encoded((9, 9, 9), 0))])
    for given in ("a/photos/test.tar", "b/photos", "b/photos/test/{0..0}.tar"):
        data = load_dataset(str(tmp_path / given))
        found = captioned(data.images("test")[0], tmp_path / "t.csv", data.folders("test"))
        assert found.images.captions == [["test"]]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["val2014/1.png", "train2014/2.png"], ["val2014/1.png", "train2014/2.png"]),  # Karpathy's, in one folder
        (["val2014/1.png", "train2014/1.png"], "'val2014/1.png' and 'train2014/1.png' may both be of .*'a/1.png'"),
        (["val2014/1.png", "train2014/1.png", "a/1.png"], ["a/1.png", None]),
        (["b/1.png", "a/2.png"], [None, "a/2.png"]),  # of a folder that is not in the set
        (["b/1.png"], ["b/1.png", None]),  # a folder of another name
        (["1.png", "c/a/2.png"], ["1.png", "c/a/2.png"]),
        (["c/a/1.png", "b/a/1.png", "b/a/2.png"], "may both be of"),
        (["photos/a/1.png", "b/a/1.png"], ["photos/a/1.png", None]),
        (["a\\1.png", r"C:\photos\a\2.png"], ["a\\1.png", r"C:\photos\a\2.png"]),  # made on Windows
        ([r"photos\a\1.png", r"b\a\1.png"], [r"photos\a\1.png", None]),
    ],
)
def test_what_a_path_of_a_table_means(rows: list[str], expected: list[str | None] | str, tmp_path: Path) -> None:
    (tmp_path / "photos/a").mkdir(parents=True)
    for number in (1, 2):
        (tmp_path / f"photos/a/{number}.png").write_bytes(encoded((9, 9, 9), number))
    (tmp_path / "t.csv").write_text("\n".join(["image,caption", *(f"{row},{row}" for row in rows)]) + "\n")
    data = load_dataset(str(tmp_path / "photos"))
    images, _ = data.images("test")
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            captioned(images, tmp_path / "t.csv", data.folders("test"))
        return
    found = captioned(images, tmp_path / "t.csv", data.folders("test"))
    keyed = dict(zip(found.images.keys, found.images.captions or [], strict=True))
    assert [keyed.get(f"a/{number}.png") for number in (1, 2)] == [text and [text] for text in expected]


def test_a_backslash_in_the_name_of_an_image_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "photos/a").mkdir(parents=True)
    for number, name in enumerate(("a/1.png", r"a\1.png", "a/2.png")):
        (tmp_path / "photos" / name).write_bytes(encoded((9, 9, 9), number))
    rows = [{"filename": name, "caption": "x", "negative_caption": "y"} for name in (r"a\1.png", r"a\2.png")]
    (tmp_path / "swap.json").write_text(json.dumps(rows))
    data = load_dataset(str(tmp_path / "photos"))
    images, _ = data.images("test")
    found = hard_negatives(images, tmp_path / "swap.json", data.folders("test"))
    assert [images.keys[place] for place in found.images] == [r"a\1.png", "a/2.png"]


def test_hard_negatives_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    for files, name in ((["a/swap.json", "b/swap.json"], "swap"), (["mean.json"], "mean")):
        with pytest.raises(ConfigurationError, match=f"would be called '{name}'"):
            _ = load_dataset(str(tmp_path / "p"), negatives=files).negatives
    files = ["a/swap.json", "b/add.json"]
    assert load_dataset(str(tmp_path / "p"), negatives=files).negatives == [Path(file) for file in files]


def test_braces_of_a_template_format_nothing() -> None:
    assert _filling("a {c} of {0.__class__} {}")("{c}{}") == "a {c}{} of {0.__class__} {}"
    with pytest.raises(ConfigurationError, match="for the class"):
        _filling("a photo")

"""Images, classes and captions in webdataset tars: whole ones, damaged ones, and what is none."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from laclip_aug.errors import InputError
from laclip_aug.evaluation.captions import captioned
from laclip_aug.evaluation.images import local_images
from laclip_aug.exchange.images import image_places
from laclip_aug.exchange.readers import InputOptions
from tests.evaluation.conftest import COLOURS, encoded, tar_of

NAMES = ["blue sky", "green grass", "red rose"]
PACKED = [(".tar.gz", gzip.open, "gzip -dc"), (".tgz", gzip.open, "gzip -dc"), (".tar.bz2", bz2.open, "bzip2 -dc"),
          (".tar.xz", lzma.open, "xz -dc")]  # fmt: skip


def test_a_tar_of_class_folders_and_one_of_captions(tmp_path: Path) -> None:
    members = [(f"all/{name}/{i}.png", encoded(c, i)) for name, c in COLOURS.items() for i in range(2)]
    found = local_images(str(tar_of(tmp_path / "a.tar", members)))
    assert found.classes == NAMES
    members = [("0.jpg", encoded((1, 1, 1), 0, "JPEG")), ("0.txt", b"one\ntwo\n\n"), ("1.jpg", b"x")]
    captions = captioned(local_images(str(tar_of(tmp_path / "b.tar", members))), None)
    assert captions.images.captions == [["one", "two"]]
    assert captions.left_out == {"images without a caption": 1}


def test_samples_of_one_key_in_a_tar_keep_their_own_classes_and_captions(tmp_path: Path) -> None:
    """Tars that were joined, or written by several workers, may use a key again; a sample ends where an ending does."""
    shots = [encoded((9, 9, 9), number) for number in range(4)]
    members = [
        ("0.cls", b"0"), ("0.png", shots[0]), ("0.txt", b"a dog\n"), ("0.cls", b"1"), ("0.png", shots[1]),
        ("0.txt", b"a cat\n"), ("1.JPG", shots[2]), ("1.TXT", b"a bird"), ("1.jpg", shots[3]), ("1.cls", b"1"),
    ]  # fmt: skip
    found = local_images(str(tar_of(tmp_path / "a.tar", members)))
    assert found.labels is not None and found.labels.tolist() == [0, 1, -1, 1]
    assert found.captions == [["a dog"], ["a cat"], ["a bird"], []]


def test_members_of_other_keys_between_an_image_and_its_texts_take_nothing_away(tmp_path: Path) -> None:
    """What an open_clip loader makes one sample of (a key ends at the first dot) is one here; photos with dots too."""
    shot = encoded((9, 9, 9), 1)
    members = [
        ("0.cls", b"1"), ("0.jpg", shot), ("0.seg.png", shot), ("0.txt", b"a dog"),
        ("v1.0/1.cls", b"0"), ("v1.0/1.depth.npy", b"x"), ("v1.0/1.png", shot), ("v1.0/1.txt", b"a cat"),
        ("trip.2019.jpg", shot), ("trip.2020.jpg", shot), ("trip.2019.txt", b"a hill"), ("trip.2020.txt", b"a lake"),
    ]  # fmt: skip
    found = local_images(str(tar_of(tmp_path / "a.tar", members)))
    assert list(found.keys) == ["0.jpg", "0.seg.png", "v1.0/1.png", "trip.2019.jpg", "trip.2020.jpg"]
    assert found.labels is not None and found.labels.tolist() == [1, -1, 0, -1, -1]
    assert found.captions == [["a dog"], [], ["a cat"], ["a hill"], ["a lake"]]
    assert captioned(found, None).left_out == {"images without a caption": 1}


def test_texts_that_stand_apart_from_their_images_are_found_or_counted(tmp_path: Path) -> None:
    """As ``tar cf a.tar *.jpg *.cls *.txt`` writes them: an open_clip loader passes over such samples."""
    shots = [encoded((9, 9, 9), number) for number in range(3)]
    images = [(f"{number}.jpg", shot) for number, shot in enumerate(shots)]
    classes = [(f"{number}.cls", b"%d" % number) for number in range(3)]
    texts = [("0.txt", b"a dog\none dog"), ("1.txt", b"a cat"), ("3.txt", b"a fish\none fish\n\n")]
    for members in (images + classes + texts, texts + images + classes):
        found = local_images(str(tar_of(tmp_path / "a.tar", members)))
        assert found.labels is not None and found.labels.tolist() == [0, 1, 2]
        chosen = captioned(found, None)
        assert chosen.images.captions == [["a dog", "one dog"], ["a cat"]]
        assert chosen.left_out == {"captions whose image is absent": 2, "images without a caption": 1}
    twice = [("0.jpg", shots[0]), ("1.jpg", shots[1]), ("0.jpg", shots[2]), ("2.cls", b"0"), ("0.txt", b"a dog")]
    with pytest.raises(InputError, match=r"has a caption \(1 captions whose image is absent\)"):
        captioned(local_images(str(tar_of(tmp_path / "a.tar", twice))), None)


@pytest.mark.parametrize(("ending", "opener", "command"), PACKED)
def test_a_compressed_tar_is_told_how_to_unpack(ending: str, opener: Any, command: str, tmp_path: Path) -> None:
    """Images are read from anywhere in a tar, which a compressed one does not allow."""
    (tmp_path / "my set").mkdir()
    plain = tar_of(tmp_path / "0.tar", [("0.png", encoded((9, 9, 9), 1)), ("0.txt", b"a dog")])
    packed = tmp_path / f"my set/0{ending}"
    with opener(packed, "wb") as file:
        file.write(plain.read_bytes())
    advice = f"is compressed, .*unpack it with: {command} '{packed}' > '{tmp_path}/my set/0.tar'"
    for given in (str(packed), str(tmp_path / "my set")):
        with pytest.raises(InputError, match=advice):
            local_images(given)
    with pytest.raises(InputError, match=advice):
        list(image_places([str(packed)], InputOptions("webdataset")))
    tar_of(tmp_path / "my set/1.tar", [("1.png", encoded((9, 9, 9), 2))])
    with pytest.raises(InputError, match=advice):  # a half of the set is none
        local_images(str(tmp_path / "my set"))
    if shutil.which(command.partition(" ")[0]):
        subprocess.run(advice.partition("with: ")[2], shell=True, check=True)
    else:  # a bare machine has gzip, and neither bzip2 nor xz
        (tmp_path / "my set/0.tar").write_bytes(plain.read_bytes())
    assert list(local_images(str(tmp_path / "my set")).keys) == ["0.png", "1.png"]


def test_what_is_no_tar_of_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"not a tar" * 200)
    with pytest.raises(InputError, match="cannot be read as an unpacked tar"):
        local_images(str(tmp_path / "x.tar"))
    whole = tar_of(tmp_path / "x.tar", [(f"{i}.cls", b"0") for i in range(5)] + [("5.png", b"x")]).read_bytes()
    for damaged in (
        whole[: 3 * 1024] + b"\xff" + whole[3 * 1024 + 1 :],  # the fourth header
        whole[: 3 * 1024 + 100],
        whole[: 3 * 1024] + bytes(512) + whole[3 * 1024 + 512 :],
    ):
        (tmp_path / "x.tar").write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be read as an unpacked tar"):
            local_images(str(tmp_path / "x.tar"))
    tar_of(tmp_path / "y.tar", [("0.png", b"x"), ("0.cls", b"dog")])
    with pytest.raises(InputError, match="'dog', not a class number"):
        local_images(str(tmp_path / "y.tar"))
    with pytest.raises(InputError, match="no image was found"):
        local_images(str(tar_of(tmp_path / "z.tar", [("a.txt", b"x")])))
    with pytest.raises(InputError, match="local files only"):
        local_images("s3://bucket/x.tar")
    (tmp_path / "captions.json").write_text('{"images": [], "annotations": []}')
    with pytest.raises(InputError, match=r"captions\.json is neither \(jsonl\); .*COCO's own JSON, with --captions"):
        local_images(str(tmp_path / "captions.json"))

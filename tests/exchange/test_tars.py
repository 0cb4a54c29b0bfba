"""The samples of a tar are those of open_clip's own pipeline, and what has no caption says what it has instead."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import tarfile

import pytest

from laclip_aug.errors import ConfigurationError, InputError
from laclip_aug.exchange.images import image_places
from laclip_aug.exchange.log import InputLog
from laclip_aug.exchange.readers import CaptionInput, InputOptions
from laclip_aug.exchange.tars import TextKeys, tar_captions


def tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def read(path, *keys):
    log = InputLog()
    return [caption for _, caption in tar_captions(str(path), log, TextKeys.of(*keys))], log


MEMBERS = [
    ("a/000.jpg", b"x"),
    ("a/000.txt", b" a dog\n"),
    ("a/000.caption", b"the dog"),
    ("a/000.json", json.dumps({"a": " ", "b": "dog b", "c": 5}).encode()),
    ("a/001.JPG", b"x"),
    ("a/001.Caption", "café 猫".encode()),
    ("a/001.json", json.dumps({"a": "cat a", "b": "cat b"}).encode()),
    ("a/001.json", b"[1]"),  # the same name again: a sample of its own
    ("a/001.jpg", b"x"),
    ("a/002.jpg", b"x"),
    ("a/002.txt", b"bad \xff"),
    ("noext", b"x"),
    ("./b.c/003.txt", b"in a folder with a dot"),
    ("./b.c/003.png", b"x"),
    ("__meta__/x.txt", b"no sample"),
    ("b/img.v1.004.txt", b"keys end at the first dot"),
    ("b/img.v1.004.jpg", b"x"),
    ("b/img.v1.005.txt", b"so this is one sample with the last"),
    ("b/006.jpg", b"x"),
    ("b/006.json", b"{broken"),
    ("b/007.jpg", b"x"),
    ("b/007.txt", b"   "),
]


@pytest.mark.parametrize(("text_key", "endings"), [("txt", ("txt",)), ("txt;caption", ("txt", "caption"))])
def test_samples_are_those_of_open_clip(tmp_path, text_key, endings):
    import webdataset as wds
    from open_clip_train.data import tarfile_to_samples_nothrow

    path = tar(tmp_path / "0.tar", MEMBERS)
    theirs = []
    for sample in tarfile_to_samples_nothrow([{"url": str(path)}]):
        if any(ending in sample for ending in endings):
            theirs.append(wds.filters.getfirst(sample, text_key))
    captions, log = read(path, text_key)
    assert captions == [data.decode() for data in theirs if data != b"bad \xff"]
    assert log.rejections["invalid-utf8"] == 1
    samples = sum(1 for _ in tarfile_to_samples_nothrow([{"url": str(path)}]))
    assert (log.rows, log.rejections["no-caption"]) == (samples, samples - len(theirs))


def test_json_fields_by_preference_and_all_that_can_be_drawn(tmp_path):
    path = tar(tmp_path / "0.tar", MEMBERS)
    captions, log = read(path, None, "a;b")
    assert captions == ["dog b", "cat a"]  # an empty field leaves the place to the next, as in open_clip 4
    assert log.rejections["malformed-json"] == 2
    assert read(path, None, "b; a")[0] == ["dog b", "cat b"]
    assert read(path, None, "a;b", [0.5, 0.5])[0] == ["dog b", "cat a", "cat b"]
    assert read(path, None, "a;b", [0.5])[0] == ["dog b", "cat a"]  # b stands in only
    assert read(path, None, "c")[0] == []  # a number is no caption there either
    with pytest.raises(ConfigurationError, match="2 values for 1 fields"):
        TextKeys.of(json_text_key="a", probs=[1, 2])
    for prob in ("-1", "nan", "inf"):
        with pytest.raises(ConfigurationError, match=f"--json-text-key-probs must be 0 or more, not {prob}"):
            TextKeys.of(json_text_key="a;b", probs=[0.5, float(prob)])


def test_what_has_no_caption_says_what_it_has(tmp_path):
    def refused(*members, **options):
        path = tar(tmp_path / "0.tar", members)
        with pytest.raises(InputError) as error:
            list(CaptionInput([str(path)], InputOptions(text_keys=TextKeys.of(**options))))
        return str(error.value)

    only_json = refused(("0.jpg", b"x"), ("0.json", b'{"alt": "a dog"}'))
    assert "no caption was read from" in only_json and "no-caption: 1" in only_json
    assert "its endings: .jpg, .json" in only_json and "--json-text-key" in only_json
    assert "its fields: alt" in refused(("0.json", b'{"alt": "a dog"}'), json_text_key="caption")
    dotted = refused(("img.v1.0.txt", b"a dog"), ("img.v1.0.jpg", b"x"))
    assert "first dot" in dotted and ".v1.0.txt" in dotted and "rename" in dotted
    assert "--text-key 'txt;cap'" in refused(("0.jpg", b"x"), ("0.cap", b"a dog"))
    assert "0 rows" in refused()


def test_shards_that_cannot_be_reached_are_named_so(tmp_path):
    good = tar(tmp_path / "good.tar", [("0.txt", b"a dog")])
    with pytest.raises(InputError, match=r"(?s)unreachable: 2.*no-such-file\.tar.*exit status 1"):
        list(CaptionInput(["pipe:cat no-such-file.tar", "http://127.0.0.1:9/no-such-file.tar"]))
    source = CaptionInput(
        [str(good), "pipe:cat no-such-file.tar", f"pipe:head -c 700 {good}", f"pipe:cat {good}; exit 3"]
    )
    assert list(source) == ["a dog", "a dog", "a dog"]  # what came before the failure counts
    # the second pipe broke off after it had sent something, the third failed after all that matters
    assert source.log.rejections == {"unreachable": 1, "damaged-tar": 2}
    assert "exit status 3" in source.log.examples["damaged-tar"][1]


def test_a_large_tar_through_a_pipe_is_read_to_its_end(tmp_path):
    path = tar(tmp_path / "0.tar", [("0.txt", b"a dog"), ("0.jpg", bytes(3_000_000))])
    path.write_bytes(path.read_bytes() + bytes(5_000_000))  # padding that no reader looks at
    source = CaptionInput([f"pipe:cat {path}"])
    assert list(source) == ["a dog"] and not source.log.rejections


SAMPLE = 2048  # bytes of each sample of a_hundred: header and block of the image, header and block of the text


def a_hundred(path):
    """100 samples ``000`` to ``099`` of an image that no packer makes smaller and a text of one block."""
    noise = random.Random(0)
    members = []
    for i in range(100):
        members += [(f"{i:03}.jpg", noise.randbytes(500)), (f"{i:03}.txt", f"photo {i}".encode())]
    return tar(path, members)


PHOTOS = [f"photo {i}" for i in range(100)]
DAMAGE = {
    "a byte of a header": lambda data: data[: 40 * SAMPLE + 10] + b"\xff" + data[40 * SAMPLE + 11 :],
    "cut in a header": lambda data: data[: 40 * SAMPLE + 100],
    "cut in an image": lambda data: data[: 40 * SAMPLE + 600],
    "a block that was never written": lambda data: data[: 40 * SAMPLE] + bytes(512) + data[40 * SAMPLE + 512 :],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_no_end_of_a_tar(tmp_path, damage):
    path = a_hundred(tmp_path / "0.tar")
    assert read(path)[0] == PHOTOS and not read(path)[1].rejections
    assert [caption for caption, _ in image_places([str(path)])] == PHOTOS
    path.write_bytes(damage(path.read_bytes()))
    tar(tmp_path / "1.tar", [("0.txt", b"a cat")])
    source = CaptionInput([str(tmp_path / "{0..1}.tar")])
    assert list(source) == [*PHOTOS[:40], "a cat"]
    assert source.log.rejections["damaged-tar"] == 1
    assert f"{path}: after 0" in source.log.examples["damaged-tar"][0]
    with pytest.raises(InputError, match="cannot be read as an unpacked tar"):
        list(image_places([str(path)]))


@pytest.mark.parametrize("damage", ["cut", "a byte"])
@pytest.mark.parametrize("name", ["0.tar.gz", "0.tgz", "0.tar.bz2", "0.tar.xz", "packed.tar"])
def test_damage_of_a_packed_tar_is_no_end_either(tmp_path, name, damage):
    pack = {".bz2": bz2.compress, ".xz": lzma.compress}.get(name[-4:].lstrip("r"), gzip.compress)
    path = a_hundred(tmp_path / name)
    data = bytearray(pack(path.read_bytes()))
    path.write_bytes(data)
    assert read(path)[0] == PHOTOS and not read(path)[1].rejections
    if damage == "cut":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    tar(tmp_path / "1.tar", [("0.txt", b"a cat")])
    source = CaptionInput([str(path), str(tmp_path / "1.tar")])
    captions = list(source)
    assert captions[-1] == "a cat" and captions[:-1] == PHOTOS[: len(captions) - 1]
    assert source.log.rejections["damaged-tar"] == 1


def test_a_tar_without_an_end_mark_is_read(tmp_path):
    """As a writer leaves it that was killed between two members, or that writes none."""
    path = a_hundred(tmp_path / "0.tar")
    path.write_bytes(path.read_bytes()[: 100 * SAMPLE])
    captions, log = read(path)
    assert captions == PHOTOS and not log.rejections
    assert [caption for caption, _ in image_places([str(path)])] == PHOTOS


def test_tars_that_were_joined_by_cat_say_so(tmp_path):
    first, second = a_hundred(tmp_path / "0.tar"), tar(tmp_path / "1.tar", [("0.txt", b"a cat")])
    first.write_bytes(first.read_bytes() + second.read_bytes())
    captions, log = read(first)
    assert captions == PHOTOS  # the trainer, too, reads the first alone
    assert log.rejections == {"damaged-tar": 1} and "tar -A" in log.examples["damaged-tar"][0]

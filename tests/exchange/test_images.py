"""Where the image of a caption is: every caption of an image, each sample its own, and paths of any kind."""

from __future__ import annotations

import json

import pytest

from laclip_aug.exchange.images import image_places
from tests.exchange.test_tars import tar


def found(path):
    return [(caption, place.read()) for caption, place in image_places([str(path)])]


def test_captions_in_a_list_are_all_of_their_image(tmp_path):
    """As ``laclip-aug build`` reads them."""
    for name in ("1", "2"):
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    rows = [
        {"image": "1.png", "caption": ["a dog", "two dogs", None, 5]},
        {"image": "2.png", "caption": []},
        {"image": "2.png", "caption": "a cat"},
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert found(tmp_path / "t.jsonl") == [("a dog", b"1"), ("two dogs", b"1"), ("a cat", b"2")]


@pytest.mark.parametrize("path", ["iVBORw0KGgo" * 900, "a\0b.png", "\ud83d.png"])
def test_what_is_no_path_of_a_file_is_an_image_that_cannot_be_read(tmp_path, path):
    """An image itself in base64, a cut emoji, a NUL."""
    (tmp_path / "1.png").write_bytes(b"1")
    rows = [{"image": path, "caption": "a dog"}, {"image": "1.png", "caption": "a cat"}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert found(tmp_path / "t.jsonl") == [("a dog", b""), ("a cat", b"1")]


def test_paths_as_windows_writes_them(tmp_path, monkeypatch):
    """A file that has the backslash in its name is found by it."""
    for name in ("a/1.png", r"a\1.png", "a/2.png", "b/3.png"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(name.encode())
    rows = [r"a\1.png,one", r"a\2.png,two", r"set\b\3.png,three", r"a\4.png,four"]
    (tmp_path / "set/t.csv").write_text("\n".join(["image,caption", *rows]))
    monkeypatch.chdir(tmp_path)
    expected = [("one", rb"a\1.png"), ("two", b"a/2.png"), ("three", b"b/3.png"), ("four", b"")]
    assert found(tmp_path / "set/t.csv") == expected


def test_samples_of_one_key_are_told_apart_where_an_ending_comes_again(tmp_path):
    """As open_clip's trainer does; a text may stand before its image."""
    members = [
        ("0.txt", b"a dog"), ("0.JPG", b"first"), ("0.txt", b"a cat"), ("0.jpg", b"second"),
        ("__meta__/0.txt", b"none"), ("a/1.jpg", b"third"), ("a/1.TXT", b"a bird"), ("a/1.txt", b"no image"),
    ]  # fmt: skip
    assert found(tar(tmp_path / "a.tar", members)) == [("a dog", b"first"), ("a cat", b"second"), ("a bird", b"third")]

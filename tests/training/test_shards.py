"""Which captions the look into the cache takes from shards, and shards that a trainer would wait for in vain."""

from __future__ import annotations

import shlex
from argparse import Namespace
from pathlib import Path

import pytest
import webdataset as wds

from laclip_aug.errors import CacheMissError, InputError
from laclip_aug.exchange.tars import TextKeys
from laclip_aug.training.coverage import Coverage, TrainingCaptions, check
from laclip_aug.training.coverage import training_captions as looked_up
from laclip_aug.training.options import TextAugOptions


def shard(path: Path, *samples: dict[str, object]) -> str:
    with wds.TarWriter(str(path)) as tar:
        for number, sample in enumerate(samples):
            tar.write({"__key__": str(number), "jpg": b"x", **sample})
    return str(path)


def training_captions(shards: str, **args: object) -> list[str]:
    return list(looked_up(None, Namespace(train_data=shards, **args), seed=0))


def test_captions_where_open_clip_4_takes_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = shard(
        tmp_path / "0.tar",
        {"txt": "a dog", "json": {"a": "dog a", "b": "dog b"}},
        {"caption": b"a cat", "json": {"a": "", "b": "cat b"}},
    )

    def taken(**args: object) -> list[str]:
        return training_captions(path, **args)

    assert taken() == taken(text_key="txt", json_text_key=None) == ["a dog"]
    assert "no-caption: 1" in caplog.text and ".caption" in caplog.text
    assert taken(text_key="txt;caption") == ["a dog", "a cat"]
    assert taken(text_key="txt", json_text_key="a;b") == ["dog a", "cat b"]
    assert taken(json_text_key="a;b", json_text_key_probs=[0.5, 0.5]) == ["dog a", "dog b", "cat b"]


def test_shards_that_a_trainer_would_wait_for(tmp_path: Path) -> None:
    folder = tmp_path / "my shards"
    folder.mkdir()
    with pytest.raises(InputError, match=r"none of its files ends in \.tar"):
        training_captions(str(folder))
    shard(folder / "0.tar", {"txt": "a dog"})
    with pytest.raises(InputError) as error:
        training_captions(str(folder))
    (advised,) = shlex.split(str(error.value).split("files: ")[1].split(", and")[0])
    assert training_captions(advised) == ["a dog"]
    with pytest.raises(InputError, match="opens no s3: addresses") as error:
        training_captions("s3://bucket/{0..1}.tar")
    assert "'pipe:aws s3 cp s3://bucket/0.tar -'" in str(error.value)


def test_shards_in_a_folder_with_a_colon_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cc3m:v2").mkdir()
    shard(tmp_path / "cc3m:v2" / "0.tar", {"txt": "a dog"})
    with pytest.raises(ValueError, match="no gopen handler defined"):
        list(wds.WebDataset("cc3m:v2/0.tar", shardshuffle=False))
    with pytest.raises(InputError, match=r"takes cc3m:v2/0\.tar for an address") as error:
        training_captions("cc3m:v2/{0..0}.tar")
    (advised,) = shlex.split(str(error.value).split("; write ")[1])
    assert training_captions(advised) == ["a dog"]
    assert len(list(wds.WebDataset(advised, shardshuffle=False))) == 1


def test_the_advice_is_quoted_and_names_the_keys(tmp_path: Path) -> None:
    keys = TextKeys.of("txt;caption", "a;b", [0.5, 0.5])
    captions = TrainingCaptions(["a dog", "a cat"], whole=False, typed=keys.typed())
    (tmp_path / "my cache").mkdir()
    options = TextAugOptions(mode="laclip", cache=str(tmp_path / "my cache"))
    with pytest.raises(CacheMissError) as error:
        check(Coverage(2, 1, 1, ("a dog",)), captions, "it's/{0..1}.tar", options)
    command = str(error.value).split("missing: ")[1].split(", with the options")[0]
    assert shlex.split(command) == [
        *("laclip-aug", "build", "it's/{0..1}.tar", "--cache", str(tmp_path / "my cache"), "--text-key", "txt;caption"),
        *("--json-text-key", "a;b", "--json-text-key-probs", "0.5", "0.5"),
    ]

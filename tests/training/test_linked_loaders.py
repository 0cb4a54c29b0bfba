"""Linked augmentation in open_clip's real loaders and trainer: images and texts stay together however they are read."""

from __future__ import annotations

import re
import tarfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip_train.data as upstream_data
import pytest
import torch
from PIL import Image

from laclip_aug import openclip
from laclip_aug.errors import UnsupportedOpenClipError
from laclip_aug.training import hook
from laclip_aug.training.options import TextAugOptions

from .conftest import Dataset, make_cache
from .test_linked import is_true, scene, seen
from .test_loaders import TOKENIZER, texts_of, tokens_of
from .test_pairing import Pairs
from .upstream import IMAGE_FIRST

Train = Callable[..., Path]
Pair = tuple[str, bytes]


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB")))


@pytest.fixture(scope="module")
def scenes(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """64 scenes of two shapes, as a table and as four tars."""
    root = tmp_path_factory.mktemp("scenes")
    rows = ["filepath\ttitle"]
    for number in range(64):
        picture, caption = scene(number)
        picture.save(root / f"{number:03}.png")
        (root / f"{number:03}.txt").write_text(caption)
        rows.append(f"{root / f'{number:03}.png'}\t{caption}")
    (root / "train.tsv").write_text("\n".join(rows) + "\n")
    for shard in range(4):
        with tarfile.open(root / f"shard-{shard}.tar", "w") as tar:
            for number in range(shard, 64, 4):
                for ending in ("png", "txt"):
                    tar.add(root / f"{number:03}.{ending}", f"{number:03}.{ending}")
    return Dataset(root / "train.tsv", str(root / "shard-{0..3}.tar"), dataset.model)


def epochs(scenes: Dataset, data: str, numbers: tuple[int, ...], workers: int = 0) -> list[list[Pair]]:
    """The texts and images of each epoch, sorted."""
    args: Namespace = openclip.PARSE_ARGS.get()(scenes.arguments(Path("unused"), "unused", data))
    vars(args).update(distributed=False, world_size=1, rank=0, workers=workers, train_num_samples=64)
    info: Any = upstream_data.get_data(args, (pixels, pixels), epoch=numbers[0], tokenizer=TOKENIZER)["train"]
    found = []
    for number in numbers:
        info.set_epoch(number)
        pairs: list[Pair] = []
        for batch in info.dataloader:
            images = batch["image"] if isinstance(batch, dict) else batch[0]
            texts = texts_of(tokens_of(batch))
            each = len(texts) // len(images)
            pairs += [(text, images[place // each].numpy().tobytes()) for place, text in enumerate(texts)]
        found.append(sorted(pairs))
    return found


def check(pair: Pair) -> str:
    """Which change a pair shows, once it is made sure that it is true."""
    text = pair[0].replace(" ,", ",").replace(" .", ".")
    picture = Image.fromarray(np.frombuffer(pair[1], dtype=np.uint8).reshape(32, 64, 3))
    shown = seen(picture)
    assert is_true(text, shown), (text, shown)
    return "grey" if shown[0][0] == "" else "coloured"


def test_pairs_are_true_and_the_same_however_they_are_read(scenes: Dataset) -> None:
    with hook.install(TextAugOptions(linked=("flip", "gray"), seed=2)):
        first, second = epochs(scenes, str(scenes.csv), (0, 1))
        assert {check(pair) for pair in first + second} == {"grey", "coloured"}
        assert first != second
        for data, workers in ((str(scenes.csv), 2), (scenes.shards, 0), (scenes.shards, 2)):
            if IMAGE_FIRST or data != scenes.shards:
                assert epochs(scenes, data, (0, 1), workers) == [first, second]
                assert epochs(scenes, data, (1,), workers) == [second]  # resumed after epoch 0
            else:
                with pytest.raises(UnsupportedOpenClipError, match="reads a caption before its image"):
                    epochs(scenes, data, (0,), workers)

    plain = {picture.tobytes() for picture, _ in map(scene, range(64))}
    untouched = sum(image in plain for _, image in first)
    assert 10 < untouched < 54  # 0.5 * 0.8 of 64 are expected: 26, and four standard deviations are 16


def test_all_texts_of_an_image_follow_it(scenes: Dataset, tmp_path: Path) -> None:
    captions = [line.split("\t")[1] for line in scenes.csv.read_text().splitlines()[1:]]
    cache = make_cache(tmp_path / "cache", dict.fromkeys(captions))
    with hook.install(TextAugOptions(mode="laclip-mt", cache=str(cache), linked=("flip",))):
        (pairs,) = epochs(scenes, str(scenes.csv), (0,))
    assert len(pairs) == 4 * 64
    for text, image in pairs:
        bare = text.removeprefix("a photo of ").removeprefix("here we see ").removesuffix(" outdoors")
        check((bare.removesuffix(" on a sunny day"), image))


def test_a_loader_of_another_order_is_refused(scenes: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(
        args: Namespace, preprocess_fn: Any, is_train: bool, epoch: int = 0, tokenizer: Any = None, **more: Any
    ) -> Any:
        pairs = Pairs(args, preprocess_fn, tokenizer, text_first=True)
        return SimpleNamespace(dataloader=torch.utils.data.DataLoader(pairs, batch_size=8))

    monkeypatch.setattr(upstream_data, "get_csv_dataset", load)
    with hook.install(TextAugOptions(linked=("flip",))), pytest.raises(UnsupportedOpenClipError) as caught:
        epochs(scenes, str(scenes.csv), (0,))
    assert "it reads a caption before its image" in str(caught.value)
    assert "leave out --text-aug-linked" in str(caught.value)


def test_the_trainer_trains_with_it_alone(train: Train, scenes: Dataset) -> None:
    run = train("--text-aug-linked", "flip,gray,crop", "--train-num-samples", "64", data=scenes.csv)

    lines = re.findall(r"linked augmentation, epoch (\d): of (\d+) images: flip (\d+)", (run / "out.log").read_text())
    assert [(epoch, images) for epoch, images, _ in lines] == [("0", "64"), ("1", "64")]
    assert all(int(flipped) > 10 for *_, flipped in lines)

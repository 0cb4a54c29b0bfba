"""A draw for each image: what the transform tells the tokenizer, in open_clip's real loaders."""

from __future__ import annotations

import copy
import pickle
import random
import tarfile
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import open_clip_train.data as upstream_data
import pytest
import torch
from open_clip import image_transform
from PIL import Image

from laclip_aug import openclip
from laclip_aug.training import hook
from laclip_aug.training.loader import TrainingLoader
from laclip_aug.training.options import TextAugOptions
from laclip_aug.training.pairing import Handover, KeyedTransform, image_key, order_fault
from laclip_aug.training.sampling import TextSampler

from .conftest import CAPTIONS, STRATEGIES, Dataset, make_cache, rewrite
from .test_loaders import epoch_texts, to_tensor
from .upstream import IMAGE_FIRST

SHARED = CAPTIONS[0]


@pytest.fixture
def shared(dataset: Dataset, tmp_path: Path) -> Dataset:
    """The data set's 48 images, all with one caption."""
    rows = [line.split("\t") for line in dataset.csv.read_text().splitlines()]
    table = tmp_path / "shared.tsv"
    table.write_text("\n".join(["\t".join(rows[0]), *(f"{path}\t{SHARED}" for path, _ in rows[1:])]) + "\n")
    (tmp_path / "caption.txt").write_text(SHARED)
    for shard in range(4):
        with tarfile.open(tmp_path / f"shard-{shard}.tar", "w") as tar:
            for path, _ in rows[1 + shard :: 4]:
                tar.add(path, Path(path).name)
                tar.add(tmp_path / "caption.txt", f"{Path(path).stem}.txt")
    return Dataset(table, str(tmp_path / "shard-{0..3}.tar"), dataset.model)


def test_images_that_share_a_caption_draw_for_themselves(shared: Dataset, dataset: Dataset, tmp_path: Path) -> None:
    options = TextAugOptions(mode="laclip", cache=str(make_cache(tmp_path / "one", [SHARED])), seed=5)
    with hook.install(options) as installed:
        first, second = epoch_texts(shared, str(shared.csv), (0, 1))
        assert installed.sampler is not None
        keys = dataset.keys.values()
        assert first == sorted(installed.sampler.texts(SHARED, 0, key)[0] for key in keys)
        assert second == sorted(installed.sampler.texts(SHARED, 1, key)[0] for key in keys)
        assert set(first) == {SHARED, *(rewrite(SHARED, name) for name in STRATEGIES)}  # 4 * 0.75^48 = 4e-6 to miss one
        for data, workers in ((shared.csv, 2), (shared.shards, 0), (shared.shards, 2)):
            if IMAGE_FIRST or data == shared.csv:
                assert epoch_texts(shared, str(data), (0, 1), workers) == [first, second]
                assert epoch_texts(shared, str(data), (1,), workers) == [second]  # resumed after epoch 0
            else:
                assert {*epoch_texts(shared, str(data), (0,), workers)[0]} == {*installed.sampler.texts(SHARED, 0)}


@pytest.mark.usefixtures("spawn")
@pytest.mark.parametrize("changes", [{"mode": "eda"}, {"mode": "laclip", "linked": ("flip",)}], ids=["eda", "linked"])
def test_spawned_workers_draw_the_same(dataset: Dataset, cache: Path, changes: dict[str, Any]) -> None:
    """As workers start on macOS and Windows, and on Linux from Python 3.14 on: the data set is pickled."""
    pickle.loads(pickle.dumps(KeyedTransform(to_tensor, Handover())))  # noqa: S301 - a worker that cannot would hang here
    options = TextAugOptions(seed=5, cache=str(cache) if changes["mode"] == "laclip" else None, **changes)
    with hook.install(options):
        expected = epoch_texts(dataset, str(dataset.csv), (0, 1))
        found = epoch_texts(dataset, str(dataset.csv), (0, 1), 1)
    assert found == expected
    assert expected[0] != expected[1]


def test_a_training_loader_is_copied_with_its_attributes() -> None:
    loader = TrainingLoader(SimpleNamespace(num_batches=6), on_batch=print, on_end=print)
    assert copy.deepcopy(loader).num_batches == 6
    with pytest.raises(AttributeError, match="dataset"):
        _ = loader.dataset


def test_a_key_is_of_the_pixels_and_nothing_else(tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (40, 50, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    image = Image.fromarray(pixels.numpy())
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.bmp")

    keys = {image_key(Image.open(tmp_path / name)) for name in ("a.png", "b.bmp")} | {image_key(image.convert("RGBA"))}
    assert len(keys) == 1
    assert image_key(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) not in keys
    assert len(image_key(image)) == 8
    assert image_key(image.convert("L")) not in keys
    assert image_key("no image") == b""


def test_draws_are_uniform_over_images() -> None:
    class Table:
        sources = STRATEGIES

        def get(self, caption: str) -> Any:
            return [SimpleNamespace(source=name, text=rewrite(caption, name)) for name in STRATEGIES]

    sampler = TextSampler(Table(), seed=3)
    drawn = [sampler.draw("a red dog", 0, number.to_bytes(8, "little")).sources[0] for number in range(4000)]
    expected = 1000
    chi_square = sum((drawn.count(name) - expected) ** 2 / expected for name in ("original", *STRATEGIES))
    assert chi_square < 16.27  # p = 0.001 at three degrees of freedom


def arguments(dataset: Dataset, data: str, **changed: Any) -> dict[str, Any]:
    args: Namespace = openclip.PARSE_ARGS.get()(dataset.arguments(Path("unused"), "unused", data))
    vars(args).update({"distributed": False, "world_size": 1, "rank": 0, **changed})
    return {"args": args, "is_train": True, "epoch": 0, "tokenizer": None}


@pytest.mark.parametrize("resampled", [False, True])
def test_open_clips_loaders_pass_the_trial_without_a_trace(dataset: Dataset, resampled: bool) -> None:
    state, numbers = random.getstate(), torch.get_rng_state()
    csv = arguments(dataset, "nowhere.csv") | {"preprocess_fn": to_tensor}
    tar = arguments(dataset, "s3://nowhere/{000..999}.tar", dataset_resampled=resampled, world_size=3)

    assert order_fault(upstream_data.get_csv_dataset, csv) == ""
    expected = "" if IMAGE_FIRST else "it reads a caption before its image is transformed"
    assert order_fault(upstream_data.get_wds_dataset, tar | {"preprocess_img": to_tensor}) == expected
    assert random.getstate() == state
    assert torch.equal(torch.get_rng_state(), numbers)


@pytest.mark.parametrize(
    "typed",
    [
        ("--csv-separator", "\\t"),  # as shells give it on: a pattern for pandas
        ("--csv-separator", " "),
        ("--csv-separator", "\\|"),
        ("--csv-img-key", "the image", "--csv-caption-key", "a\tcaption"),
    ],
)
def test_a_table_of_any_form_passes_the_trial(dataset: Dataset, typed: tuple[str, ...]) -> None:
    named = vars(openclip.PARSE_ARGS.get()(typed))
    changed = {name: named[name] for name in ("csv_separator", "csv_img_key", "csv_caption_key")}

    table = arguments(dataset, "nowhere.csv", **changed) | {"preprocess_fn": to_tensor}
    assert order_fault(upstream_data.get_csv_dataset, table) == ""


def test_synthetic_data_say_why_they_are_not_paired(dataset: Dataset) -> None:
    made_up = arguments(dataset, "nowhere", dataset_type="synthetic") | {"preprocess_fn": image_transform(8, True)}

    fault = order_fault(upstream_data.get_synthetic_dataset, made_up)
    assert fault == "its samples are its own, and not those of --train-data"


class Pairs(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """A loader of another make: it reads the caption first, or copies the image before."""

    def __init__(self, args: Namespace, transform: Any, tokenizer: Any, text_first: bool) -> None:
        _, *rows = Path(args.train_data).read_text().splitlines()
        self.rows = [row.split("\t") for row in rows]
        self.captions = [caption for _, caption in self.rows]
        self.transform, self.tokenizer, self.text_first = transform, tokenizer, text_first

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        path, caption = self.rows[index]
        if self.text_first:
            text = self.tokenizer([caption])[0]
            return self.transform(Image.open(path)), text
        image = self.transform(Image.open(path)).clone()
        return image, self.tokenizer([caption])[0]


@pytest.mark.parametrize(("text_first", "fault"), [(True, "before its image"), (False, "")])
def test_a_loader_of_another_order_is_found(dataset: Dataset, text_first: bool, fault: str) -> None:
    def load(args: Namespace, preprocess: Any, is_train: bool, epoch: int, tokenizer: Any) -> Any:
        pairs = Pairs(args, preprocess, tokenizer, text_first)
        return SimpleNamespace(dataloader=torch.utils.data.DataLoader(pairs, batch_size=args.batch_size))

    found = order_fault(load, arguments(dataset, str(dataset.csv)) | {"preprocess": to_tensor})
    assert found
    assert fault in found


def test_where_the_order_is_another_captions_draw_alone_and_the_log_says_so(
    dataset: Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def load(
        args: Namespace, preprocess_fn: Any, is_train: bool, epoch: int = 0, tokenizer: Any = None, **more: Any
    ) -> Any:
        loader: Any = torch.utils.data.DataLoader(Pairs(args, preprocess_fn, tokenizer, True), batch_size=8)
        loader.num_batches = 6
        return SimpleNamespace(dataloader=loader, set_epoch=lambda epoch: None)

    monkeypatch.setattr(upstream_data, "get_csv_dataset", load)
    with caplog.at_level("INFO"), hook.install(TextAugOptions(mode="laclip", cache=str(cache), seed=7)) as installed:
        (texts,) = epoch_texts(dataset, str(dataset.csv), (0,))
        assert installed.sampler is not None
        assert texts == sorted(installed.sampler.texts(caption, 0)[0] for caption in CAPTIONS)

    assert "images that share a caption share its texts in this loader: it reads a caption before" in caplog.text

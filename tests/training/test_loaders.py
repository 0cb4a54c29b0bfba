"""Texts in open_clip's real loaders: CSV and webdataset, any number of workers, fresh or resumed, training only."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import open_clip
import open_clip_train.data as upstream_data
import pytest
import torch

from laclip_aug import openclip
from laclip_aug.errors import CacheMissError
from laclip_aug.training import hook
from laclip_aug.training.options import TextAugOptions

from .conftest import CAPTIONS, STRATEGIES, Dataset, make_cache, rewrite
from .upstream import IMAGE_FIRST

TOKENIZER = open_clip.SimpleTokenizer(context_length=32)


def to_tensor(image: object) -> torch.Tensor:
    return torch.zeros(3, 2, 2)  # at the top level, so that spawned workers can import it


def loaders(
    dataset: Dataset, data: str, epoch: int = 0, workers: int = 0, val: Path | None = None
) -> dict[str, object]:
    """What the trainer's ``get_data`` makes, with whatever hook is installed."""
    arguments = dataset.arguments(Path("unused"), "unused", data)
    if val is not None:
        arguments += ["--val-data", str(val)]
    args: Namespace = openclip.PARSE_ARGS.get()(arguments)
    vars(args).update(distributed=False, world_size=1, rank=0, workers=workers)
    found: dict[str, object] = upstream_data.get_data(args, (to_tensor, to_tensor), epoch=epoch, tokenizer=TOKENIZER)
    return found


def tokens_of(batch: Any) -> torch.Tensor:
    """A batch's texts: the second part of a pair, or ``text`` in a dict, as open_clip 4 has it."""
    tokens: torch.Tensor = batch["text"] if isinstance(batch, dict) else batch[1]
    return tokens


def texts_of(tokens: torch.Tensor) -> list[str]:
    return [
        TOKENIZER.decode([int(t) for t in row if t not in (0, TOKENIZER.sot_token_id, TOKENIZER.eot_token_id)]).strip()
        for row in tokens
    ]


def epoch_texts(dataset: Dataset, data: str, epochs: tuple[int, ...], workers: int = 0) -> list[list[str]]:
    """The training texts of each of ``epochs``, sorted; the loader starts at the first of them, as in a resumed run."""
    info = loaders(dataset, data, epoch=epochs[0], workers=workers)["train"]
    seen = []
    for epoch in epochs:
        info.set_epoch(epoch)  # type: ignore[attr-defined]
        seen.append(sorted(text for batch in info.dataloader for text in texts_of(tokens_of(batch))))  # type: ignore[attr-defined]
    return seen


@pytest.fixture
def laclip(cache: Path) -> TextAugOptions:
    return TextAugOptions(mode="laclip", cache=str(cache), seed=7)


def test_texts_are_the_samplers_for_each_epoch(dataset: Dataset, laclip: TextAugOptions) -> None:
    with hook.install(laclip) as installed:
        first, second = epoch_texts(dataset, str(dataset.csv), (0, 1))
        assert installed.sampler is not None
        expected = sorted(installed.sampler.texts(caption, 1, dataset.keys[caption])[0] for caption in CAPTIONS)

    assert second == expected
    assert first != second
    kinds = {caption: {caption, *(rewrite(caption, s) for s in STRATEGIES)} for caption in CAPTIONS}
    assert all(any(text in texts for texts in kinds.values()) for text in first)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["csv", "webdataset"])
def test_texts_do_not_depend_on_format_workers_or_restarts(
    dataset: Dataset, laclip: TextAugOptions, kind: str, workers: int
) -> None:
    data = str(dataset.csv) if kind == "csv" else dataset.shards
    with hook.install(laclip):
        expected = epoch_texts(dataset, str(dataset.csv) if IMAGE_FIRST else data, (0, 1, 2))

        assert epoch_texts(dataset, data, (0, 1, 2), workers) == expected
        assert epoch_texts(dataset, data, (2,), workers) == expected[2:]  # resumed after epoch 1


def test_several_texts_are_flattened_sample_major(dataset: Dataset, cache: Path) -> None:
    with hook.install(TextAugOptions(mode="laclip-mt", cache=str(cache))):
        info = loaders(dataset, str(dataset.csv), workers=2)["train"]
        tokens = tokens_of(next(iter(info.dataloader)))  # type: ignore[attr-defined]

    assert tokens.shape == (32, 32)
    texts = texts_of(tokens)
    for start in range(0, 32, 4):
        caption = texts[start]
        assert texts[start : start + 4] == [caption, *(rewrite(caption, strategy) for strategy in STRATEGIES)]


def test_workers_start_with_the_words_of_the_cache(dataset: Dataset, laclip: TextAugOptions) -> None:
    with hook.install(laclip):
        info: Any = loaders(dataset, str(dataset.csv), workers=2)["train"]
        table = info.dataloader.dataset.tokenize.tokenizer._table
        texts = [text for caption in CAPTIONS for text in (caption, *(rewrite(caption, s) for s in STRATEGIES))]
        assert set(table) >= {word for text in texts for word in text.split()}

        expected = epoch_texts(dataset, str(dataset.csv), (0,))
        table._bare.encoder = {}  # a word that a worker had to look up anew would be an error
        assert sorted(text for batch in info.dataloader for text in texts_of(tokens_of(batch))) == expected[0]


def test_validation_text_is_plain(dataset: Dataset, cache: Path) -> None:
    with hook.install(TextAugOptions(mode="laclip-mt", cache=str(cache))):
        info = loaders(dataset, str(dataset.csv), val=dataset.csv)["val"]
        tokens = torch.cat([tokens_of(batch) for batch in info.dataloader])  # type: ignore[attr-defined]

    assert texts_of(tokens) == list(CAPTIONS)


@pytest.mark.parametrize("kind", ["csv", "webdataset"])
def test_an_uncovered_sample_stops_before_training(dataset: Dataset, tmp_path: Path, kind: str) -> None:
    half = make_cache(tmp_path / "half", CAPTIONS[::2])
    data = str(dataset.csv) if kind == "csv" else dataset.shards
    with hook.install(TextAugOptions(mode="laclip", cache=str(half))), pytest.raises(CacheMissError) as caught:
        loaders(dataset, data)

    message = str(caught.value)
    assert f"24 of 48 {'' if kind == 'csv' else 'sampled '}training captions (50.0%)" in message
    assert "--text-aug-max-miss 50%" in message
    assert "laclip-aug build" in message
    assert str(half) in message


def test_a_miss_in_a_worker_names_the_caption(dataset: Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = TextAugOptions(mode="laclip", cache=str(cache))
    with hook.install(options):
        info = loaders(dataset, str(dataset.csv), workers=1)["train"]
        info.dataloader.dataset.captions[5] = "a caption that nobody rewrote"  # type: ignore[attr-defined]
        with pytest.raises(CacheMissError, match="a caption that nobody rewrote"):
            list(info.dataloader)  # type: ignore[attr-defined]


def test_eda_draws_from_the_original_and_its_variants(dataset: Dataset) -> None:
    with hook.install(TextAugOptions(mode="eda", seed=3)):
        texts = epoch_texts(dataset, str(dataset.csv), (0, 1))
        again = epoch_texts(dataset, str(dataset.csv), (0, 1), workers=2)

    assert texts == again
    assert any(text not in CAPTIONS for text in texts[0])

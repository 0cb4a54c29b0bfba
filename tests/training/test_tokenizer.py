"""The augmenting tokenizer: shapes, epochs and counts across real loader workers, forked and spawned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.training.loader import TrainingLoader, describe_draws
from laclip_aug.training.sampling import TextSampler
from laclip_aug.training.tokenizer import AugmentingTokenizer, DrawCounts, SharedEpoch, flatten_texts

from .conftest import CAPTIONS, STRATEGIES, rewrite


def plain(texts: list[str]) -> torch.Tensor:
    """Code points, padded to 64: a tokenizer that spawned workers import in no time."""
    return torch.tensor([[ord(character) for character in text.ljust(64, "\0")] for text in texts])


class Captions(Dataset[torch.Tensor]):
    """Tokens of each caption, as a loader of the trainer asks for them."""

    def __init__(self, tokenizer: AugmentingTokenizer) -> None:
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return len(CAPTIONS)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.tokenizer([CAPTIONS[index]])[0]


def several(cache: Path) -> AugmentingTokenizer:
    return AugmentingTokenizer(plain, TextSampler(CaptionCache(cache), multi=True), SharedEpoch())


def test_one_caption_gives_its_texts(cache: Path) -> None:
    tokenizer = several(cache)
    expected = plain(["a red dog", *(rewrite("a red dog", name) for name in STRATEGIES)])

    for argument in ("a red dog", ["a red dog"]):
        assert torch.equal(tokenizer(argument), expected[None])


def test_flattening_is_sample_major(cache: Path) -> None:
    tokens = several(cache)(["a red dog", "a blue cat"])

    assert tokens.shape == (2, 4, 64)
    flat = flatten_texts(tokens)
    assert torch.equal(flat[5], plain([rewrite("a blue cat", STRATEGIES[0])])[0])  # b * K + j = 1 * 4 + 1


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_persistent_workers_follow_the_epoch_and_report_their_draws(cache: Path, start: str) -> None:
    sampler = TextSampler(CaptionCache(cache))
    epoch, counts = SharedEpoch(), DrawCounts(STRATEGIES, workers=2)
    dataset = Captions(AugmentingTokenizer(plain, sampler, epoch, counts))
    loader = DataLoader(dataset, 8, num_workers=2, persistent_workers=True, multiprocessing_context=start)

    for number in (0, 1, 5):
        epoch.set(number)
        found = flatten_texts(torch.cat(list(loader)))
        assert torch.equal(found, plain([sampler.texts(caption, number)[0] for caption in CAPTIONS]))
        drawn = [sampler.draw(caption, number).sources[0] for caption in CAPTIONS]
        expected = {name: drawn.count(name) for name in ("original", *STRATEGIES)}
        assert counts.take() == {**expected, "short": 0, "missed": 0}
    assert sum(counts.take().values()) == 0


def test_the_training_loader_flattens_and_reports_at_the_end() -> None:
    events: list[object] = []
    batches = [(torch.zeros(2, 3), torch.arange(12).view(2, 3, 2))]
    loader = TrainingLoader(batches, lambda texts, k: events.append((texts.shape, k)), lambda: events.append("end"))

    ((_, texts),) = list(loader)

    assert texts.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]
    assert events == [((6, 2), 3), "end"]
    assert len(loader) == 1
    assert loader.append == batches.append  # an attribute of what is behind it


def test_the_report_names_each_source() -> None:
    counts = {"original": 30, "human": 10, "short": 2, "missed": 1}

    assert describe_draws(counts, 3) == (
        "text augmentation, epoch 3: 40 texts drawn: original 30 (75.0%), human 10 (25.0%); "
        "1 captions missed the cache, 2 texts had fewer than two words"
    )

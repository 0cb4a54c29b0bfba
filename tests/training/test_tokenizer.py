"""The augmenting tokenizer: shapes, epochs and counts across real loader workers, forked and spawned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.errors import ConfigurationError, UnsupportedOpenClipError
from laclip_aug.training.counts import DrawCounts, Drawn
from laclip_aug.training.loader import TrainingLoader
from laclip_aug.training.sampling import Draw, TextSampler
from laclip_aug.training.tokenizer import AugmentingTokenizer, SharedEpoch, flatten_texts

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
        assert counts.seen() == counts.take() == Drawn(expected, captions=len(CAPTIONS))
    assert counts.take().captions == 0


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
    drawn = Drawn({"original": 30, "human": 10}, captions=40, missed=1, short=2)

    assert drawn.line(3) == (
        "text augmentation, epoch 3: 40 texts drawn: original 30 (75.0%), human 10 (25.0%); "
        "1 captions missed the cache, 2 texts had fewer than two words"
    )
    assert drawn.scalars() == {
        "text_aug/drawn/original": 0.75,
        "text_aug/drawn/human": 0.25,
        "text_aug/missed": 1.0,
        "text_aug/short": 2.0,
    }


def test_a_source_may_have_any_name() -> None:
    names = ("short", "missed", "captions", "original")
    counts = DrawCounts(names)
    counts.add(Draw(("a dog", "the dog"), ("original", "short"), short=1))
    counts.add(Draw(("a dog", "one dog"), ("missed", "captions"), missed=True))

    expected = {"original": 1, "short": 1, "missed": 1, "captions": 1}
    assert counts.take() == Drawn(expected, captions=2, missed=1, short=1)


def test_a_loader_may_have_more_workers_than_was_said(cache: Path) -> None:
    counts = DrawCounts(STRATEGIES, workers=1)
    tokenizer = AugmentingTokenizer(plain, TextSampler(CaptionCache(cache)), SharedEpoch(), counts)
    list(DataLoader(Captions(tokenizer), 8, num_workers=3))
    assert counts.take().captions == len(CAPTIONS)


def test_more_workers_than_rows_is_an_error_that_names_the_cure(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laclip_aug.training.counts._ROWS", 1)
    counts = DrawCounts(STRATEGIES)
    tokenizer = AugmentingTokenizer(plain, TextSampler(CaptionCache(cache)), SharedEpoch(), counts)
    with pytest.raises(ConfigurationError, match="workers=N"):
        list(DataLoader(Captions(tokenizer), 8, num_workers=2))


def test_batches_of_another_form_are_an_error() -> None:
    for texts, form in ((torch.zeros(2, 3), r"\(2, 3\)"), ([torch.zeros(3)], "list")):
        loader = TrainingLoader([(torch.zeros(2, 3), texts)], lambda texts, k: None, lambda: None)
        with pytest.raises(UnsupportedOpenClipError, match=form):
            list(loader)

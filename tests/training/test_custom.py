"""Text augmentation without open_clip's trainer: real loaders of torch, webdataset and datasets, and a loop."""

from __future__ import annotations

import pickle
from pathlib import Path

import datasets
import open_clip
import pytest
import torch
import webdataset
from torch.nn import functional as F
from torch.utils.data import DataLoader

from laclip_aug.errors import CacheMissError, ConfigurationError
from laclip_aug.training.custom import (
    DrawCounts,
    MultiTextLoss,
    SharedEpoch,
    TextAugCollate,
    TextAugOptions,
    TextMap,
    TextSampler,
    TextStage,
    flatten_texts,
    sampler_for,
)

from .conftest import CAPTIONS, STRATEGIES, Dataset, make_cache, rewrite

TOKENIZER = open_clip.SimpleTokenizer(context_length=32)
PAIRS = [(torch.full((2,), float(index)), caption) for index, caption in enumerate(CAPTIONS)]


@pytest.fixture
def several(cache: Path) -> TextSampler:
    return sampler_for(TextAugOptions(mode="laclip-mt", cache=str(cache)))


@pytest.fixture
def one(cache: Path) -> TextSampler:
    return sampler_for(TextAugOptions(mode="laclip", cache=str(cache), seed=5))


def texts_of(caption: str) -> list[str]:
    return [caption, *(rewrite(caption, strategy) for strategy in STRATEGIES)]


def test_collate_puts_tokens_in_place_of_the_captions(several: TextSampler) -> None:
    images, tokens = TextAugCollate(TOKENIZER, several)(PAIRS[:3])

    assert torch.equal(images, torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]))
    assert torch.equal(tokens, TOKENIZER([text for caption in CAPTIONS[:3] for text in texts_of(caption)]))


def test_known_words_are_not_split_again(several: TextSampler, monkeypatch: pytest.MonkeyPatch) -> None:
    collate, stage = TextAugCollate(TOKENIZER, several), TextStage(several, tokenizer=TOKENIZER)
    sample = {"txt": CAPTIONS[0]}
    expected = TOKENIZER(texts_of(CAPTIONS[0]))
    collate(PAIRS[:1]), list(stage([sample]))
    monkeypatch.delattr(open_clip.SimpleTokenizer, "encode")

    assert torch.equal(collate(PAIRS[:1])[1], expected)
    assert torch.equal(next(stage([sample]))["txt"], expected)


def test_collate_keeps_the_form_of_the_samples(several: TextSampler) -> None:
    expected = TOKENIZER(texts_of(CAPTIONS[0]))
    sample = {"image": torch.zeros(2), "caption": CAPTIONS[0], "id": 7}
    batch = TextAugCollate(TOKENIZER, several, caption="caption")([sample])
    assert list(batch) == ["image", "id", "caption"]
    assert batch["id"].tolist() == [7]
    assert torch.equal(batch["caption"], expected)

    first, *rest = TextAugCollate(TOKENIZER, several, caption=0)([(CAPTIONS[0], 7, torch.zeros(2))])
    assert torch.equal(first, expected)
    assert [part.shape for part in rest] == [(1,), (1, 2)]

    (only,) = TextAugCollate(TOKENIZER, several, caption=-1)([(CAPTIONS[0],)])
    assert torch.equal(only, expected)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_that_stay_follow_the_epoch(one: TextSampler, start: str) -> None:
    epoch, counts = SharedEpoch(), DrawCounts(one.strategies, workers=1)
    loader: DataLoader[object] = DataLoader(
        PAIRS,  # type: ignore[arg-type]
        batch_size=16,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context=start,
        collate_fn=TextAugCollate(TOKENIZER, one, epoch, counts=counts),
    )
    for number in (0, 4):
        epoch.set(number)
        tokens = torch.cat([tokens for _, tokens in loader])
        assert torch.equal(tokens, TOKENIZER([one.texts(caption, number)[0] for caption in CAPTIONS]))
        assert counts.take().captions == len(CAPTIONS)
    assert one.texts(CAPTIONS[0], 0) == one.texts(CAPTIONS[0], 0)
    assert [one.texts(c, 0) for c in CAPTIONS] != [one.texts(c, 4) for c in CAPTIONS]


@pytest.mark.parametrize("workers", [0, 2])
def test_webdataset_stage(dataset: Dataset, several: TextSampler, workers: int) -> None:
    pipeline = webdataset.DataPipeline(
        webdataset.SimpleShardList(dataset.shards),
        webdataset.split_by_worker,
        webdataset.tarfile_to_samples(),
        webdataset.decode("torchrgb"),
        TextStage(several, tokenizer=TOKENIZER),
        webdataset.to_tuple("png", "txt"),
        webdataset.batched(8),
    )
    batches = list(webdataset.WebLoader(pipeline, batch_size=None, num_workers=workers))

    assert {tuple(tokens.shape[1:]) for _, tokens in batches} == {(4, 32)}
    rows = torch.cat([flatten_texts(tokens) for _, tokens in batches])
    expected = TOKENIZER([text for caption in CAPTIONS for text in texts_of(caption)])
    groups = sorted(group.flatten().tolist() for group in rows.split(4))
    assert groups == sorted(group.flatten().tolist() for group in expected.split(4))


def test_webdataset_stage_without_tokenizer(one: TextSampler) -> None:
    epoch = SharedEpoch(2)
    stage = TextStage(one, epoch, key="caption", into="texts")
    samples = [{"__key__": str(i), "caption": caption} for i, caption in enumerate(CAPTIONS)]

    found = list(stage(samples))
    assert [sample["texts"] for sample in found] == [list(one.texts(caption, 2)) for caption in CAPTIONS]
    assert [sample["caption"] for sample in found] == list(CAPTIONS)
    assert "texts" not in samples[0]  # the samples that came in stay as they are


def test_huggingface_map_stores_the_texts(several: TextSampler) -> None:
    table = datasets.Dataset.from_dict({"caption": list(CAPTIONS), "id": list(range(len(CAPTIONS)))})
    mapped = table.map(TextMap(several), batched=True, batch_size=10)

    assert mapped.column_names == ["caption", "id", "texts"]
    assert list(mapped["texts"]) == [texts_of(caption) for caption in CAPTIONS]
    assert list(mapped["id"]) == list(range(len(CAPTIONS)))


def test_huggingface_transform_follows_the_epoch(one: TextSampler) -> None:
    epoch = SharedEpoch()
    table = datasets.Dataset.from_dict({"caption": list(CAPTIONS)}).with_transform(TextMap(one, epoch))
    for number in (0, 3):
        epoch.set(number)
        assert [row["texts"] for row in table] == [list(one.texts(caption, number)) for caption in CAPTIONS]


def test_mistakes_are_explained(several: TextSampler) -> None:
    with pytest.raises(ConfigurationError, match="is a Tensor, not a text"):
        TextAugCollate(TOKENIZER, several, caption=0)(PAIRS[:1])
    with pytest.raises(ConfigurationError, match=r"no 'caption' in keys \['image', 'text'\]"):
        TextAugCollate(TOKENIZER, several, caption="caption")([{"image": 1, "text": "a dog"}])
    with pytest.raises(ConfigurationError, match="no 2 in a tuple"):
        TextAugCollate(TOKENIZER, several, caption=2)(PAIRS[:1])
    with pytest.raises(ConfigurationError, match="after decode"):
        list(TextStage(several)([{"txt": b"a red dog"}]))
    with pytest.raises(ConfigurationError, match="no 'caption'"):
        TextMap(several)({"title": ["a red dog"]})
    with pytest.raises(CacheMissError, match=r"a whale.*on_miss='original' in a loop of your own"):
        TextMap(several)({"caption": ["a whale"]})


def test_a_text_is_no_list_of_its_letters(several: TextSampler) -> None:
    """``map`` without ``batched=True`` gives rows, whose captions were taken for as many as they have letters."""
    eda = sampler_for(TextAugOptions(mode="eda"))  # misses nothing
    table = datasets.Dataset.from_dict({"caption": list(CAPTIONS)})
    with pytest.raises(ConfigurationError, match=r"batched=True"):
        table.map(TextMap(eda))
    with pytest.raises(ConfigurationError, match="no 1 in a str"):
        TextAugCollate(TOKENIZER, eda)(CAPTIONS)
    assert len(table.map(TextMap(eda), batched=True)) == len(CAPTIONS)


def test_caches_may_be_paths_and_a_list(cache: Path, several: TextSampler) -> None:
    for one in (cache, [cache], [str(cache)], (cache,)):
        sampler = sampler_for(TextAugOptions(mode="laclip-mt", cache=one))
        assert sampler.texts(CAPTIONS[0], 0) == several.texts(CAPTIONS[0], 0)
    with pytest.raises(ConfigurationError, match=r"no such directory; build it with: .* --cache no/dir"):
        TextAugOptions(mode="laclip", cache=Path("no/dir"))


def test_misses_are_counted(tmp_path: Path) -> None:
    half = make_cache(tmp_path / "half", CAPTIONS[:24])
    sampler = sampler_for(TextAugOptions(mode="laclip-mt", cache=str(half), on_miss="original"))
    counts = DrawCounts(sampler.strategies, workers=0)
    TextAugCollate(TOKENIZER, sampler, counts=counts)(PAIRS)

    taken = counts.take()
    assert taken.missed == 24
    assert taken.sources["chatgpt"] == 24
    assert taken.sources["original"] == 24 + 4 * 24


def test_a_loop_of_ones_own_learns(several: TextSampler) -> None:
    """The loss as a plain module, in a loop without open_clip's trainer, model or distributed set-up."""
    torch.manual_seed(0)
    epoch = SharedEpoch()
    loader = DataLoader(PAIRS, batch_size=16, collate_fn=TextAugCollate(TOKENIZER, several, epoch))  # type: ignore[arg-type]
    images, words = torch.nn.Embedding(48, 16), torch.nn.EmbeddingBag(49408, 16, padding_idx=0)
    scale = torch.nn.Parameter(torch.tensor(2.0))
    optimiser = torch.optim.Adam([*images.parameters(), *words.parameters(), scale], lr=0.05)
    loss = MultiTextLoss()
    values = []
    for number in range(12):
        epoch.set(number)
        for pixels, tokens in loader:
            features = F.normalize(images(pixels[:, 0].long()), dim=-1), F.normalize(words(tokens), dim=-1)
            value = loss(*features, scale.exp())
            assert isinstance(value, torch.Tensor)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            values.append(value.item())

    slices = [loss(features[0], features[1].view(16, 4, 16)[:, j], scale.exp()) for j in range(4)]
    assert loss(*features, scale.exp()).item() == pytest.approx(sum(slices).item() / 4, rel=1e-5)
    assert values[-1] < 0.5 * values[0]


def test_a_map_with_keys_of_images_travels_to_workers(several: TextSampler) -> None:
    sent = pickle.loads(pickle.dumps(TextMap(several, image_key="uid")))  # noqa: S301 - as to a spawned worker
    batch = {"caption": [CAPTIONS[0]], "uid": ["a"]}
    assert sent(batch) == {**batch, "texts": [texts_of(CAPTIONS[0])]}

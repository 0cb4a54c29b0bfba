"""What a run notes of its text augmentation: parameters, scalars, and a warning where a resumed run had other."""

from __future__ import annotations

import json
import re
import shlex
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import open_clip_train.main as upstream_main
import open_clip_train.train as upstream_train
import pytest
import torch
from open_clip import ClipLoss, SimpleTokenizer
from torch import distributed, multiprocessing

from laclip_aug.augmenter import Outcome, Rewrite
from laclip_aug.cache.config import Config
from laclip_aug.cache.lookup import CachedAugmenter
from laclip_aug.cache.writer import CacheWriter
from laclip_aug.eda import EDAAugmenter
from laclip_aug.errors import ConfigurationError
from laclip_aug.quality.context import context_for
from laclip_aug.training import provenance
from laclip_aug.training.augmentation import TextAugmentation
from laclip_aug.training.options import TextAugOptions

from .conftest import CAPTIONS, Dataset, make_cache

Train = Callable[..., Path]


class Writer:
    """A TensorBoard ``SummaryWriter``, by the one method that the trainer calls."""

    def __init__(self, *args: object, **named: object) -> None:
        self.scalars: list[tuple[str, float, int]] = []

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, float(value), step))


def test_draws_go_to_tensorboard_and_wandb(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_cache(tmp_path / "made", CAPTIONS[:36])
    writer, logged = Writer(), []
    monkeypatch.setattr(upstream_main, "tensorboard", SimpleNamespace(SummaryWriter=lambda *args: writer))
    fake = SimpleNamespace(
        __name__="wandb",
        init=lambda **named: None,
        log=lambda values, step=None: logged.append((step, values)),
        watch=lambda *args, **named: None,
        save=lambda *args: None,
        finish=lambda: None,
    )
    for module in (upstream_main, upstream_train):
        monkeypatch.setattr(module, "wandb", fake, raising=False)
    chosen = ("--text-aug", "laclip-mt", "--text-aug-cache", str(made), "--text-aug-on-miss", "original")
    run = train(*chosen, "--report-to", "tensorboard,wandb")

    # 48 captions of 4 texts: of 12 captions all four are the original
    expected = {
        "text_aug/drawn/original": (36 + 48) / 192,
        **{f"text_aug/drawn/{name}": 36 / 192 for name in ("chatgpt", "bard", "human")},
        "text_aug/missed": 12.0,
        "text_aug/short": 0.0,
    }
    for step in (5, 11):  # the last of six steps in each epoch
        assert {n: v for n, v, at in writer.scalars if at == step and n.startswith("text_aug")} == expected
        (values,) = (values for at, values in logged if at == step and "text_aug/missed" in values)
        assert values == {**expected, "step": step}
    steps = [at for at, _ in logged if at is not None]
    assert steps == sorted(steps)  # W&B drops what goes back

    params = (run / "params.txt").read_text()
    assert f"text_aug_fingerprint: {CachedAugmenter(made).fingerprint()}\n" in params
    assert 'text_aug_texts: {"captions": 36, "sources": ["chatgpt", "bard", "human"]}\n' in params


def test_the_words_of_eda_are_in_the_parameters_and_in_the_log(train: Train) -> None:
    run = train("--text-aug", "eda", epochs=1)

    augmenter = EDAAugmenter(synonyms="builtin")
    params = (run / "params.txt").read_text()
    assert f"text_aug_fingerprint: {augmenter.fingerprint()}\n" in params
    (line,) = (line for line in params.splitlines() if line.startswith("text_aug_texts: "))
    assert json.loads(line.split(": ", 1)[1]) == augmenter.describe()
    assert augmenter.table.digest in (run / "out.log").read_text()


def test_several_sources_are_noted_and_counted(train: Train, cache: Path, tmp_path: Path) -> None:
    other = make_cache(tmp_path / "other", CAPTIONS)
    chosen = ("--text-aug", "laclip", "--text-aug-cache", str(cache), "--text-aug-cache", str(other))
    run = train(*chosen, "--text-aug-with", "eda", "--text-aug-weights", "original=0,other/bard=2", epochs=1)

    params = (run / "params.txt").read_text()
    assert f"text_aug_cache: ('{cache}', '{other}')\n" in params
    assert "text_aug_with: ('eda',)\n" in params
    assert "text_aug_weights: {'original': 0.0, 'other/bard': 2.0}\n" in params
    log = (run / "out.log").read_text()
    assert f"48 of 48 training captions (100.0%) are in the cache {other}, with 3.00 rewrites each" in log
    (line,) = (line for line in log.splitlines() if "texts drawn" in line)
    assert "48 texts drawn: original 0 (0.0%), " in line
    assert all(f"{name}/{source} " in line for name in (cache.name, "other") for source in ("chatgpt", "bard", "human"))


def test_a_resumed_run_with_other_augmentation_is_told(train: Train, cache: Path) -> None:
    chosen = ("--text-aug", "laclip", "--text-aug-cache", str(cache))
    first = train(*chosen, epochs=1)
    resume = ("--resume", str(first / "checkpoints" / "epoch_1.pt"))

    other = train(*chosen, "--text-aug-seed", "5", *resume, name="other")
    log = (other / "out.log").read_text()
    assert "WARNING" in log
    assert "the resumed run had other text augmentation: text_aug_seed was 0, is 5\n" in log
    same = train(*chosen, *resume, name="same")
    assert "other text augmentation" not in (same / "out.log").read_text()
    none = train(*resume, name="none")
    assert "text_aug was laclip, is none\n" in (none / "out.log").read_text()


def test_the_latest_checkpoint_is_compared_before_its_parameters_are_replaced(train: Train, cache: Path) -> None:
    chosen = ("--text-aug", "laclip", "--text-aug-cache", str(cache), "--save-most-recent")
    train(*chosen, epochs=1)
    run = train(*chosen, "--resume", "latest", "--text-aug-original-prob", "0.5")

    assert "text_aug_original_prob was None, is 0.5\n" in (run / "out.log").read_text()


def test_the_same_texts_at_another_place_are_the_same() -> None:
    before = {"text_aug": "laclip", "text_aug_cache": "old", "text_aug_fingerprint": "1", "text_aug_seed": "0"}
    now = {"text_aug": "laclip", "text_aug_cache": "new", "text_aug_fingerprint": "1", "text_aug_seed": 0}

    assert provenance.differences(before, now) == []
    changed = provenance.differences(before, now | {"text_aug_fingerprint": "2"})
    assert changed == ["text_aug_cache was old, is new", "text_aug_fingerprint was 1, is 2"]
    assert provenance.differences({}, now) == ["text_aug was none, is laclip"]  # a run of open_clip's own
    assert provenance.differences(None, now) == []


def _rank(rank: int, folder: str) -> None:
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    provenance.check_ranks("same", 2)
    try:
        provenance.check_ranks(f"words {rank}", 2)
    except ConfigurationError as error:
        Path(folder, f"rank-{rank}").write_text(str(error))
    distributed.destroy_process_group()


def test_ranks_with_other_texts_stop_all_of_them(tmp_path: Path) -> None:
    multiprocessing.spawn(_rank, (str(tmp_path),), nprocs=2)

    for rank in (0, 1):
        assert "rank 0 words 0, rank 1 words 1" in (tmp_path / f"rank-{rank}").read_text()


class Info:
    """What a loader function of the trainer returns."""

    def __init__(self, dataset: object) -> None:
        self.dataloader = SimpleNamespace(dataset=dataset, num_batches=1)

    def set_epoch(self, epoch: int) -> None:
        pass


def test_the_sampled_text_side_is_drawn_anew_in_each_epoch(cache: Path) -> None:
    args: Namespace = upstream_main.parse_args([])
    vars(args).update(rank=0, world_size=1, distill=False, workers=0)
    generator = torch.Generator().manual_seed(0)
    images, texts = (torch.nn.functional.normalize(torch.randn(n, 8, generator=generator), dim=-1) for n in (8, 32))

    def values(seed: int, epochs: tuple[int, ...]) -> list[float]:
        """The loss of one batch in each epoch; which text of an image its text side has is all that changes."""
        options = TextAugOptions(mode="laclip-mt", cache=str(cache), mt_text_side="sampled", seed=seed)
        augmentation = TextAugmentation(options)
        augmentation.check(args)
        build = augmentation.dataset_fn(
            lambda args, preprocess, is_train, epoch=0, tokenizer=None: Info(SimpleNamespace(captions=CAPTIONS))
        )
        info: Any = build(args, None, is_train=True, epoch=0, tokenizer=lambda texts: torch.zeros(len(texts), 4))
        loss: Any = augmentation.loss(ClipLoss(), args)
        found = []
        for epoch in epochs:
            info.set_epoch(epoch)
            found.append(float(loss(images, texts, torch.tensor(10.0), row_ids=torch.arange(8))))
        return found

    first = values(0, (0, 1, 2))
    assert len(set(first)) == 3
    assert values(0, (2,)) == first[2:]  # a resumed run
    assert values(1, (0,)) != first[:1]


def test_a_new_epoch_compiles_nothing_anew() -> None:
    from torch._dynamo.testing import CompileCounter

    from laclip_aug.training.loss import MultiTextLoss

    counter = CompileCounter()
    loss = MultiTextLoss(text_side="sampled")
    compiled = torch.compile(loss, backend=counter)
    images, texts = (torch.nn.functional.normalize(torch.randn(n, 8), dim=-1) for n in (4, 12))
    values, frames = [], []
    for epoch in range(4):
        loss.step_seed = epoch
        values.append(float(compiled(images, texts, torch.tensor(10.0), row_ids=torch.arange(4))))
        frames.append(counter.frame_count)
        assert values[-1] == pytest.approx(float(loss(images, texts, torch.tensor(10.0), row_ids=torch.arange(4))))
    assert frames[-1] == frames[0] > 0
    assert len(set(values)) > 1


def held(*contexts: dict[str, Any] | None) -> SimpleNamespace:
    """A look-up whose manifest has a configuration for each of ``contexts``."""
    describes = [{} if context is None else {"context": context} for context in contexts]
    return SimpleNamespace(manifest=SimpleNamespace(configs=[SimpleNamespace(describe=d) for d in describes]))


def test_texts_made_for_another_context_are_warned_of(train: Train, tmp_path: Path) -> None:
    clip = {"tokens": 32, "tokenizer": "clip", "model": "ViT-B-32:32"}
    for name, context in (("same", clip), ("longer", clip | {"tokens": 77})):
        config = Config("llm", "test", seed=0, n=1, sources=("chatgpt",), describe={"context": context})
        with CacheWriter(tmp_path / name, config) as writer:
            for caption in CAPTIONS:
                writer.new([caption])
                writer.add(Outcome(caption, (Rewrite("chatgpt", f"a photo of {caption}"),)))
            writer.finish()
        run = train("--text-aug", "laclip", "--text-aug-cache", str(tmp_path / name), name=f"run-{name}", epochs=1)
        log = (run / "out.log").read_text()
        assert ("the cache's texts were held to 77 tokens of CLIP, and " in log) == (name == "longer")
        assert ("reads 32 tokens of CLIP; build a cache for it with --for-model " in log) == (name == "longer")


@pytest.mark.parametrize("length", [32, 16])
def test_the_advised_model_is_one_that_a_build_knows(
    train: Train, dataset: Dataset, tmp_path: Path, length: int
) -> None:
    own = tmp_path / "my own clip.json"
    own.write_text((dataset.model / "tiny-clip.json").read_text())
    config = Config("llm", "test", seed=0, n=1, sources=("chatgpt",), describe={"context": {"tokens": 77}})
    with CacheWriter(tmp_path / "cache", config) as writer:
        writer.new([CAPTIONS[0]])
        writer.add(Outcome(CAPTIONS[0], (Rewrite("chatgpt", f"a photo of {CAPTIONS[0]}"),)))
        writer.finish()
    chosen = ["--text-aug", "laclip", "--text-aug-cache", str(tmp_path / "cache"), "--text-aug-on-miss", "original"]
    chosen += ["--model-config", str(own), "--model", "my own clip"]
    chosen += [] if length == 32 else ["--force-context-length", str(length)]
    log = (train(*chosen, epochs=1) / "out.log").read_text()

    _, model = shlex.split(re.findall(r"build a cache for it with (--for-model .*)", log)[0])
    assert context_for(model).tokens == length


def test_a_name_with_a_slash_is_advised_as_a_build_knows_it(caplog: pytest.LogCaptureFixture) -> None:
    """The trainer takes ``ViT-B/32`` for ``ViT-B-32``."""
    tokenizer, args = SimpleTokenizer(), Namespace(rank=0, model="ViT-B/32", force_context_length=None)
    provenance.warn_of_contexts(held({"tokens": 64, "tokenizer": "clip"}), tokenizer, args)
    assert caplog.messages[0].endswith("--for-model ViT-B-32")


def test_which_contexts_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer, args = SimpleTokenizer(context_length=64), Namespace(rank=0, model="ViT-B-32", force_context_length=64)
    clip = {"tokens": 64, "tokenizer": "clip"}
    other = {"tokens": 64, "tokenizer": "0123456789abcdef", "model": "ViT-B-16-SigLIP"}
    for contexts in ([None], [clip], []):
        provenance.warn_of_contexts(held(*contexts), tokenizer, args)
    provenance.warn_of_contexts(held(other), tokenizer, Namespace(**{**vars(args), "rank": 1}))
    provenance.warn_of_contexts(held(other), None, args)
    provenance.warn_of_contexts(EDAAugmenter(), tokenizer, args)
    assert not caplog.records

    provenance.warn_of_contexts(held(clip, other, None, other), tokenizer, args)
    assert [record.getMessage() for record in caplog.records] == [
        "the cache's texts were held to 64 tokens of ViT-B-16-SigLIP, and ViT-B-32 reads 64 tokens of CLIP; build a "
        "cache for it with --for-model ViT-B-32:64"
    ]

"""Installing, refusing, restoring; and whole runs of the trainer through the hook."""

from __future__ import annotations

import json
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import open_clip
import open_clip_train.data
import open_clip_train.main
import open_clip_train.zero_shot
import pytest
import torch
from PIL import Image

from laclip_aug import openclip
from laclip_aug.errors import ConfigurationError, UnknownNameError, UnsupportedOpenClipError
from laclip_aug.training import hook
from laclip_aug.training.augmentation import TextAugmentation
from laclip_aug.training.loader import TrainingLoader
from laclip_aug.training.loss import MultiTextLoss
from laclip_aug.training.options import TextAugOptions
from laclip_aug.training.parser import add_arguments
from laclip_aug.training.sampling import Draw, TextSampler

from .conftest import CAPTIONS, STRATEGIES, Dataset, make_cache

Train = Callable[..., Path]
LOSS = openclip.loss_seam().name
GLOBALS = (
    (open_clip_train.main, "parse_args"),
    (open_clip_train.main, LOSS),
    (open_clip_train.main, "create_model_and_transforms"),
    (open_clip_train.data, "get_dataset_fn"),
)


def options(cache: Path, **changes: object) -> TextAugOptions:
    return TextAugOptions(**{"mode": "laclip-mt", "cache": str(cache), **changes})  # type: ignore[arg-type]


def test_uninstall_restores_every_global(cache: Path) -> None:
    before = [getattr(module, name) for module, name in GLOBALS]

    with hook.install(options(cache)):
        assert all(getattr(module, name) is not old for (module, name), old in zip(GLOBALS, before, strict=True))
    assert [getattr(module, name) for module, name in GLOBALS] == before

    with pytest.raises(ZeroDivisionError), hook.install(options(cache)):
        raise ZeroDivisionError
    assert [getattr(module, name) for module, name in GLOBALS] == before


def test_installing_twice_is_refused(cache: Path) -> None:
    with hook.install(options(cache)), pytest.raises(ConfigurationError, match="uninstall"):
        hook.install(options(cache))


@pytest.mark.parametrize("version", ["2.28.0", "4.3.0", "unknown"])
def test_an_unknown_version_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(open_clip, "__version__", version)
    with pytest.raises(UnsupportedOpenClipError, match=re.escape(version)):
        hook.install(options(cache))


def test_a_missing_seam_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_clip_train.main.parse_args
    monkeypatch.delattr(open_clip_train.main, LOSS)
    with pytest.raises(UnsupportedOpenClipError, match="create_loss is missing"):
        hook.install(options(cache))
    assert open_clip_train.main.parse_args is before


def test_a_changed_signature_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_clip_train.data, "get_dataset_fn", lambda path: None)
    with pytest.raises(UnsupportedOpenClipError, match="dataset_type"):
        hook.install(options(cache))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--model", "coca_ViT-B-32"], "decodes one caption"),
        (
            ["--distill-model", "ViT-B-32", "--distill-pretrained", "openai", "--accum-freq", "2"],
            "no distillation with --accum-freq",
        ),
        *([(["--horovod"], "torchrun")] if hasattr(open_clip_train.main, "hvd") else []),  # until open_clip 4
    ],
)
def test_several_texts_are_refused_where_they_cannot_be_right(cache: Path, arguments: list[str], word: str) -> None:
    with hook.install(options(cache)), pytest.raises(ConfigurationError, match=word):
        open_clip_train.main.parse_args(arguments)
    with hook.install(options(cache, mode="laclip")):
        open_clip_train.main.parse_args(arguments)  # one text per image is fine


def test_a_changed_trainer_gets_its_augmentation_from_its_own_arguments(cache: Path) -> None:
    parser = ArgumentParser()
    add_arguments(parser)
    ours = parser.parse_args(["--text-aug", "laclip-mt", "--text-aug-cache", str(cache), "--text-aug-num-texts", "2"])

    plain = open_clip_train.main.parse_args(["--seed", "7"])
    vars(plain).update(vars(ours))
    augmentation = hook.from_namespace(plain)
    assert augmentation.options == options(cache, num_texts=2)
    assert plain.seed == 7
    with hook.install(options(cache)):
        assert hook.from_namespace(plain).options.mode == "none"  # the hook does it all

    captioner = open_clip_train.main.parse_args(["--model", "coca_ViT-B-32"])
    vars(captioner).update(vars(ours))
    with pytest.raises(ConfigurationError, match="decodes one caption"):
        hook.from_namespace(captioner)


def test_a_captioning_model_of_another_name_is_refused(cache: Path, tmp_path: Path) -> None:
    config = open_clip.get_model_config("coca_ViT-B-32")
    (tmp_path / "my-captioner.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "my-captioner.json")
    for name in ("my-captioner", "my/captioner"):  # one and the same to the trainer
        with hook.install(options(cache)), pytest.raises(ConfigurationError, match="decodes one caption"):
            open_clip_train.main.parse_args(["--model", name])


@pytest.mark.parametrize("name", ["hf-hub:me/tiny", "local-dir:no/such/folder", "local-dir:", "ViT-B/32"])
def test_a_models_configuration_is_not_fetched(cache: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--cache-dir`` says where it is, and each process would fetch it; what is not there the trainer says itself."""

    def fetch(*args: object, **named: object) -> None:
        pytest.fail("the hub was asked")

    monkeypatch.setattr("open_clip.factory.download_pretrained_from_hf", fetch)
    with hook.install(options(cache)):
        open_clip_train.main.parse_args(["--model", name])


@pytest.mark.parametrize(
    ("name", "value"), [("length_bucketing", True), ("genlip", True), ("dataset_type", "webdataset-audio")]
)
def test_batches_of_another_form_are_refused(cache: Path, name: str, value: object) -> None:
    arguments = open_clip_train.main.parse_args(["--dataset-type", "synthetic"])
    with hook.install(options(cache, mode="laclip")):
        build = open_clip_train.data.get_dataset_fn(None, "synthetic")
    setattr(arguments, name, value)  # as open_clip 4 does, once it knows the model
    with pytest.raises(ConfigurationError, match=rf"(?s)one length.*{name}"):
        build(arguments, None, is_train=True)


@pytest.fixture
def arguments() -> Namespace:
    """What the trainer's loss is made from."""
    arguments: Namespace = open_clip_train.main.parse_args([])
    vars(arguments).update(rank=0, world_size=1, distill=False)
    return arguments


def test_a_task_of_open_clip_4_gets_the_multi_text_loss(
    cache: Path, arguments: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = open_clip.ClipLoss()

    def create_task(args: Namespace, model: torch.nn.Module, dist_model: object = None) -> torch.nn.Module:
        model.loss = plain
        return model

    monkeypatch.setattr(open_clip_train.main, "create_task", create_task, raising=False)
    with hook.install(options(cache)):
        task = open_clip_train.main.create_task(arguments, model=torch.nn.Linear(1, 1), dist_model=None)
        assert isinstance(task.loss, MultiTextLoss)
        assert task.loss.single is plain
    with hook.install(options(cache, mode="laclip")):
        assert open_clip_train.main.create_task(arguments, model=torch.nn.Linear(1, 1)).loss is plain
    assert open_clip_train.main.create_task is create_task


@pytest.mark.parametrize(("siglip", "said"), [(True, 1), (False, 0)])
def test_an_exchange_of_open_clips_that_several_texts_do_not_use_is_named(
    cache: Path, arguments: Namespace, siglip: bool, said: int, caplog: pytest.LogCaptureFixture
) -> None:
    vars(arguments).update(siglip=siglip, loss_dist_impl="reduce", world_size=2)
    loss = open_clip.loss.SigLipLoss() if siglip else open_clip.ClipLoss()
    for mode, times in (("laclip-mt", said), ("laclip", 0)):
        caplog.clear()
        TextAugmentation(options(cache, mode=mode)).loss(loss, arguments)
        assert [record.levelname for record in caplog.records] == ["WARNING"] * times
        assert ("--loss-dist-impl reduce" in caplog.text) == bool(times)


def test_a_task_without_a_loss_cannot_take_several_texts(
    cache: Path, arguments: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_clip_train.main, "create_task", lambda args, model: model, raising=False)
    with hook.install(options(cache)), pytest.raises(ConfigurationError, match="Linear of open_clip has no"):
        open_clip_train.main.create_task(arguments, torch.nn.Linear(1, 1))


def test_batches_that_are_dicts_stay_dicts() -> None:
    images, texts = torch.zeros(2, 3, 4, 4), torch.arange(12).view(2, 3, 2)
    (batch,) = TrainingLoader([{"image": images, "text": texts, "key": ["a", "b"]}], lambda t, k: None, lambda: None)

    assert batch["image"] is images
    assert batch["key"] == ["a", "b"]
    assert batch["text"].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]


def test_trimming_is_left_out_under_fsdp(cache: Path, arguments: Namespace, caplog: pytest.LogCaptureFixture) -> None:
    arguments.fsdp = True
    augmentation = TextAugmentation(options(cache))
    augmentation.check(arguments)
    with caplog.at_level("INFO"):
        augmentation.trim(torch.nn.Linear(1, 1))
    assert "text trimming off: --fsdp" in caplog.text


def test_siglip_refuses_options_of_infonce_before_any_work(cache: Path) -> None:
    with hook.install(options(cache, mt_negatives="all")), pytest.raises(ConfigurationError, match="sigmoid"):
        open_clip_train.main.parse_args(["--siglip"])


def test_a_strategy_that_the_cache_lacks_is_refused(cache: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'human'"):
        hook.install(options(cache, strategies=("humane",)))


def test_more_texts_than_there_are_is_refused(cache: Path) -> None:
    with pytest.raises(ConfigurationError, match="there are 4"):
        hook.install(options(cache, num_texts=5))
    with pytest.raises(ConfigurationError, match="there are 3"):
        hook.install(options(cache, num_texts=4, strategies=("human", "bard")))


def record_draws(monkeypatch: pytest.MonkeyPatch) -> dict[int, set[tuple[str, ...]]]:
    """Every draw of the samplers from now on, by epoch."""
    seen: dict[int, set[tuple[str, ...]]] = {}
    draw = TextSampler.draw

    def recording(self: TextSampler, caption: str, epoch: int, image: bytes) -> Draw:
        drawn = draw(self, caption, epoch, image)
        seen.setdefault(epoch, set()).add(drawn.texts)
        return drawn

    monkeypatch.setattr(TextSampler, "draw", recording)
    return seen


def test_a_resumed_run_draws_the_same_texts(train: Train, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ("--text-aug", "laclip", "--text-aug-cache", str(cache), "--text-aug-seed", "5")
    fresh = record_draws(monkeypatch)
    first = train(*chosen)
    whole = {epoch: set(texts) for epoch, texts in fresh.items()}
    fresh.clear()
    train(*chosen, "--resume", str(first / "checkpoints" / "epoch_1.pt"), name="resumed")

    assert set(whole) == {0, 1}
    assert fresh == {1: whole[1]}


def test_draws_coverage_and_options_are_logged(train: Train, tmp_path: Path) -> None:
    made = make_cache(tmp_path / "made", CAPTIONS[:36], missing={CAPTIONS[0]: "bard"})
    run = train("--text-aug", "laclip-mt", "--text-aug-cache", str(made), "--text-aug-on-miss", "original")

    log = (run / "out.log").read_text()
    assert "36 of 48 training captions (75.0%)" in log
    assert "text trimming on" in log
    # 48 captions of 4 texts; 12 captions missed give 48 originals, one without bard repeats the original
    for epoch in (0, 1):
        assert f"text augmentation, epoch {epoch}: 192 texts drawn: original 85 (44.3%), chatgpt 36" in log
    assert "bard 35" in log
    assert "human 36" in log
    assert "12 captions missed the cache" in log
    params = (run / "params.txt").read_text()
    assert "text_aug: laclip-mt\n" in params
    assert f"text_aug_cache: {made}\n" in params


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize(
    "loss", [[], ["--siglip"], ["--text-aug-mt-text-side", "sampled"], ["--text-aug-mt-mask-duplicates"]]
)
def test_several_texts_train_with_each_loss(train: Train, cache: Path, loss: list[str], accumulation: int) -> None:
    chosen = ("--text-aug", "laclip-mt", "--text-aug-cache", str(cache), "--accum-freq", str(accumulation))
    run = train(*chosen, *loss, epochs=1)

    assert len(losses(run)) == 6 // accumulation
    assert all(0 < value < 20 for value in losses(run))


def test_webdataset_trains_through_the_command(train: Train, dataset: Dataset, cache: Path) -> None:
    run = train(
        "--text-aug", "laclip-mt", "--text-aug-cache", str(cache), "--dataset-type", "webdataset", data=dataset.shards
    )

    log = (run / "out.log").read_text()
    assert "48 of 48 sampled training captions (100.0%)" in log
    assert f"192 texts drawn: original 48 (25.0%), {', '.join(f'{s} 48 (25.0%)' for s in STRATEGIES)}" in log


def test_validation_and_zero_shot_stay_plain(
    train: Train, dataset: Dataset, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["dog", "cat", "boat", "tree", "car"]
    for name in names:
        (tmp_path / "imagenet" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "imagenet" / name / "0.png")
    monkeypatch.setattr(open_clip_train.zero_shot, "IMAGENET_CLASSNAMES", names)
    monkeypatch.setattr(open_clip_train.zero_shot, "OPENAI_IMAGENET_TEMPLATES", [lambda name: f"a photo of a {name}"])
    prompts: list[torch.Tensor] = []
    build = open_clip_train.zero_shot.build_zero_shot_classifier

    def spying(model: object, tokenizer: Callable[..., torch.Tensor], **rest: object) -> object:
        prompts.append(tokenizer(["a photo of a dog"]))
        return build(model, tokenizer=tokenizer, **rest)

    monkeypatch.setattr(open_clip_train.zero_shot, "build_zero_shot_classifier", spying)
    evaluation = ("--val-data", str(dataset.csv), "--imagenet-val", str(tmp_path / "imagenet"))
    run = train("--text-aug", "laclip-mt", "--text-aug-cache", str(cache), *evaluation)

    results = [json.loads(line) for line in (run / "checkpoints" / "results.jsonl").read_text().splitlines()]
    assert [result["num_samples"] for result in results] == [48, 48]
    assert results[-1]["imagenet-zeroshot-val-top1"] in (0, 0.2, 0.4, 0.6, 0.8, 1)  # of five images
    assert results[-1]["imagenet-zeroshot-val-top5"] == 1
    plain = open_clip.SimpleTokenizer(context_length=32)(["a photo of a dog"])
    assert len(prompts) == 1
    assert torch.equal(prompts[0], plain)


def test_a_trimmed_run_agrees_with_an_untrimmed_one(train: Train, cache: Path) -> None:
    chosen = ("--text-aug", "laclip", "--text-aug-cache", str(cache))
    trimmed = train(*chosen, epochs=1)
    plain = train(*chosen, "--text-aug-trim", "off", name="plain", epochs=1)

    assert "text trimming on" in (trimmed / "out.log").read_text()
    assert "text trimming" not in (plain / "out.log").read_text()
    # Compared by losses: AdamW blows rounding up to its step size in weights whose gradient is zero but for rounding.
    assert losses(trimmed) == pytest.approx(losses(plain), rel=1e-3)


def losses(run: Path) -> list[float]:
    """The loss of each step, from the log."""
    log = (run / "out.log").read_text()
    return [float(found) for found in re.findall(r"Train Epoch.*Contrastive_loss: (\S+)", log)]


def test_version_is_the_installed_one() -> None:
    assert openclip.version() == open_clip.__version__


def test_uninstall_leaves_a_wrapper_of_others_in_place(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, calls = open_clip_train.main.parse_args, []
    monkeypatch.setattr(open_clip_train.main, "parse_args", plain)  # so that it is put back after the test
    with hook.install(options(cache)):
        ours = open_clip_train.main.parse_args

        def theirs(args: list[str]) -> Namespace:
            calls.append(args)
            return ours(args)

        open_clip_train.main.parse_args = theirs
        assert open_clip_train.main.parse_args([]).text_aug == "laclip-mt"
    assert open_clip_train.main.parse_args is theirs
    assert not hasattr(open_clip_train.main.parse_args([]), "text_aug")  # ours passes the call on
    assert len(calls) == 2


def test_a_loader_that_moved_and_is_told_more_is_found_by_its_parameters(
    cache: Path, arguments: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in open_clip after 4.2.0.dev0: other modules, another order, and traits of the model."""
    moved: Any = ModuleType("open_clip_train.elsewhere")
    seen = []

    def load(args: Namespace, traits: object, preprocess: object, *, is_train: bool, tokenizer: Any, epoch: int) -> Any:
        seen.append((traits, tokenizer))
        return SimpleNamespace(dataloader=SimpleNamespace(dataset=SimpleNamespace(captions=CAPTIONS)), set_epoch=None)

    def get_data(args: Namespace, preprocess: object, epoch: int = 0, tokenizer: object = None) -> Any:
        chosen = moved.get_dataset_fn("x.csv", dataset_type="csv")
        return chosen(args, traits, preprocess, is_train=True, tokenizer=tokenizer, epoch=epoch)

    get_data.__module__ = moved.__name__
    moved.get_dataset_fn = lambda data_path, dataset_type: load
    monkeypatch.setitem(sys.modules, moved.__name__, moved)
    monkeypatch.setattr(open_clip_train.main, "get_data", get_data)
    traits = SimpleNamespace(variable_text=False)
    arguments.workers = 0
    with hook.install(options(cache)):
        get_data(arguments, None, tokenizer=open_clip.SimpleTokenizer(context_length=8))
        *_, (told, tokenizer) = seen  # before it comes a trial of the order of image and caption
        assert told is traits
        assert tokenizer("a red dog").shape == (1, 4, 8)
        traits = SimpleNamespace(variable_text=True)
        with pytest.raises(ConfigurationError, match="variable_text"):
            get_data(arguments, None, tokenizer=None)

    del moved.get_dataset_fn
    with pytest.raises(UnsupportedOpenClipError, match=r"elsewhere\.get_dataset_fn is missing"):
        hook.install(options(cache))


def test_a_loader_without_a_known_parameter_is_refused(cache: Path) -> None:
    with pytest.raises(UnsupportedOpenClipError, match="no parameter tokenizer"):
        TextAugmentation(options(cache)).dataset_fn(lambda args, is_train, epoch, encode: None)


def test_a_loss_may_be_made_with_the_model(cache: Path, arguments: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_clip_train.main, LOSS, lambda model, args: open_clip.CoCaLoss(1, 1))
    monkeypatch.delattr(open_clip_train.main, "create_task", raising=False)
    made = open_clip.ClipLoss()
    monkeypatch.setattr(open_clip_train.main, "create_loss", lambda model, args: made, raising=False)
    with hook.install(options(cache)):
        loss = open_clip_train.main.create_loss(torch.nn.Linear(1, 1), arguments)
        assert isinstance(loss, MultiTextLoss)
        assert loss.single is made
    made = open_clip.CoCaLoss(1, 1)
    with hook.install(options(cache)), pytest.raises(ConfigurationError, match="CoCaLoss pairs one text"):
        open_clip_train.main.create_loss(torch.nn.Linear(1, 1), arguments)

"""Every option of open_clip's trainer that text augmentation could break, through the real command.

Where a step's gradient can be compared, it must be open_clip's own under the same option: for ``laclip`` that of plain
open_clip on the drawn texts, for ``laclip-mt`` the mean of those on each slice of texts.
"""

from __future__ import annotations

import json
import re
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import which

import open_clip as upstream
import open_clip_train.data as upstream_data
import pytest
import torch

from laclip_aug import openclip
from laclip_aug.cache.lookup import CaptionCache
from laclip_aug.cli import open_clip
from laclip_aug.training import hook
from laclip_aug.training.options import TextAugOptions
from laclip_aug.training.sampling import TextSampler

from .conftest import CAPTIONS, Dataset, checkpoint, same_bits
from .one_step import Batch, Gradients, Run, error, first_gradients, make_batch, mean
from .upstream import IMAGE_FIRST, KNOWS_DIRECTORIES, LOCKS_TEXT, RESUMES

Train = Callable[..., Path]
ROUNDING, HALF_ROUNDING = 1e-5, 0.05
OPTIONS: dict[str, tuple[tuple[str, ...], int, float]] = {
    "amp_bf16": (("--precision", "amp_bf16"), 1, HALF_ROUNDING),
    "bf16": (("--precision", "bf16"), 1, HALF_ROUNDING),
    "amp_bf16, siglip, two processes": (("--precision", "amp_bf16", "--siglip"), 2, HALF_ROUNDING),
    "grad-checkpointing": (("--grad-checkpointing",), 1, ROUNDING),
    "grad-checkpointing, two processes": (
        ("--grad-checkpointing", "--local-loss", "--gather-with-grad", "--accum-freq", "2", "--batch-size", "2"),
        2,
        ROUNDING,
    ),
    "ddp-static-graph": (("--ddp-static-graph", "--gather-with-grad"), 2, ROUNDING),
    "distill": (("--distill-model", "one-step-clip", "--distill-pretrained", "teacher.pt"), 1, ROUNDING),
    "distill, two processes": (
        (
            "--distill-model",
            "one-step-clip",
            "--distill-pretrained",
            "teacher.pt",
            "--local-loss",
            "--gather-with-grad",
        ),
        2,
        ROUNDING,
    ),
    "force-custom-text": (("--force-custom-text",), 1, ROUNDING),
    "lock-image": (("--lock-image",), 1, ROUNDING),
    "lock-text": (("--lock-text", "--lock-text-freeze-layer-norm"), 1, ROUNDING),
    "lock-text, a layer unlocked": (
        ("--lock-text", "--lock-text-freeze-layer-norm", "--lock-text-unlocked-layers", "1"),
        1,
        ROUNDING,
    ),
}
if openclip.has_tasks():
    OPTIONS["naflex"] = (("--use-naflex", "--naflex-seq-lens", "4", "--naflex-max-tokens-per-batch", "32"), 1, ROUNDING)
if not LOCKS_TEXT:
    OPTIONS = {name: case for name, case in OPTIONS.items() if "--lock-text" not in case[0]}
RESUMED: dict[str, tuple[str, ...]] = {
    "laclip": (),
    "laclip-mt": ("--text-aug-num-texts", "2"),
    "laclip-mt, sampled": ("--text-aug-num-texts", "2", "--text-aug-mt-text-side", "sampled"),
}
if not RESUMES:
    RESUMED = {}


@dataclass(frozen=True)
class Found:
    gradients: dict[tuple[str, str], Gradients]
    root: Path


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    root = tmp_path_factory.mktemp("features")
    batch = make_batch(root)
    save_teacher(batch, root / "teacher.pt")
    runs: dict[tuple[str, str], Run] = {}
    for name, (options, processes, _) in {"plain": ((), 1, 0.0), **OPTIONS}.items():

        def add(key: str, data: Path = batch.slices[0], extra: tuple[str, ...] = (), name: str = name) -> None:
            options, processes, _ = OPTIONS.get(name, ((), 1, 0.0))
            runs[name, key] = batch.run(data, processes=processes, extra=(*options, *extra))

        for mode in ("laclip", "laclip-mt"):
            add(mode, extra=batch.augmented(mode))
        add("drawn", batch.drawn_alike if name == "naflex" else batch.drawn)
        for j, table in enumerate(batch.slices):
            add(f"slice {j}", table)
    for name, options in RESUMED.items():
        for key, extra in (
            ("whole", ()),
            ("resumed", ("--resume", str(root / f"{name} whole/checkpoints/epoch_1.pt"))),
        ):
            runs[name, key] = two_epochs(batch, root, f"{name} {key}", (*options, *extra))
    return Found(first_gradients(runs, root), root)


def save_teacher(batch: Batch, path: Path) -> None:
    """Weights for ``--distill-pretrained``: random ones, of a text tower that says much of a text."""
    upstream.add_model_config(batch.model)
    torch.manual_seed(1)
    model = upstream.create_model(batch.model.stem)
    with torch.no_grad():
        model.text_projection.normal_()
    torch.save(model.state_dict(), path)


def two_epochs(batch: Batch, root: Path, name: str, options: tuple[str, ...]) -> Run:
    """Two epochs of two steps in two processes, where open_clip's order of samples is a function of the epoch."""
    kept = ("--logs", str(root), "--name", name, "--epochs", "2", "--batch-size", "2")
    return batch.run(
        batch.slices[0], processes=2, extra=(*kept, *batch.augmented(name.split(",")[0].split()[0]), *options)
    )


@pytest.mark.parametrize("mode", ["laclip", "laclip-mt"])
@pytest.mark.parametrize("name", OPTIONS)
def test_gradients_are_open_clips_own_under_the_option(found: Found, name: str, mode: str) -> None:
    gradients, (_, _, tolerance) = found.gradients, OPTIONS[name]
    slices = [gradients[name, f"slice {j}"] for j in range(3)]
    expected = mean(slices) if mode == "laclip-mt" else gradients[name, "drawn"]
    for part in ("towers", "scalars"):
        assert error(gradients[name, mode][part], expected[part]) < tolerance
    assert error(gradients[name, mode]["towers"], slices[0]["towers"]) > 0.1


def test_the_options_were_at_work(found: Found) -> None:
    gradients = found.gradients
    plain = gradients["plain", "laclip-mt"]["towers"]
    for name in ("amp_bf16", "bf16"):
        assert error(gradients[name, "laclip-mt"]["towers"], plain) > 1e-4
    assert error(gradients["distill", "laclip-mt"]["towers"], plain) > 0.01
    for name in [name for name in OPTIONS if name.startswith("lock")]:
        assert len(gradients[name, "laclip-mt"]["towers"]) < len(plain)


@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(found: Found, name: str) -> None:
    whole, resumed = (checkpoint(found.root / f"{name} {key}") for key in ("whole", "resumed"))

    assert same_bits(resumed, whole)
    assert not same_bits(whole, checkpoint(found.root / f"{name} whole", epoch=1))


@pytest.mark.parametrize(
    "backend",
    ["aot_eager", pytest.param("inductor", marks=pytest.mark.skipif(not which("g++"), reason="inductor wants g++"))],
)
def test_torchcompile(train: Train, cache: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """By inductor, the trainer's own choice, which spends most of a minute in a C++ compiler; and without one."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    chosen = ("--text-aug", "laclip-mt", "--text-aug-cache", str(cache))
    eager = train(*chosen, "--text-aug-trim", "off", epochs=1)
    compiled = train(*chosen, "--torchcompile", name="compiled", epochs=1)

    assert "text trimming off: --torchcompile" in (compiled / "out.log").read_text()
    assert losses(compiled) == pytest.approx(losses(eager), rel=1e-3)


def test_amp_with_its_loss_scaling(train: Train, dataset: Dataset, cache: Path, tmp_path: Path) -> None:
    """By losses, since the scaler leaves out the first steps, so that no gradient of theirs is to be had."""
    chosen = ("--precision", "amp", "--text-aug-cache", str(cache))
    laclip = train(*chosen, "--text-aug", "laclip", name="laclip", epochs=1)
    plain = train("--precision", "amp", name="plain", data=drawn_table(dataset, cache, tmp_path / "a.tsv"), epochs=1)
    several = train(*chosen, "--text-aug", "laclip-mt", name="several", epochs=1)
    exact = train(*chosen, "--text-aug", "laclip-mt", "--precision", "fp32", name="exact", epochs=1)

    assert losses(laclip) == pytest.approx(losses(plain), rel=1e-2)
    assert losses(several)[0] == pytest.approx(losses(exact)[0], rel=1e-2)


def losses(run: Path, name: str = "Contrastive_loss") -> list[float]:
    return [float(found) for found in re.findall(rf"{name}: (\S+)", (run / "out.log").read_text())]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("mode", ["laclip", "laclip-mt"])
def test_resampled_shards_give_the_samplers_texts(dataset: Dataset, cache: Path, mode: str, workers: int) -> None:
    tokenizer = upstream.SimpleTokenizer(context_length=32)
    with hook.install(TextAugOptions(mode=mode, cache=str(cache), seed=2)):
        arguments = [*dataset.arguments(Path("unused"), "unused", dataset.shards), "--dataset-resampled"]
        args: Namespace = openclip.PARSE_ARGS.get()([*arguments, "--dataset-type", "webdataset"])
        vars(args).update(distributed=False, world_size=1, rank=0, workers=workers)
        info = upstream_data.get_data(args, (blank, blank), epoch=0, tokenizer=tokenizer)["train"]
        sampler = TextSampler(CaptionCache(cache), multi=mode == "laclip-mt", seed=2)
        k, keys = sampler.num_texts, dataset.keys if IMAGE_FIRST else {}
        for epoch in (0, 3):
            allowed = {
                tuple(tokenizer(list(sampler.texts(c, epoch, keys.get(c, b"")))).flatten().tolist()) for c in CAPTIONS
            }
            info.set_epoch(epoch)
            batches = [batch["text"] if isinstance(batch, dict) else batch[1] for batch in info.dataloader]
            assert [texts.shape for texts in batches] == [(8 * k, 32)] * 6
            drawn = [tuple(group.flatten().tolist()) for texts in batches for group in texts.split(k)]
            assert set(drawn) <= allowed
            assert len(set(drawn)) < len(drawn)  # shards came more than once, so with replacement


def blank(image: object) -> torch.Tensor:
    return torch.zeros(3, 2, 2)


def test_resampled_shards_train_with_several_workers(train: Train, dataset: Dataset, cache: Path) -> None:
    resampled = ("--dataset-type", "webdataset", "--dataset-resampled", "--workers", "2")
    run = train(*resampled, "--text-aug", "laclip-mt", "--text-aug-cache", str(cache), data=dataset.shards)
    plain = train(*resampled, name="plain", data=dataset.shards)

    drawn = re.findall(r"texts drawn: original (\d+) \(25.0%\)", (run / "out.log").read_text())
    assert [48 <= int(count) <= 48 + 2 for count in drawn] == [True, True]  # a worker looks one sample ahead
    assert len(losses(run)) == len(losses(plain)) >= 12  # open_clip 4 rounds up to whole batches of each worker


def drawn_table(dataset: Dataset, cache: Path, path: Path) -> Path:
    """The data set with the texts that ``laclip`` draws in epoch 0 as its captions."""
    sampler = TextSampler(CaptionCache(cache))
    head, *rows = dataset.csv.read_text().splitlines()
    cells = [row.split("\t") for row in rows]
    drawn = (f"{image}\t{sampler.texts(text, 0, dataset.keys[text])[0]}" for image, text in cells)
    path.write_text("\n".join([head, *drawn]) + "\n")
    return path


@pytest.fixture
def coca(tmp_path: Path) -> tuple[str, ...]:
    """Options for a tiny CoCa."""
    tower = {"layers": 1, "width": 32, "output_tokens": True}
    text = {**tower, "context_length": 31, "vocab_size": 49408, "heads": 2}
    pooled = {"attentional_pool": True, "attn_pooler_heads": 2}
    config = {
        "embed_dim": 32,
        "vision_cfg": {**tower, **pooled, "image_size": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {**text, "embed_cls": True},
        "multimodal_cfg": {
            **{name: text[name] for name in ("layers", "width", "context_length", "vocab_size", "heads")},
            "attn_pooler_heads": 2,
        },
        "custom_text": True,
    }
    path = tmp_path / "coca-tiny.json"
    path.write_text(json.dumps(config))
    # open_clip leaves a projection of a new CoCa uninitialised, so that runs differ: start from weights of our own.
    upstream.add_model_config(path)
    weights = upstream.create_model("coca-tiny").state_dict()
    torch.manual_seed(0)
    torch.nn.init.normal_(weights["text_decoder.text_projection"], std=0.1)
    torch.save(weights, tmp_path / "coca.pt")
    return ("--model-config", str(path), "--model", "coca-tiny", "--pretrained", str(tmp_path / "coca.pt"))


@pytest.fixture
def distillation(dataset: Dataset, tmp_path: Path) -> tuple[str, ...]:
    """Options for a teacher; it has random weights, since its directory has none and the tag is not looked at."""
    if KNOWS_DIRECTORIES:
        return ("--distill-model", f"local-dir:{dataset.model}", "--distill-pretrained", "none")
    torch.save(upstream.create_model(dataset.model_name).state_dict(), tmp_path / "teacher.pt")
    return ("--distill-model", dataset.model_name, "--distill-pretrained", str(tmp_path / "teacher.pt"))


@pytest.mark.parametrize("kind", ["coca", "distillation"])
def test_one_text_per_image_trains_as_open_clip_does_on_the_drawn_texts(
    train: Train, dataset: Dataset, cache: Path, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    options = request.getfixturevalue(kind)
    run = train(*options, "--text-aug", "laclip", "--text-aug-cache", str(cache), epochs=1)
    plain = train(*options, name="plain", data=drawn_table(dataset, cache, tmp_path / "drawn.tsv"), epochs=1)
    other = train(*options, name="other", epochs=1)

    second = {"coca": "Caption_loss", "distillation": "Distill_loss"}[kind]
    for loss in ("Contrastive_loss", second):  # at the first step; rounding grows over the later ones
        assert losses(run, loss)[0] == pytest.approx(losses(plain, loss)[0], rel=1e-4)
        assert losses(run, loss)[0] != pytest.approx(losses(other, loss)[0], rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "extra", "words"),
    [
        ("coca", (), "decodes one caption per image; it cannot train on 4 texts per image: use laclip"),
        ("distillation", ("--siglip",), "no distillation with --siglip; leave it out"),
        ("distillation", ("--accum-freq", "2"), "no distillation with --accum-freq; leave it out"),
    ],
)
def test_several_texts_per_image_are_refused(
    dataset: Dataset,
    cache: Path,
    tmp_path: Path,
    kind: str,
    extra: tuple[str, ...],
    words: str,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [*dataset.arguments(tmp_path, "run"), *request.getfixturevalue(kind), *extra]

    assert open_clip.main(["train", *arguments, "--text-aug", "laclip-mt", "--text-aug-cache", str(cache)]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()

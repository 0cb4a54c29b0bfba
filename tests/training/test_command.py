"""The ``open_clip`` command: versions, help, mistakes, and two processes on the CPU through torchrun."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils import data

from laclip_aug.cli import open_clip
from laclip_aug.errors import CacheMissError
from laclip_aug.training.refusals import unseen_checkpoint

from .conftest import CAPTIONS, Dataset, checkpoint, make_cache

COMMAND = str(Path(sys.executable).with_name("open_clip"))
TORCHRUN = str(Path(sys.executable).with_name("torchrun"))


def test_version_names_both_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert open_clip.main(["--version"]) == 0
    assert re.fullmatch(r"open_clip \d+\.\d+\.\S+, laclip-aug \d+\.\S+\n", capsys.readouterr().out)


def test_help_shows_the_trainers_options_and_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert open_clip.main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    assert "usage: open_clip train" in text
    assert "--accum-freq" in text
    assert "--text-aug-mt-negatives" in text


def test_no_command_and_unknown_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert open_clip.main([]) == 2
    assert open_clip.main(["--help"]) == 0
    assert open_clip.main(["trian"]) == 2
    assert "did you mean 'train'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--text-aug-cahce", "x"], "did you mean '--text-aug-cache'"),
        (["--text-aug", "lacilp"], "did you mean 'laclip'"),
        (["--text_aug", "laclip"], "did you mean '--text-aug'"),
        (["--text-aug", "laclip"], "laclip-aug build"),
        (["--text-aug", "laclip", "--text-aug-cache", "no/such/dir"], "no such directory"),
        (["--text-aug-seed", "many"], "invalid int value"),
        (["--model", "small.json"], "give --model-config small.json --model small"),
        (["--model", "ViT-B-32", "--logs", "my logs", "--resume", "latest"], "name of that run's folder in my logs"),
    ],
)
def test_mistakes_are_explained(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert open_clip.main(["train", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["none", "eda"])
@pytest.mark.parametrize(
    ("name", "table", "options", "words"),
    [
        ("absent.tsv", "", [], "there is no file absent.tsv; check the path of --train-data"),
        ("a.csv", "filepath,title\n0.png,a dog\n", [], "no column 'filepath' or 'title' .*: add --csv-separator ,"),
        ("a.tsv", "filepath\ttitle\n0.png\ta dog\n", ["--csv-separator", ","], "leave out --csv-separator$"),
        ("a.tsv", "filepath\tcaption\n0.png\ta dog\n", [], "no column 'title' .*: add --csv-caption-key caption$"),
        (
            *("a.csv", "image;text;note\n0.png;a dog;b\n", []),
            "add --csv-separator ';' --csv-img-key image --csv-caption-key text$",
        ),
        (
            *("a.tsv", "photo\tsays\n0.png\ta dog\n", []),
            "its columns are: photo, says. Name the right ones with --csv-img-key and --csv-caption-key",
        ),
        (
            "a.tsv",
            "filepath\ttitle\nphotos/0.png\ta dog\n",
            [],
            "photos/0.png, is not there; paths are read from .*: start",
        ),
        ("a.tsv", "filepath\ttitle\n/photos/0.png\ta dog\n", [], "/photos/0.png, is not there; check the paths"),
        (
            "a.tsv",
            "filepath\ttitle\n.\\0.png\ta dog\n",
            [],
            r"is not there, but ./0.png is; .* column filepath, write / for",
        ),
    ],
)
def test_a_table_that_the_trainer_cannot_read_is_explained(
    mode: str, name: str, table: str, options: list[str], words: str,
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0.png").write_bytes((dataset.csv.parent / "000.png").read_bytes())
    if table:
        (tmp_path / name).write_text(table)
    arguments = [*dataset.arguments(tmp_path / "logs", "run", data=name), *options, "--text-aug", mode]
    assert open_clip.main(["train", *arguments]) == 2
    assert re.search(words, capsys.readouterr().err.rstrip())
    assert not (tmp_path / "logs").exists()


def test_a_directory_that_is_no_cache_is_refused(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*dataset.arguments(tmp_path, "run"), "--text-aug", "laclip", "--text-aug-cache", str(tmp_path)]

    assert open_clip.main(["train", *arguments]) == 2
    assert capsys.readouterr().err.startswith("open_clip: error:")
    assert not (tmp_path / "run").exists()


def test_a_model_configuration_of_ones_own(
    dataset: Dataset, train: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((dataset.model / "open_clip_config.json").read_text())["model_cfg"]
    own = tmp_path / "own-clip.json"
    own.write_text(json.dumps(config))
    run = train("--model-config", str(own), "--model", "own-clip", epochs=1)
    assert checkpoint(run, epoch=1)

    own.write_text('{"embed_dim": 32}')
    assert open_clip.main(["train", "--model-config", str(own)]) == 2
    assert open_clip.main(["train", "--model-config", str(tmp_path / "absent.json")]) == 2
    assert "own-clip.json is no model configuration" in capsys.readouterr().err


INTERRUPTED = """
import functools, os, signal, sys
import open_clip_train.main as trainer
from laclip_aug.cli.open_clip import main
whole, stop, action = trainer.train_one_epoch, int(sys.argv.pop(1)), sys.argv.pop(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background ignores it
@functools.wraps(whole)
def train_one_epoch(model, data, loss, epoch, *rest, **named):
    if epoch == stop:
        exec(action)
    return whole(model, data, loss, epoch, *rest, **named)
trainer.train_one_epoch = train_one_epoch
sys.exit(main(sys.argv[1:]))
"""
CTRL_C = "os.kill(os.getpid(), signal.SIGINT)"
UNSEEN = "data['train'].dataloader.dataset.captions[:] = ['a whale'] * 48"
"""Captions that were not looked up before training, as happens with webdataset shards, of which a sample is."""


def interrupted(epoch: int, arguments: list[str], by: str = CTRL_C) -> subprocess.CompletedProcess[str]:
    """``open_clip train``, with Ctrl-C or something else when an epoch begins."""
    command = [sys.executable, "-c", INTERRUPTED, str(epoch), by, "train", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_what_ctrl_c_advises_goes_on_with_that_run(dataset: Dataset, tmp_path: Path) -> None:
    """The same command without a name, twice; open_clip names each run by the time."""
    logs = tmp_path / "my logs"
    arguments = dataset.arguments(logs, "unused")
    place = arguments.index("--name")
    nameless = [*arguments[:place], *arguments[place + 2 :]]
    nameless += ["--model-config", str(dataset.model / "tiny-clip.json"), "--model", "tiny-clip"]
    assert interrupted(1, nameless).returncode == 130
    (first,) = logs.iterdir()
    done = interrupted(1, nameless)
    assert done.returncode == 130
    (second,) = set(logs.iterdir()) - {first}
    advice = f"--logs '{logs}' --name {second.name} --resume latest"
    assert f"open_clip: interrupted; to go on, add to the same command: {advice}" in done.stderr.splitlines()

    done = interrupted(9, [*nameless, *shlex.split(advice)])
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(logs.iterdir()) == {first, second}
    assert (second / "checkpoints/epoch_2.pt").exists()
    assert f"resuming checkpoint '{second}/checkpoints/epoch_1.pt' (epoch 1)" in (second / "out.log").read_text()


def test_a_run_whose_name_is_a_pattern_goes_on_too(dataset: Dataset, tmp_path: Path) -> None:
    """open_clip looks for the latest checkpoint by a pattern, and began anew where there is a bracket in the name."""
    named = [*dataset.arguments(tmp_path, "lr[1e-3]"), "--model-config", str(dataset.model / "tiny-clip.json")]
    named += ["--model", "tiny-clip"]
    done = interrupted(1, named)
    latest = tmp_path / "lr[1e-3]" / "checkpoints" / "epoch_1.pt"
    advice = f"--logs {tmp_path} --name 'lr[1e-3]-2' --resume '{latest}'"
    assert f"open_clip: interrupted; to go on, add to the same command: {advice}" in done.stderr.splitlines()

    refused = run_command([*named, "--resume", "latest"])
    assert refused.returncode == 2
    assert f"open_clip: error: --resume latest does not find {latest}" in refused.stderr
    done = interrupted(9, [*named, *shlex.split(advice)])
    assert done.returncode == 0, done.stderr[-2000:]
    log = (tmp_path / "lr[1e-3]-2" / "out.log").read_text()
    assert f"resuming checkpoint '{latest}' (epoch 1)" in log


def test_a_run_whose_name_looks_like_a_pattern_and_is_none_goes_on_under_its_name(
    dataset: Dataset, tmp_path: Path
) -> None:
    """A bracket that is never closed stands for itself in a pattern too."""
    named = [*dataset.arguments(tmp_path, "lr[1e-3"), "--model-config", str(dataset.model / "tiny-clip.json")]
    named += ["--model", "tiny-clip"]
    advice = f"--logs {tmp_path} --name 'lr[1e-3' --resume latest"
    done = interrupted(1, named)
    assert f"open_clip: interrupted; to go on, add to the same command: {advice}" in done.stderr.splitlines()

    done = interrupted(9, [*named, *shlex.split(advice)])
    assert done.returncode == 0, done.stderr[-2000:]
    run = tmp_path / "lr[1e-3"
    assert f"resuming checkpoint '{run}/checkpoints/epoch_1.pt' (epoch 1)" in (run / "out.log").read_text()


@pytest.mark.parametrize(
    ("name", "others", "found"),
    [
        ("lr[1e-3", ["lr1"], True),
        ("logs[x/run", [], True),
        ("what?", [], True),
        ("what?", ["what1"], False),  # the trainer would go on with the other
        ("lr[1e-3]", [], False),
        ("logs[x]/run", [], False),
    ],
)
def test_only_a_run_that_the_trainer_does_not_find_is_told_apart(
    tmp_path: Path, name: str, others: list[str], found: bool
) -> None:
    for run in (name, *others):
        (tmp_path / run / "checkpoints").mkdir(parents=True)
        (tmp_path / run / "checkpoints" / "epoch_1.pt").touch()
    args = Namespace(logs=str(tmp_path), name=name, save_most_recent=False, remote_sync=None)
    assert unseen_checkpoint(args) == (None if found else tmp_path / name / "checkpoints" / "epoch_1.pt")


@pytest.mark.parametrize("name", ["what?", "wh*", "what[1-9]"])
def test_a_run_without_a_checkpoint_does_not_go_on_from_that_of_another_whose_name_it_fits(
    dataset: Dataset, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "what1" / "checkpoints" / "epoch_1.pt"
    other.parent.mkdir(parents=True)
    other.touch()
    arguments = ["train", *dataset.arguments(tmp_path, name), "--resume", "latest"]
    assert open_clip.main(arguments) == 2
    said = capsys.readouterr().err
    assert f"open_clip: error: --resume latest would go on from {other}, of another run" in said
    assert "give another --name, without [, * and ?" in said
    assert not (tmp_path / name).exists()


def ctrl_c(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_before_the_log_is_opened(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", *dataset.arguments(tmp_path, "run")]
    monkeypatch.setattr("open_clip_train.main.init_distributed_device", ctrl_c)
    place = arguments.index("--name")
    for words in (arguments, [*arguments[:place], *arguments[place + 2 :]]):
        assert open_clip.main(words) == 130
        assert capsys.readouterr().err.splitlines()[-1] == (
            "open_clip: interrupted; there is no checkpoint yet; start the same command again"
        )


@pytest.mark.parametrize("name", ["run", "what?"])
def test_ctrl_c_before_a_checkpoint_advises_what_works(
    dataset: Dataset, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "what1" / "checkpoints" / "epoch_1.pt"  # which what? fits
    other.parent.mkdir(parents=True)
    other.touch()
    monkeypatch.setattr("open_clip_train.main.random_seed", ctrl_c)
    arguments = ["train", *dataset.arguments(tmp_path, name)]
    assert open_clip.main(arguments) == 130
    log = tmp_path / name / "out.log"
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"open_clip: interrupted; there is no checkpoint yet; start again under another --name, as there is {log} now"
    )
    assert open_clip.main(arguments) not in (0, 130)  # the trainer takes no name twice
    again = ["train", *dataset.arguments(tmp_path, "second")]
    assert open_clip.main(again) == 130  # as far as before
    assert "another --name" in capsys.readouterr().err
    assert open_clip.main([*again, "--resume", "latest"]) == 130  # which takes the log as it is
    assert capsys.readouterr().err.splitlines()[-1].endswith("no checkpoint yet; start the same command again")


def test_an_error_after_the_log_was_opened_asks_for_another_name(dataset: Dataset, tmp_path: Path) -> None:
    half = make_cache(tmp_path / "half", CAPTIONS[::2])
    named = [*dataset.arguments(tmp_path / "logs", "run"), "--text-aug", "laclip", "--text-aug-cache", str(half)]
    named += ["--model-config", str(dataset.model / "tiny-clip.json"), "--model", "tiny-clip"]
    log = tmp_path / "logs" / "run" / "out.log"

    first = run_command(named)
    assert first.returncode == 2
    assert f"on-miss original; then start again under another --name, as there is {log} now\n" in first.stderr
    assert log.exists()
    again = run_command([*named, "--resume", "latest"])  # goes on with that log
    assert again.returncode == 2
    assert "on-miss original\n" in again.stderr


def test_an_error_after_a_checkpoint_goes_on_with_that_run(dataset: Dataset, cache: Path, tmp_path: Path) -> None:
    arguments = [*dataset.arguments(tmp_path, "run"), "--text-aug", "laclip", "--text-aug-cache", str(cache)]
    arguments += ["--model-config", str(dataset.model / "tiny-clip.json"), "--model", "tiny-clip"]
    stopped = interrupted(1, arguments, UNSEEN)
    assert stopped.returncode == 2
    advice = f"--logs {tmp_path} --name run --resume latest"
    assert f"in a loop of your own); then, to go on, add to the same command: {advice}\n" in stopped.stderr

    done = interrupted(9, [*arguments, *shlex.split(advice)])
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"resuming checkpoint '{tmp_path}/run/checkpoints/epoch_1.pt' (epoch 1)" in done.stderr + done.stdout


class Unseen(data.Dataset[int]):
    """A data set that is refused where it is read."""

    def __getitem__(self, index: int) -> int:
        raise CacheMissError("no rewrites of 'a whale'; train with --text-aug-on-miss original")

    def __len__(self) -> int:
        return 1


def test_an_error_in_a_loader_worker_is_said_as_any_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "laclip_aug.openclip.run_trainer", lambda arguments: list(data.DataLoader(Unseen(), num_workers=1))
    )
    assert open_clip.main(["train"]) == 2
    said = "open_clip: error: no rewrites of 'a whale'; train with --text-aug-on-miss original\n"
    assert capsys.readouterr().err == said


def run_command(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """``open_clip train`` in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([COMMAND, "train", *arguments], capture_output=True, text=True, env=environment)


def torchrun(processes: int, arguments: list[str], directory: Path) -> str:
    """Run the arguments under torchrun and return their standard output."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launch = [TORCHRUN, "--standalone", "--nproc-per-node", str(processes), "--no-python"]
    done = subprocess.run([*launch, *arguments], capture_output=True, text=True, env=environment, cwd=directory)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_two_cpu_processes_by_torchrun(dataset: Dataset, cache: Path, tmp_path: Path) -> None:
    arguments = dataset.arguments(tmp_path, "run", epochs=1)
    place = arguments.index("--logs")  # torchrun may take it for its own: see the next test
    config = ("--model-config", str(dataset.model / "tiny-clip.json"), "--model", "tiny-clip")
    plain = [*arguments[:place], *arguments[place + 2 :], *config]
    torchrun(2, [COMMAND, "train", *plain, "--text-aug", "laclip-mt", "--text-aug-cache", str(cache)], tmp_path)

    run = tmp_path / "logs" / "run"
    log = (run / "out.log").read_text()
    assert "total 2." in log
    assert "text augmentation, epoch 0: 96 texts drawn" in log  # this process's 24 captions, 4 texts each
    weights = checkpoint(run, epoch=1)["weights"]
    assert isinstance(weights, dict)
    assert all(torch.isfinite(weight).all() for weight in weights.values())


def test_two_processes_train_on_several_sources_with_linked_augmentation(
    dataset: Dataset, cache: Path, tmp_path: Path
) -> None:
    second = shutil.copytree(cache, tmp_path / "second")
    arguments = dataset.arguments(tmp_path, "run", epochs=1)
    place = arguments.index("--logs")
    config = ("--model-config", str(dataset.model / "tiny-clip.json"), "--model", "tiny-clip")
    plain = [*arguments[:place], *arguments[place + 2 :], *config]
    sources = ["--text-aug-cache", str(cache), "--text-aug-cache", str(second), "--text-aug-with", "eda"]
    chosen = ["--text-aug", "laclip", *sources, "--text-aug-weights", "eda=2", "--text-aug-linked", "flip,gray"]
    torchrun(2, [COMMAND, "train", *plain, *chosen], tmp_path)

    run = tmp_path / "logs" / "run"
    log = (run / "out.log").read_text()
    assert "text augmentation, epoch 0: 24 texts drawn" in log  # this process's 24 captions
    assert "second/" in log
    assert "eda" in log
    assert "(by rank 0 of 2)" in log
    weights = checkpoint(run, epoch=1)["weights"]
    assert isinstance(weights, dict)
    assert all(torch.isfinite(weight).all() for weight in weights.values())


def test_two_dashes_keep_torchrun_from_reading_our_options(tmp_path: Path) -> None:
    # torchrun under Python 3.11 and older takes --logs for an abbreviation of an option of its own
    assert torchrun(1, ["--", COMMAND, "--version", "--logs", "x"], tmp_path).startswith("open_clip ")


def test_the_command_as_a_module(dataset: Dataset, cache: Path, tmp_path: Path) -> None:
    module = [sys.executable, "-m", "laclip_aug.cli.open_clip"]
    wrong = subprocess.run([*module, "trian"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "did you mean 'train'" in wrong.stderr

    launch = [TORCHRUN, "--standalone", "--nproc-per-node", "1", "-m", "--", module[-1], "train"]
    config = ("--model-config", str(dataset.model / "tiny-clip.json"), "--model", "tiny-clip")
    ours = ("--text-aug", "laclip", "--text-aug-cache", str(cache))
    words = [*launch, *dataset.arguments(tmp_path, "run", epochs=1), *config, *ours]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})

    assert done.returncode == 0, done.stderr[-3000:]
    assert "text augmentation, epoch 0: 48 texts drawn" in (tmp_path / "run" / "out.log").read_text()

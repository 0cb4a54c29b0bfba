"""The paper's recipes: each line is read by open_clip's own parser, and each model made from its configuration."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import torch

from laclip_aug.cli import main
from laclip_aug.evaluation.protocols import load_protocol
from laclip_aug.evaluation.recipes import FOLDER, load_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_a_dry_run_prints_a_line_that_open_clip_takes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from open_clip_train.params import parse_args

    assert main(["recipe", name]) == 0
    printed = capsys.readouterr()
    assert "not run here" in printed.err
    words = shlex.split(printed.out)
    start = words.index("open_clip")
    assert words[start + 1] == "train"
    launcher, options = words[:start], words[start + 2 :]
    if "--model-config" in options:  # of this package's open_clip command; the trainer has no such option
        at = options.index("--model-config")
        assert Path(options[at + 1]).is_file()
        assert Path(options[at + 1]).stem == options[options.index("--model") + 1]
        del options[at : at + 2]
    args = parse_args(options)

    nodes = int(launcher[launcher.index("--nnodes") + 1])
    gpus = nodes * int(launcher[launcher.index("--nproc-per-node") + 1])
    laion = name.startswith("laion")
    assert args.batch_size * gpus == (32768 if laion else 8192)
    assert (args.beta1, args.beta2) == (0.9, 0.98)
    assert args.aug_cfg == {"scale": (0.5, 1.0)}
    assert args.lr_scheduler == "cosine"
    assert args.image_mean == (None if laion else [0.485, 0.456, 0.406])
    assert args.image_std == (None if laion else [0.229, 0.224, 0.225])
    assert args.local_loss and args.gather_with_grad
    if not laion:
        assert args.warmup == pytest.approx(args.train_num_samples / 8192, abs=0.5)  # one epoch


def test_what_the_paper_says() -> None:
    found = {name: load_recipe(name) for name in recipe_names()}
    pairs = {name: (recipe.published.none, recipe.published.by_texts["laclip"][4]) for name, recipe in found.items()}
    assert pairs == {
        "cc3m": (15.8, 21.5),
        "cc12m": (40.2, 48.4),
        "redcaps": (42.9, 46.2),
        "laion400m-b32": (62.0, 64.4),
        "laion400m-b16": (67.0, 69.3),
        "laion400m-l14": (71.8, 74.5),
    }
    for name, recipe in found.items():
        assert recipe.status == "not run here"
        templates = "openai" if name.startswith("laion") else "simple"  # 80 and 7
        assert load_protocol(recipe.protocol).templates == templates  # type: ignore[attr-defined]


def test_the_model_has_norms_of_query_and_key() -> None:
    import open_clip

    if open_clip.__version__ < "3":
        pytest.skip("open_clip 2 has no qk_norm")
    config = json.loads((FOLDER / "vit-b-16-qk-norm.json").read_text())
    with torch.device("meta"):
        model = open_clip.CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"], config["quick_gelu"])
    names = {name for name, _ in model.visual.named_parameters()}
    assert sum(name.endswith("attn.ln_q.weight") for name in names) == 12
    assert not any(name.startswith("ln_pre") for name in names)


def test_options_of_ones_own_win_and_mistakes_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["recipe", "cc12m", "--gpus", "8", "--samples", "81920", "--with", "--train-data", "x", "--lr", "5"]) == 0
    )
    words = shlex.split(capsys.readouterr().out)
    assert words[: words.index("open_clip")] == ["torchrun", "--nproc-per-node", "8", "--no-python", "--"]
    assert words.count("--train-data") == 1 and words[-2:] == ["--lr", "5"]
    assert words[words.index("--warmup") + 1] == "10"
    assert main(["recipe", "cc12m", "--with", "--epoch-count", "5"]) == 2
    assert "unrecognized arguments: --epoch-count 5" in capsys.readouterr().err
    assert main(["recipe", "cc12m", "--with", "--text-aug", "lacip"]) == 2
    assert "did you mean 'laclip'" in capsys.readouterr().err
    assert main(["recipe", "cc12m", "--gpus", "7"]) == 2
    assert "cannot be divided among 7 GPUs" in capsys.readouterr().err
    assert main(["recipe", "cc12"]) == 2
    assert "did you mean 'cc12m'" in capsys.readouterr().err
    assert main(["recipe"]) == 0
    assert capsys.readouterr().out.count("not run here") == 6

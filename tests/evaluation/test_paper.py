"""The paper's own checkpoints: a state dict of their shape, against a forward pass that is written out here."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention

from laclip_aug.errors import ConfigurationError
from laclip_aug.evaluation.model import Model
from laclip_aug.evaluation.paper import load_paper_model
from tests.evaluation.conftest import Run, class_folders

WIDTH, HEADS, DEPTH, PATCH, SIZE, EMBED = 48, 4, 2, 8, 24, 20
TEXT_WIDTH, TEXT_HEADS, CONTEXT, VOCABULARY = 128, 2, 12, 49408


def state_dict() -> dict[str, Tensor]:
    """Random tensors under the names of the paper's code, of a small model."""
    generator = torch.Generator().manual_seed(3)
    shapes: dict[str, tuple[int, ...]] = {
        "positional_embedding": (CONTEXT, TEXT_WIDTH),
        "image_projection": (WIDTH, EMBED),
        "text_projection": (TEXT_WIDTH, EMBED),
        "logit_scale": (),
        "visual.cls_token": (1, 1, WIDTH),
        "visual.pos_embed": (1, (SIZE // PATCH) ** 2 + 1, WIDTH),
        "visual.patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "visual.patch_embed.proj.bias": (WIDTH,),
        "visual.norm.weight": (WIDTH,),
        "visual.norm.bias": (WIDTH,),
        "token_embedding.weight": (VOCABULARY, TEXT_WIDTH),
        "ln_final.weight": (TEXT_WIDTH,),
        "ln_final.bias": (TEXT_WIDTH,),
    }
    image_layers = {
        "norm1": (WIDTH,), "norm2": (WIDTH,), "attn.q_norm": (WIDTH // HEADS,), "attn.k_norm": (WIDTH // HEADS,),
        "attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH),
        "mlp.fc1": (4 * WIDTH, WIDTH), "mlp.fc2": (WIDTH, 4 * WIDTH),
    }  # fmt: skip
    text_layers = {
        "ln_1": (TEXT_WIDTH,), "ln_2": (TEXT_WIDTH,), "attn.out_proj": (TEXT_WIDTH, TEXT_WIDTH),
        "mlp.c_fc": (4 * TEXT_WIDTH, TEXT_WIDTH), "mlp.c_proj": (TEXT_WIDTH, 4 * TEXT_WIDTH),
    }  # fmt: skip
    for block in range(DEPTH):
        for prefix, layers in (("visual.blocks", image_layers), ("transformer.resblocks", text_layers)):
            for name, shape in layers.items():
                shapes[f"{prefix}.{block}.{name}.weight"] = shape
                shapes[f"{prefix}.{block}.{name}.bias"] = shape[:1]
        shapes[f"transformer.resblocks.{block}.attn.in_proj_weight"] = (3 * TEXT_WIDTH, TEXT_WIDTH)
        shapes[f"transformer.resblocks.{block}.attn.in_proj_bias"] = (3 * TEXT_WIDTH,)
    return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def linear(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def norm(state: dict[str, Tensor], name: str, x: Tensor, eps: float) -> Tensor:
    return layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


def heads_of(x: Tensor, heads: int) -> Tensor:
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)  # [B, heads, L, D / heads]


def image_features(state: dict[str, Tensor], pixels: Tensor) -> Tensor:
    weight, bias = state["visual.patch_embed.proj.weight"], state["visual.patch_embed.proj.bias"]
    patches = torch.nn.functional.unfold(pixels, PATCH, stride=PATCH).transpose(1, 2) @ weight.flatten(1).T + bias
    x = torch.cat([state["visual.cls_token"].expand(len(pixels), -1, -1), patches], dim=1) + state["visual.pos_embed"]
    for block in range(DEPTH):
        at = f"visual.blocks.{block}"
        q, k, v = linear(state, f"{at}.attn.qkv", norm(state, f"{at}.norm1", x, 1e-6)).chunk(3, dim=-1)
        q, k, v = (heads_of(part, HEADS) for part in (q, k, v))
        q, k = norm(state, f"{at}.attn.q_norm", q, 1e-6), norm(state, f"{at}.attn.k_norm", k, 1e-6)
        weights = (q @ k.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5).softmax(dim=-1)
        x = x + linear(state, f"{at}.attn.proj", (weights @ v).transpose(1, 2).flatten(2))
        hidden = gelu(linear(state, f"{at}.mlp.fc1", norm(state, f"{at}.norm2", x, 1e-6)))
        x = x + linear(state, f"{at}.mlp.fc2", hidden)
    return norm(state, "visual.norm", x, 1e-6)[:, 0] @ state["image_projection"]


def text_features(state: dict[str, Tensor], tokens: Tensor) -> Tensor:
    x = state["token_embedding.weight"][tokens] + state["positional_embedding"]
    for block in range(DEPTH):
        at = f"transformer.resblocks.{block}"
        inside = norm(state, f"{at}.ln_1", x, 1e-5) @ state[f"{at}.attn.in_proj_weight"].T
        q, k, v = (inside + state[f"{at}.attn.in_proj_bias"]).chunk(3, dim=-1)
        seen = scaled_dot_product_attention(*(heads_of(part, TEXT_HEADS) for part in (q, k, v)), is_causal=True)
        x = x + linear(state, f"{at}.attn.out_proj", seen.transpose(1, 2).flatten(2))
        hidden = linear(state, f"{at}.mlp.c_fc", norm(state, f"{at}.ln_2", x, 1e-5))
        x = x + linear(state, f"{at}.mlp.c_proj", hidden * torch.sigmoid(1.702 * hidden))  # QuickGELU
    x = norm(state, "ln_final", x, 1e-5)
    return x[torch.arange(len(x)), tokens.argmax(dim=1)] @ state["text_projection"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """As the paper's trainer writes one: wrapped for several GPUs, with its options beside the weights."""
    content = {
        "epoch": 35,
        "state_dict": {f"module.{name}": value for name, value in state_dict().items()},
        "args": argparse.Namespace(lr=1e-3, betas=(0.9, 0.98), output_dir="out"),
    }
    torch.save(content, tmp_path / "cc12m_laclip.ckpt")
    return tmp_path / "cc12m_laclip.ckpt"


def test_features_equal_an_independent_forward(checkpoint: Path) -> None:
    loaded = load_paper_model(checkpoint)
    pixels = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    tokens = loaded.tokenize(["a dog", "two cats on a green sofa beside a very long and old window", ""])
    assert tokens.shape == (3, CONTEXT)
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.model.encode_image(pixels), image_features(state_dict(), pixels), rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(
            loaded.model.encode_text(tokens), text_features(state_dict(), tokens), rtol=1e-4, atol=1e-4
        )


def test_the_comparison_can_fail(checkpoint: Path) -> None:
    """Without the norms of query and key, or with another activation, the features are others."""
    state = state_dict()
    pixels = torch.randn(1, 3, SIZE, SIZE)
    state["visual.blocks.0.attn.q_norm.weight"] = torch.ones(WIDTH // HEADS)
    with torch.no_grad():
        assert (
            load_paper_model(checkpoint).model.encode_image(pixels) - image_features(state, pixels)
        ).abs().max() > 0.01


def test_images_get_imagenets_mean_and_deviation(checkpoint: Path) -> None:
    grey = Image.new("RGB", (50, 40), (100, 150, 200))
    found = load_paper_model(checkpoint).preprocess(grey)
    assert found.shape == (3, SIZE, SIZE)
    expected = (np.array([100, 150, 200]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(found.mean(dim=(1, 2)), expected, atol=1e-5)


def test_the_command_takes_it(checkpoint: Path, laclip_eval: Run, tmp_path: Path) -> None:
    photos = class_folders(tmp_path / "photos", 2)
    model = ["--model", "laclip", "--pretrained", str(checkpoint)]
    done = laclip_eval("zero-shot", "--data", str(photos), "--protocol", "zero-shot-7", model=model)
    assert done.returncode == 0, done.stderr
    assert "zero-shot-7 v1" in done.stdout


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.file}",)


@pytest.mark.parametrize("name", ["laclip", "ViT-B-32"])
def test_code_in_a_checkpoint_is_not_run(name: str, tmp_path: Path) -> None:
    torch.save({"state_dict": state_dict(), "args": Hostile(tmp_path / "ran")}, tmp_path / "bad.ckpt")
    with pytest.raises(ConfigurationError, match=r"cannot (be read|make)"):
        Model(name, str(tmp_path / "bad.ckpt"), device="cpu").loaded  # noqa: B018
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("damage", ["empty", "cut", "other", "tensor", "misfit"])
def test_other_files_are_refused_in_words(damage: str, checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.ckpt"
    if damage == "empty":
        file.write_bytes(b"")
    elif damage == "cut":
        file.write_bytes(checkpoint.read_bytes()[:5000])
    elif damage == "other":
        torch.save({"state_dict": {"visual.conv1.weight": torch.zeros(1)}}, file)
    elif damage == "tensor":
        torch.save(torch.zeros(3), file)
    else:
        torch.save({**state_dict(), "visual.norm.bias": torch.zeros(7)}, file)
    with pytest.raises(ConfigurationError, match=r"cannot be read as weights|no checkpoint of the paper|does not fit"):
        load_paper_model(file)

"""The paper's own checkpoints (CC3M, CC12M, RedCaps) as models of open_clip.

Their image tower is timm's ViT with query and key norms, their text tower CLIP's with QuickGELU; both projections are
parameters of their own. All sizes are read from the tensors' shapes, so one name, ``laclip``, stands for all of them.
Images have ImageNet's mean and deviation. The LAION checkpoints are models of open_clip as they are and need none of
this: name the model, such as ``ViT-B-32``, and the file.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from laclip_aug import openclip
from laclip_aug.errors import ConfigurationError

PAPER = "laclip"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TEXT_HEAD = 64


def load_paper_model(file: Path) -> openclip.LoadedModel:
    """The model of a checkpoint, in evaluation mode.

    Raises:
        ConfigurationError: the file is no checkpoint of this shape, or holds more than tensors and plain values.
    """
    return model_of(read_tensors(file), str(file))


def read_tensors(file: Path) -> dict[str, Any]:
    """The state dict of a checkpoint, read with ``weights_only``: no code of the file is run.

    The trainer's options, an ``argparse.Namespace`` beside the weights, are let through.
    """
    import torch

    allow = getattr(torch.serialization, "safe_globals", lambda names: nullcontext())
    try:
        with allow([argparse.Namespace]):
            found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the reader makes of a damaged or hostile file
        raise ConfigurationError(
            f"{file} cannot be read as weights ({error}); fetch it again, "
            "or store its state_dict alone, if you trust it"
        ) from error
    state = found.get("state_dict", found) if isinstance(found, dict) else {}
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def model_of(state: dict[str, Any], given: str = "the checkpoint") -> openclip.LoadedModel:
    """The model whose weights are ``state``, under the names that the paper's code gives them."""
    from timm.models.vision_transformer import VisionTransformer
    from torch import nn

    needed = ("image_projection", "text_projection", "visual.cls_token", "visual.blocks.0.attn.q_norm.weight")
    if lacking := [name for name in needed if name not in state]:
        raise ConfigurationError(
            f"{given} is no checkpoint of the paper's own models: it has no {', '.join(lacking)}. For the LAION models "
            "and your own, name open_clip's model instead of 'laclip'"
        )
    width, embed = state["image_projection"].shape
    heads = width // len(state["visual.blocks.0.attn.q_norm.weight"])
    patch = state["visual.patch_embed.proj.weight"].shape[-1]
    size = round((state["visual.pos_embed"].shape[1] - 1) ** 0.5) * patch
    context, text_width = state["positional_embedding"].shape
    text = {
        "context_length": context,
        "vocab_size": len(state["token_embedding.weight"]),
        "width": text_width,
        "heads": max(1, text_width // _TEXT_HEAD),
        "layers": _blocks(state, "transformer.resblocks."),
    }
    vision = {"timm_model_name": "vit_tiny_patch16_224", "timm_pool": "token", "image_size": size}
    made = openclip.make_clip(embed, vision, text, mean=MEAN, std=DEVIATION, interpolation="bilinear")
    model = made.model
    # open_clip passes no norms of query and key on to timm, so its tower is put in place of the one made above
    model.visual.trunk = VisionTransformer(
        img_size=size,
        patch_size=patch,
        num_classes=0,
        embed_dim=width,
        depth=_blocks(state, "visual.blocks."),
        num_heads=heads,
        qk_norm=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    model.visual.head.proj = nn.Linear(width, embed, bias=False)
    tensors = {_renamed(name): value for name, value in state.items()}
    tensors["visual.head.proj.weight"] = tensors.pop("image_projection").T
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ConfigurationError(f"{given} does not fit the paper's models ({error}); is it whole?") from error
    model.eval()
    return made


def _renamed(name: str) -> str:
    return name.replace("visual.", "visual.trunk.", 1) if name.startswith("visual.") else name


def _blocks(state: dict[str, Any], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})

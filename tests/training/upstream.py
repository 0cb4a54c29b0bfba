"""What the open_clip at hand can do, so that a test asks an older version only for what that version has."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence

from open_clip import factory
from open_clip.model import CLIP, CLIPTextCfg
from torch import Tensor
from torch.nn import Module

from laclip_aug.openclip import version

END_TOKEN_BY_ID = "eos_id" in {field.name for field in dataclasses.fields(CLIPTextCfg)}
"""Text is pooled at a token that the model's configuration names."""
LOCKS_TEXT = hasattr(CLIP, "lock_text_tower")
"""``--lock-text``; before version 3 for text towers of Hugging Face only."""
KNOWS_DIRECTORIES = "local-dir:" in inspect.getsource(factory)
"""``local-dir:PATH`` as a model."""

IMAGE_FIRST = version() < "4"
"""Tars are read image first, so that a text can know its image; version 4 does so with tables only."""

RESUMES = not version().startswith("2.")
"""Reads its own checkpoints: version 2 saves more than ``torch.load`` takes from PyTorch 2.6 on."""


def taken(loss: Module, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
    """Of image features, text features, scale and bias what ``loss`` takes: before version 3 ClipLoss has no bias."""
    return inputs if "logit_bias" in inspect.signature(loss.forward).parameters else inputs[:3]

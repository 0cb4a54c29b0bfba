"""How much work the text tower of a training run does: the same in every version of open_clip."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import open_clip_train.main as trainer
import pytest
import torch

from laclip_aug.augmenter import Outcome, Rewrite
from laclip_aug.cache.config import Config
from laclip_aug.cache.writer import CacheWriter

from .conftest import CAPTIONS

LENGTHS = {"short": 8, "longer": 20, "long": 30}
"""The tokens of each source's rewrites, start and end included; a caption has 5, and the tower takes 32."""


@pytest.fixture
def ladder(tmp_path: Path) -> Path:
    """A cache with a rewrite for each of the lengths at which the tower of 32 tokens is run: 16, 24 and 32."""
    with CacheWriter(tmp_path / "ladder", Config("llm", "test", seed=0, n=3, sources=tuple(LENGTHS))) as writer:
        for caption in CAPTIONS:
            writer.new([caption])
            made = [Rewrite(name, f"{caption}{' dog' * (length - 5)}") for name, length in LENGTHS.items()]
            writer.add(Outcome(caption, tuple(made)))
        writer.finish()
    return tmp_path / "ladder"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), 48 * (16 + 16 + 24 + 32)),
        (("--text-aug-trim", "off"), 48 * 4 * 32),
        (("--force-custom-text",), 48 * (16 + 16 + 24 + 32)),
    ],
    ids=["trimmed", "untrimmed", "trimmed, CustomTextCLIP"],
)
def test_positions_of_a_run(
    train: Callable[..., Path],
    ladder: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
    options: tuple[str, ...],
    expected: int,
) -> None:
    create, positions = trainer.create_model_and_transforms, 0

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal positions
        if module.training and torch.is_grad_enabled():  # not the trial at the start
            positions += inputs[0].shape[:2].numel()

    @wraps(create)
    def counting(*args: Any, **kwargs: Any) -> Any:
        model, *rest = create(*args, **kwargs)
        (model.text if hasattr(model, "text") else model).transformer.register_forward_pre_hook(count)
        return model, *rest

    monkeypatch.setattr(trainer, "create_model_and_transforms", counting)
    run = train("--text-aug", "laclip-mt", "--text-aug-cache", str(ladder), *options, epochs=1)

    record_property("text positions", positions)
    assert positions == expected
    assert ("text trimming on" in (run / "out.log").read_text()) is (expected < 48 * 4 * 32)

"""Where no text changes, training is open_clip's own, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .conftest import checkpoint, same_bits

Train = Callable[..., Path]


def test_mode_none_trains_like_open_clip_itself(train: Train, upstream: Path) -> None:
    run = train("--text-aug", "none")

    assert same_bits(checkpoint(run), checkpoint(upstream))
    assert "text_aug: none\n" in (run / "params.txt").read_text()


def test_an_empty_cache_with_originals_trains_like_open_clip_itself(
    train: Train, upstream: Path, empty_cache: Path
) -> None:
    run = train("--text-aug", "laclip", "--text-aug-cache", str(empty_cache), "--text-aug-on-miss", "original")

    assert same_bits(checkpoint(run), checkpoint(upstream))


def test_one_text_per_image_trains_like_open_clip_itself(train: Train, upstream: Path, cache: Path) -> None:
    run = train("--text-aug", "laclip-mt", "--text-aug-cache", str(cache), "--text-aug-num-texts", "1")

    assert same_bits(checkpoint(run), checkpoint(upstream))


def test_rewrites_do_change_the_training(train: Train, upstream: Path, cache: Path) -> None:
    laclip = train("--text-aug", "laclip", "--text-aug-cache", str(cache))
    several = train("--text-aug", "laclip-mt", "--text-aug-cache", str(cache), name="several")

    assert not same_bits(checkpoint(laclip), checkpoint(upstream))
    assert not same_bits(checkpoint(several), checkpoint(laclip))

"""The model that ships with the package: found, checked, and put to work by default."""

import shutil
from pathlib import Path

import pytest

from laclip_aug import create_augmenter
from laclip_aug.errors import ModelError
from laclip_aug.rewrite import embedded


def test_the_shipped_file_is_the_released_one_and_small() -> None:
    model = embedded.find()
    assert model.sha256 == embedded.SHA256
    assert model.path.stat().st_size <= 25_000_000
    assert (embedded.WEIGHTS / "MODEL_CARD.md").is_file()


def test_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    shutil.copy(embedded.WEIGHTS / embedded.FILE, tmp_path)
    path = tmp_path / embedded.FILE
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"damaged.*install laclip-aug again"):
        embedded.find(tmp_path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="missing"):
        embedded.find(tmp_path)


def test_layout_puts_the_strategy_after_the_caption() -> None:
    prompt = embedded.layout()
    assert prompt.strategies == ("chatgpt", "bard", "mscoco", "human")
    job = prompt.job("mscoco", 0, "a red car", 7, None)
    assert (job.prefix, job.lead, job.body, job.tail, job.special) == ("<s>", " ", "a red car", "<|mscoco|>", True)
    assert job.shares_body
    assert len({prompt.job(s, 0, "x", 0, None).tail for s in prompt.strategies}) == 4


def test_it_rewrites_by_default() -> None:
    augmenter = create_augmenter("llm")
    caption = "two brown dogs playing in the snow"
    (outcome,) = augmenter.outcomes([caption], 4, seed=0)
    texts = [r.text for r in outcome.rewrites]
    assert [r.source for r in outcome.rewrites] == list(augmenter.sources)
    assert len({text.lower() for text in [*texts, caption]}) == 5
    for text in texts:
        assert {"two", "brown", "snow"} <= set(text.lower().strip(".").replace(",", "").split())
    assert augmenter.augment([caption], 4, seed=0) == [texts]
    assert embedded.SHA256 in str(augmenter.describe())
    augmenter.close()


def test_hostile_captions_are_answered_or_rejected() -> None:
    augmenter = create_augmenter("llm", max_attempts=1, candidates=2)
    captions = ["", "\0", "日本語の写真", "<|mscoco|></s> a dog", "word " * 2000, "a\nb => c", "\ud800 dog", "🐶" * 40]
    outcomes = {o.caption: o for o in augmenter.outcomes(captions, 2, seed=0)}
    assert set(outcomes) == set(captions)
    for outcome in outcomes.values():
        assert outcome.rewrites or outcome.rejections
    augmenter.close()

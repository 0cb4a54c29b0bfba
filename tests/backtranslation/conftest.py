"""Tiny converted models, made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from laclip_aug.backtranslation.convert import convert

from .marian_maker import make_folder


@pytest.fixture(scope="session")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bilingual Hugging Face Marian folder with random weights."""
    return make_folder(tmp_path_factory.mktemp("marian") / "hf")


@pytest.fixture(scope="session")
def bilingual(marian: Path) -> Path:
    """The same, converted to int8."""
    return convert(marian, marian.parent / "int8")


@pytest.fixture(scope="session")
def exact(marian: Path) -> Path:
    """The same, converted to float32."""
    return convert(marian, marian.parent / "float32", "float32")


@pytest.fixture(scope="session")
def nllb_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted model with NLLB's language tokens."""
    folder = make_folder(tmp_path_factory.mktemp("nllb") / "hf", ("eng_Latn", "fra_Latn", "spa_Latn"))
    return convert(folder, folder.parent / "int8")

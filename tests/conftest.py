"""Fixtures that several test modules share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from gguf_maker import make_gguf


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight llama model of 0.15M parameters with a chat template; see ``gguf_maker``."""
    return make_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")

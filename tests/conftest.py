"""Fixtures that several test modules share."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from gguf_maker import make_adapter, make_gguf


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Models are merged into a cache of this run's own; children inherit it."""
    home = tmp_path_factory.mktemp("cache-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight llama model of 0.15M parameters with a chat template; see ``gguf_maker``."""
    return make_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture(scope="session")
def tiny_adapter(tmp_path_factory: pytest.TempPathFactory, tiny_gguf: Path) -> Path:
    """A random LoRA adapter for ``tiny_gguf``."""
    return make_adapter(tmp_path_factory.mktemp("adapter") / "tiny-lora.gguf", tiny_gguf)


@pytest.fixture
def spawn() -> Iterator[None]:
    """Worker processes are started anew, as on macOS and Windows, and not forked."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)

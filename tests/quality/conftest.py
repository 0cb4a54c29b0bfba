"""Puts a third-party augmenter and signal, as its own distribution, where Python and its entry points find it."""

import os
import sys
from pathlib import Path

import pytest

PLUGIN = str(Path(__file__).parent.parent / "plugin")
if PLUGIN not in sys.path:
    sys.path.append(PLUGIN)


@pytest.fixture
def plugin_environment() -> dict[str, str]:
    """The environment of a subprocess that has the plug-in installed."""
    paths = [PLUGIN, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}

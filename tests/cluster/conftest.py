"""A Ray of this machine for each command, and the third-party augmenter where its workers find it."""

import os
from pathlib import Path

import pytest

PLUGIN = str(Path(__file__).parent.parent / "plugin")


@pytest.fixture
def plugin_environment() -> dict[str, str]:
    """The environment of a command, and of Ray's workers under it, with the plug-in installed."""
    paths = [PLUGIN, *filter(None, [os.environ.get("PYTHONPATH")])]
    mine = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    # A cluster of this test's own: newer Rays ask for a token, which would be written to the user's home, and workers
    # yield to whatever else the machine does.
    own = {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"}
    return mine | own | {"PYTHONPATH": os.pathsep.join(paths)}

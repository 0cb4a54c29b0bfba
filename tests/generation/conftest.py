"""A server of completions for the tests of the HTTP backend."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.generation.completion_server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()

"""A server of completions for the tests of the HTTP backend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.generation.completion_server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    with server.serving():
        yield server

"""Fixtures of the tests of what a user sees."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.wandb_server import Server


@pytest.fixture
def wandb_server() -> Iterator[Server]:
    """A server that W&B's runs can go to, on loopback."""
    server = Server()
    yield server
    server.lost.clear()
    server.shutdown()
    server.server_close()

"""A GCS that the tests of this room talk to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from ray._private import ray_constants

from tests.support.gcs import SAME, TOKEN, FakeGcs
from tictactoe.tuning import gcs as real


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FakeGcs]]:
    """Starts a GCS with this metadata that asks for this token; the program's own is `TOKEN`."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)  # read when Ray was imported: see environment.py
    monkeypatch.setattr(real, "_get_authentication_metadata_tuple", lambda: (("authorization", f"Bearer {TOKEN}"),))
    started = []

    def start(metadata: dict[str, str] = SAME, token: str | None = TOKEN) -> FakeGcs:
        started.append(FakeGcs(metadata, token))
        return started[-1]

    yield start
    for server in started:
        server.stop()

"""A GCS that the tests of this room talk to, and searches by Tune's controllers without Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray._private import ray_constants
from ray.tune.execution.tune_controller import TuneController
from ray.tune.search import Searcher

from tests.support.actors import Tune
from tests.support.gcs import SAME, TOKEN, FakeGcs
from tests.support.nodes import Listed
from tictactoe.tuning import controller
from tictactoe.tuning import gcs as real
from tictactoe.tuning.controller import Controller
from tictactoe.tuning.placement import SlotManager


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


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Tune]:
    """Begins a search of so many trials by our controller, or by Tune's own on the slots of the same nodes."""
    # Nothing is waited for.
    ask = TuneController._update_trial_queue
    monkeypatch.setattr(TuneController, "_update_trial_queue", lambda controller, blocking: ask(controller))
    monkeypatch.setattr(controller, "time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "4")  # of Tune's own; as many as ours asks for on two slots

    def begin(
        nodes: Listed, trials: int = 0, kind: type[TuneController] = Controller, searcher: Searcher | None = None
    ) -> Tune:
        if kind is Controller:
            return Tune(monkeypatch, tmp_path, partial(Controller, nodes), trials, searcher)
        return Tune(monkeypatch, tmp_path, partial(kind, resource_manager_factory=lambda: SlotManager(nodes)), trials)

    return begin

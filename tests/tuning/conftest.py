"""Searches by Tune's controllers without Ray."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.tune.execution.tune_controller import TuneController

from tests.support.actors import Tune
from tests.support.nodes import Listed
from tictactoe.tuning import controller
from tictactoe.tuning.controller import Controller
from tictactoe.tuning.placement import SlotManager


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Tune]:
    """Begins a search of so many trials by our controller, or by Tune's own on the slots of the same nodes."""
    # Nothing is waited for.
    ask = TuneController._update_trial_queue
    monkeypatch.setattr(TuneController, "_update_trial_queue", lambda controller, blocking: ask(controller))
    monkeypatch.setattr(controller, "time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "4")  # of Tune's own; as many as ours asks for on two slots

    def begin(nodes: Listed, trials: int, kind: type[TuneController] = Controller) -> Tune:
        if kind is Controller:
            return Tune(monkeypatch, tmp_path, partial(Controller, nodes), trials)
        return Tune(monkeypatch, tmp_path, partial(kind, resource_manager_factory=lambda: SlotManager(nodes)), trials)

    return begin

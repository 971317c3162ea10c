"""Ray's start in the real program."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support import records as made
from tictactoe.errors import UserError
from tictactoe.process.interrupt import Interrupt
from tictactoe.tuning import cluster


@pytest.mark.slow
def test_a_port_that_was_taken_since_preflight_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        interrupt = Interrupt()
        monkeypatch.setattr(interrupt, "reinstall", lambda: None)  # the signals are the tests' own
        try:
            address = cluster.Launch(made.settings(), 1, taken).wait(interrupt, print)
            assert address is not None and re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
            assert taken < int(address.rpartition(":")[2]) <= taken + cluster.PORT_TRIES
        finally:
            cluster.stop()


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"gpus_per_trial": 9.0}, ("--gpus-per-trial 9", "than 1;", "--gpus-per-trial 1 or less")),
        ({"cpus_per_trial": 5.0}, ("--cpus-per-trial 5", "than 4;", "--cpus-per-trial 4 or less")),
        ({}, ("--results-dir", "2 nodes")),
    ],
)
def test_a_ray_that_will_not_do_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict[str, Any], parts: tuple[str, ...]
) -> None:
    monkeypatch.setattr(cluster, "node_resources", lambda: [{"CPU": 4.0}, {"CPU": 2.0, "GPU": 1.0}])
    launch = cluster.Launch.__new__(cluster.Launch)  # without starting Ray
    launch._settings = made.settings(results_dir=tmp_path, **options)
    with pytest.raises(UserError) as refused:
        launch._require()
    assert all(part in str(refused.value) for part in parts)
    if not options:
        monkeypatch.setattr(cluster, "is_shared", lambda path: True)
        launch._require()

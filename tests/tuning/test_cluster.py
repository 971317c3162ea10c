"""Ray's start in the real program."""

from __future__ import annotations

import re
import socket

import pytest

from tests.support import records as made
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
            address = cluster.Launch(made.settings(), 1, taken).wait(interrupt)
            assert address is not None and re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
            assert taken < int(address.rpartition(":")[2]) <= taken + cluster.PORT_TRIES
        finally:
            cluster.stop()

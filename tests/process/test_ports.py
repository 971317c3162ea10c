"""Which port is taken, where another may do and where none may."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.processes import free_port
from tests.support.program import ROOT
from tictactoe.process import ports

HERE = "127.0.0.1"
CLAIM = """
import sys
from tictactoe.process import ports
print(ports.claim("127.0.0.1", int(sys.argv[1]), len(sys.argv) > 2), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "PORT_SECONDS", 0.2)


@pytest.fixture
def taken() -> Iterator[int]:
    port = free_port()
    with socket.create_server((HERE, port)):
        yield port


def test_the_next_free_port_where_nobody_has_named_one(taken: int) -> None:
    found = ports.first_free(HERE, taken, named=False)
    assert found is not None and taken < found <= taken + ports.NEXT
    assert ports.first_free(HERE, taken, named=True) is None
    assert ports.claim(HERE, taken, named=True) is None
    assert ports.claim(HERE, taken, named=False) == found


def test_a_port_that_another_of_us_has_claimed_is_taken_until_that_has_ended() -> None:
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(port)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline().strip() == str(port)
        assert ports.is_free(HERE, port)  # it does not listen there yet
        assert ports.claim(HERE, port, named=True) is None
        assert ports.claim(HERE, port, named=False) not in (None, port)
        other.communicate()
    assert ports.claim(HERE, port, named=True) == port
    assert ports.claim(HERE, port, named=True) == port  # it is ours already


def test_an_address_that_this_machine_does_not_have() -> None:
    with pytest.raises(OSError, match="assign requested address"):
        ports.claim("198.51.100.1", free_port(), named=True)

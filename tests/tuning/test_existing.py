"""A Ray that runs already is looked at before a search is started on it. Most stand-ins here speak as Ray's GCS does."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from ray._private import services

from tests.support.gcs import SAME, FakeGcs
from tictactoe.errors import UserError
from tictactoe.tuning import existing
from tictactoe.tuning import gcs as real

Start = Callable[..., FakeGcs]


def refusal(address: str) -> str:
    with pytest.raises(UserError) as refused:
        existing.require(address)
    message = str(refused.value)
    assert message.startswith(f"RAY_ADDRESS {address}: ") and message.endswith(
        "unset RAY_ADDRESS for a Ray of the program's own"
    )
    return message


def test_a_ray_of_other_machines(gcs: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    address = gcs().address
    assert "this machine is no node of that Ray" in refusal(address)
    monkeypatch.setattr(services, "find_node_ids", lambda: {"01" * 28})
    assert existing.require(address) == address


@pytest.mark.parametrize(("name", "value"), [("ray", "2.9.0"), ("python", "3.8.1")])
def test_another_version(gcs: Start, name: str, value: str) -> None:
    message = refusal(gcs(SAME | {f"{name}_version": value}).address)
    assert f"it runs with {name.capitalize()} {value}, this program with " in message


def test_tokens(gcs: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "has another token; set RAY_AUTH_TOKEN" in refusal(gcs(token="another").address)
    assert "started without tokens" in refusal(gcs(token=None).address)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert "asks for a token" in refusal(gcs().address)
    assert "no node of that Ray" in refusal(gcs(token=None).address)  # else it would do


def test_what_is_no_ray(gcs: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real, "CALL_SECONDS", 0.5)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert "does not answer as Ray does" in refusal(f"127.0.0.1:{server.getsockname()[1]}")

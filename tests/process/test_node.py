"""A machine among others: its address, its token, and what Ray is told."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import records as made
from tests.support.program import ROOT
from tictactoe.errors import UserError
from tictactoe.process import node


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith("RAY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield
    os.environ.clear()
    os.environ.update(before)


def test_the_address() -> None:
    own = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    assert node.address(None) in own
    assert node.address("127.0.0.1") == node.address("127.8.9.1") == node.address("::1") == "127.0.0.1"
    assert all(node.address(address) == address for address in own if address.startswith(("10.", "172.", "192.")))
    with pytest.raises(UserError, match=r"^--node-address 203\.0\.113\.1: this machine has no such address \("):
        node.address("203.0.113.1")  # reserved for documentation


def test_a_token_is_given_and_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (problem,) = node.problems(made.settings())
    assert problem.startswith("RAY_AUTH_TOKEN is not set") and "`openssl rand -hex 32`" in problem
    assert not [*tmp_path.iterdir()]
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("\n")
    assert list(node.problems(made.settings()))
    (tmp_path / ".ray" / "auth_token").write_text("abc\n")
    assert not list(node.problems(made.settings()))
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    assert list(node.problems(made.settings()))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "abc")
    assert not list(node.problems(made.settings()))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    (problem,) = node.problems(made.settings())
    assert problem.startswith("RAY_AUTH_MODE disabled: ") and problem.endswith("unset it")


def test_what_other_machines_could_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "abc")
    monkeypatch.setattr(sys, "executable", "/my folder/python")
    (problem,) = node.problems(made.settings())
    assert problem.startswith("the Python environment is /my folder/python: ")


def test_an_address_that_only_this_machine_reaches_is_told() -> None:
    (note,) = node.notes(made.settings(node_address="127.0.0.1"))
    assert note == "--node-address 127.0.0.1: only this machine reaches it; nodes on others cannot join"
    assert not list(node.notes(made.settings(node_address="203.0.113.1")))  # a problem, which is told


@pytest.mark.parametrize(("address", "clusters"), [("127.0.0.1", "0"), (None, None)])
def test_what_ray_is_told(monkeypatch: pytest.MonkeyPatch, address: str | None, clusters: str | None) -> None:
    monkeypatch.setenv("RAY_health_check_timeout_ms", "7000")
    node.tell_ray_of_head(made.settings(cluster_port=7000, node_address=address))
    told = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
    assert told == {
        "RAY_GCS_SERVER_PORT": "7000",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": clusters or str(int(not node.is_loopback(node.address(None)))),
        "RAY_health_check_period_ms": "2000",
        "RAY_health_check_timeout_ms": "7000",
        "RAY_health_check_failure_threshold": "3",
    }


def test_a_workers_ray_finds_the_program_here_and_joins_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "a:6379")
    monkeypatch.setenv("PYTHONPATH", "/other")
    variables = node.worker_variables()
    assert "RAY_ADDRESS" not in variables and variables["PYTHONPATH"] == f"{ROOT}{os.pathsep}/other"
    assert variables["HOME"] == os.environ["HOME"]

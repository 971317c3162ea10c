"""A look at RAY_ADDRESS that takes no longer than it may."""

from __future__ import annotations

import socket

import pytest

from tictactoe.process import ray_address


@pytest.mark.parametrize(
    ("value", "address"), [("", None), (" ", None), ("local", None), ("auto", "auto"), ("a:6379", "a:6379")]
)
def test_whose_ray_is_used(monkeypatch: pytest.MonkeyPatch, value: str, address: str | None) -> None:
    monkeypatch.setenv("RAY_ADDRESS", value)
    assert ray_address.existing() == address


@pytest.mark.parametrize(
    ("address", "part"),
    [
        ("http://127.0.0.1:8265", "the address of a dashboard"),
        ("https://ray.example.org", "the address of a dashboard"),
        ("127.0.0.1", "no HOST:PORT"),
        ("127.0.0.1:80", "no HOST:PORT"),  # Ray takes none below 1024
        ("127.0.0.1:99999", "no HOST:PORT"),
        ("127.0.0.1:6379/", "no HOST:PORT"),
        ("ray://127.0.0.1:10001", "Ray Client"),
        ("no..such..host:6379", "nobody answers there ("),
    ],
)
def test_an_address_that_no_ray_can_have(address: str, part: str) -> None:
    problem = ray_address.problem(address)
    assert problem is not None
    assert problem.startswith(f"RAY_ADDRESS {address}: ") and part in problem
    assert problem.endswith("unset RAY_ADDRESS for a Ray of the program's own")


def test_whether_somebody_listens() -> None:
    assert ray_address.problem("auto") is None
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert "Connection refused" in str(ray_address.problem(f"localhost:{port}"))
        server.listen()
        assert ray_address.problem(f"127.0.0.1:{port}") is None

"""Talking to a GCS: values, TLS, and whether it still answers when it has become silent."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from tests.support.gcs import SAME, TOKEN, FakeGcs
from tictactoe.tuning import gcs as real

Start = Callable[..., FakeGcs]


def test_values_and_nodes(gcs: Start) -> None:
    server = gcs()
    with real.connected(server.address) as there:
        assert there.get(b"ours", b"key") == b""
        there.put(b"ours", b"key", b"value")
        assert (there.get(b"ours", b"key"), there.get(b"theirs", b"key")) == (b"value", b"")
        assert [node.node_id for node in there.living_nodes()] == [b"\x01" * 28]
        there.give_up("02" * 28)
    assert server.nodes.given_up == [("02" * 28, "UNEXPECTED_TERMINATION")]


def test_whether_it_still_answers(gcs: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real, "LOOK_SECONDS", 0.5)
    server = gcs()
    assert real.answers(server.address)
    assert real.answers(gcs(token="another").address)
    server.stop()
    assert not real.answers(server.address)
    with socket.socket() as silent:  # as a process that is stopped: the kernel takes connections for it
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert not real.answers(f"127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_an_encrypted_one(gcs: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    server = FakeGcs(SAME, TOKEN, credentials)
    monkeypatch.setattr(real, "LOOK_SECONDS", 1.0)
    try:
        assert not real.answers(server.address)
        monkeypatch.setenv("RAY_USE_TLS", "1")
        monkeypatch.setenv("RAY_TLS_SERVER_CERT", str(certificate))
        monkeypatch.setenv("RAY_TLS_SERVER_KEY", str(key))
        monkeypatch.setenv("RAY_TLS_CA_CERT", str(certificate))
        with real.connected(server.address) as there:
            assert there.get(b"ours", b"key") == b""
    finally:
        server.stop()

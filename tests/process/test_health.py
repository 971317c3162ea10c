"""The image's health check: it finds the dashboard by itself, and asks it without proxies."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tictactoe.process import health


class Dashboard(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == health.ROUTE else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Dashboard) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def process(proc: Path, pid: int, *words: str) -> None:
    (proc / str(pid)).mkdir(parents=True)
    (proc / str(pid) / "cmdline").write_text("\0".join(words) + "\0")


def test_dashboards_are_found_with_their_ports(tmp_path: Path) -> None:
    process(tmp_path, 1, "/usr/bin/tini", "--", "python", "/app/main.py", "--dashboard-port", "9000")
    process(tmp_path, 9, "python", f"/opt/{health.DASHBOARD}", "--host=0.0.0.0", "--port=9000", "--port-retries=0")
    process(tmp_path, 10, "less", f"/opt/{health.DASHBOARD}")
    (tmp_path / "12").mkdir()  # it has just ended
    assert health.addresses(tmp_path) == ["127.0.0.1:9000"]
    process(tmp_path, 13, "python", f"/opt/{health.DASHBOARD}", "--host=::", "--port=9001")
    assert sorted(health.addresses(tmp_path)) == ["127.0.0.1:9000", "[::1]:9001"]


def test_a_worker_is_well_without_a_dashboard(tmp_path: Path) -> None:
    process(tmp_path, 8, "python", "/app/main.py", "--name", "worker")
    process(tmp_path, 9, "python", "/app/main.py", "play")
    assert not health.is_worker(tmp_path)
    process(tmp_path, 1, "/usr/bin/tini", "--", "python", "/app/main.py", "worker", "192.0.2.10")
    assert health.is_worker(tmp_path)


def test_it_asks_without_proxies(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert health.answers(f"127.0.0.1:{port}")
    assert not health.answers("127.0.0.1:1")


def test_the_command_of_the_image_needs_python_alone() -> None:
    """What it says of a Ray of the container's own, `tests/deployment/test_image.py` asks there."""
    command = [sys.executable, "-I", "-S", str(health.__file__)]
    assert subprocess.run(command, env={"RAY_ADDRESS": "10.0.0.7:6379"}, check=False).returncode == 0

"""A Ray of several nodes on this machine, for benchmarks: a head that runs no trials, and nodes beside it."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.common import ROOT
from tests.support.cgroup import inside, limited_group

END_SECONDS = 10
"""What a node gets to end by itself."""
QUIET = {
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""As the program has it in a Ray of its own."""


@dataclass(frozen=True)
class Node:
    """What joins."""

    cpus: int
    share: float | None = None
    """Of this machine's CPUs, that all its processes together get; None for as much as there is."""


@dataclass(frozen=True)
class Cluster:
    """A Ray that is up."""

    variables: dict[str, str]
    """With these a search runs on it."""
    head: psutil.Process
    """What started the processes of the head's node."""

    def head_processes(self) -> list[psutil.Process]:
        """Those of the head's node, without the driver."""
        return list(self.head.children(recursive=True))


@contextmanager
def cluster(nodes: Sequence[Node], variables: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """Start a head without CPUs and these nodes, whose processes get `variables`; end them all afterwards."""
    # The folder has a short name, for Ray's sockets.
    with tempfile.TemporaryDirectory(prefix="s") as temporary, ExitStack() as started:
        port, dashboard = _free_ports(2)
        address = f"{socket.gethostbyname(socket.gethostname())}:{port}"
        shared = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16), "PYTHONPATH": str(ROOT)}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TICTACTOE_", "RAY_"))}
        environment = kept | QUIET | shared
        options = ("--head", "--port", port, "--num-cpus", "0", "--dashboard-port", dashboard, "--temp-dir", temporary)
        head = _start(options, environment)
        started.callback(_end, head)
        for node in nodes:
            # As our workers. Each log monitor would look at the files of all nodes here, since they share a folder.
            joins = ("--address", address, "--num-cpus", str(node.cpus), "--include-log-monitor=false")
            group = None if node.share is None else started.enter_context(limited_group("cpu", int(node.share * 100_000)))
            started.callback(_end, _start(joins, environment | dict(variables or {}), group))
        yield Cluster(shared | {"RAY_ADDRESS": address}, psutil.Process(head.pid))


def _free_ports(number: int) -> list[str]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [str(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _start(options: Sequence[str], environment: Mapping[str, str], group: Path | None = None) -> subprocess.Popen[str]:
    """Start a node, in a control group, and wait until it is up."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
    command += ["--object-store-memory", str(100 * 2**20), "--dashboard-agent-listen-port", "0", *options]
    if group:
        command = [*inside(group), *command]
    process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "--block" in line:
            return process
    raise RuntimeError(f"a node did not start: {''.join(said)}")


def _end(process: subprocess.Popen[str]) -> None:
    """End a node with all its processes."""
    if process.poll() is not None:
        return
    of_it = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    process.terminate()
    _, living = psutil.wait_procs(of_it, timeout=END_SECONDS)
    for one in living:
        one.kill()
    process.wait()

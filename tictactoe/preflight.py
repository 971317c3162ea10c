"""What would go wrong later, said now, each with its remedy."""

from __future__ import annotations

import math
import os
import socket
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from tictactoe.environment import provide_token
from tictactoe.settings import Settings, SettingsError

FOOTPRINT_MIB = 1000
"""Memory that a default search with dashboard and two trials takes; `benchmarks/memory.py` measures it."""
SMALL_SHM_MIB = 120


@dataclass
class Preflight:
    """What was found."""

    num_cpus: int
    """CPUs for Ray."""
    port: int
    """Port for the dashboard."""
    token_source: str = ""
    notes: list[str] = field(default_factory=list)
    """Worth knowing, nothing to stop for."""
    fatal: list[str] = field(default_factory=list)
    """What keeps a search from running."""

    def require(self) -> None:
        """Raise SettingsError with the first of what is fatal."""
        if self.fatal:
            raise SettingsError(self.fatal[0])


def inspect(settings: Settings, cgroup: Path = Path("/sys/fs/cgroup")) -> Preflight:
    """Look at everything that can be looked at without starting Ray."""
    cpus = settings.num_cpus or usable_cpus(cgroup)
    found = Preflight(cpus, settings.dashboard_port)
    joined = bool(os.environ.get("RAY_ADDRESS"))
    if not joined and settings.cpus_per_trial > cpus:
        found.fatal.append(
            f"--cpus-per-trial {settings.cpus_per_trial:g}: only {cpus} CPUs here; use --cpus-per-trial {cpus} or less"
        )
    limit = memory_limit_mib(cgroup)
    if limit is not None and limit < FOOTPRINT_MIB:
        found.fatal.append(f"memory limit {limit} MiB: a search needs {FOOTPRINT_MIB} MiB; raise the container's limit")
    try:
        shm = os.statvfs("/dev/shm")
        size = shm.f_blocks * shm.f_frsize // 2**20
        if size < SMALL_SHM_MIB:
            found.notes.append(f"/dev/shm has {size} MiB: Ray's object store goes to /tmp (or give --shm-size=256m)")
    except OSError:
        found.notes.append("no /dev/shm: Ray's object store goes to /tmp")
    _writable(found, "--results-dir", settings.results_dir)
    try:
        found.token_source = provide_token()
    except (OSError, RuntimeError) as error:
        found.fatal.append(
            f"the dashboard's token cannot be written ({error}); set HOME or RAY_AUTH_TOKEN_PATH to a writable place"
        )
    if not joined:
        _free_port(found, settings)
    return found


def show(console: Console, found: Preflight, tracking: str) -> int:
    """Print what was found; the exit code of `--check`."""
    for line in found.fatal:
        console.print(f"error: {line}")
    for line in found.notes:
        console.print(f"note: {line}")
    console.print(f"CPUs for trials: {found.num_cpus}")
    console.print(f"dashboard port: {found.port}, token from {found.token_source or 'nowhere'}")
    console.print(tracking)
    console.print("a search would not start" if found.fatal else "ready")
    return 2 if found.fatal else 0


def usable_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """CPUs this process may use: its affinity and its cgroup's quota, rounded up, at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = None
    try:
        if (cgroup / "cpu.max").exists():
            limit, period = (cgroup / "cpu.max").read_text().split()[:2]
            quota = None if limit == "max" else int(limit) / int(period)
        elif (cgroup / "cpu" / "cpu.cfs_quota_us").exists():
            limit, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            quota = int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        pass
    return max(1, min(count, math.ceil(quota))) if quota else count


def memory_limit_mib(cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The cgroup's memory limit in MiB, None where there is none."""
    for path in (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"):
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < 2**60:
            return int(text) // 2**20
    return None


def _writable(found: Preflight, option: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        found.fatal.append(f"{option} {folder}: cannot be written ({error.strerror}); name a writable folder")


def _free_port(found: Preflight, settings: Settings) -> None:
    named = "dashboard_port" in settings.model_fields_set or settings.dashboard_host not in ("127.0.0.1", "localhost")
    for port in range(settings.dashboard_port, min(settings.dashboard_port + (1 if named else 50), 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.dashboard_host, port))
            except OSError:
                continue
            found.port = port
            if port != settings.dashboard_port:
                found.notes.append(f"port {settings.dashboard_port} is taken: the dashboard is on {port}")
            return
    found.fatal.append(
        f"--dashboard-port {settings.dashboard_port} on {settings.dashboard_host}: taken; name a free one, or end what holds it"
    )

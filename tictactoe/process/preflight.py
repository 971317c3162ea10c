"""What would go wrong later, said now, each with its remedy."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console

from tictactoe import situation
from tictactoe.errors import UserError
from tictactoe.process.cgroup import CGROUP, memory_limit_mib, usable_cpus
from tictactoe.process.environment import provide_token
from tictactoe.settings import Settings

BASE_MIB = 700
TRIAL_MIB = 190
"""Memory that Ray, its dashboard and the program take, and each trial at a time on top; `benchmarks/memory.py` measures it."""
SMALL_SHM_MIB = 120
"""Less room in /dev/shm than that, and the object store (`tuning/cluster.py`) goes elsewhere."""
PORT_SECONDS = 3.0
"""How long a named port is waited for, which a run that was killed just now may still hold."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a look, no file
LOOPBACK = ("127.0.0.1", "localhost")


@dataclass
class Preflight:
    """What this machine has for a search, and what stands in its way."""

    num_cpus: int
    """CPUs for Ray."""
    port: int
    """Port for the dashboard."""
    token_source: str = ""
    token_command: str = ""
    """What prints the token, from where the user sits."""
    notes: list[str] = field(default_factory=list)
    """Worth knowing at the start of every search."""
    details: list[str] = field(default_factory=list)
    """Worth knowing for who asks with `--check`."""
    fatal: list[str] = field(default_factory=list)
    """What keeps a search from running."""

    def require(self) -> None:
        """Raise UserError with the first of what is fatal."""
        if self.fatal:
            raise UserError(self.fatal[0])


def inspect(settings: Settings, cgroup: Path = CGROUP, shm: Path = SHARED_MEMORY) -> Preflight:
    """Look at everything that can be looked at without starting Ray.

    What concerns a Ray of our own alone is left out where RAY_ADDRESS names a running one.
    """
    preflight = Preflight(settings.num_cpus or usable_cpus(cgroup), settings.dashboard_port)
    preflight.notes += situation.here().notes(settings.results_dir)
    _writable(preflight, "--results-dir", settings.results_dir)
    try:
        _writable(preflight, "HOME", Path.home())
    except RuntimeError:
        preflight.fatal.append("HOME is not set, and this user has no home folder; set it to a writable folder")
    _token(preflight, settings)
    if os.environ.get("RAY_ADDRESS"):
        _shared_results(preflight, settings)
    else:
        _slots(preflight, settings, cgroup)
        _shared_memory(preflight, shm)
        _free_port(preflight, settings)
    return preflight


def show(console: Console, preflight: Preflight, tracking: str) -> int:
    """Print it all; the exit code of `--check`."""
    for kind, lines in (("error", preflight.fatal), ("note", preflight.notes), ("note", preflight.details)):
        for line in lines:
            console.print(f"{kind}: {line}")
    if address := os.environ.get("RAY_ADDRESS"):
        console.print(f"Ray: the one at {address}, as RAY_ADDRESS says")
    else:
        console.print(f"CPUs for trials: {preflight.num_cpus}")
        console.print(f"dashboard: port {preflight.port}")
    console.print(f"token: from {preflight.token_source or 'nowhere'}; `{preflight.token_command}` prints it")
    console.print(tracking)
    console.print("a search would not start" if preflight.fatal else "ready")
    return 2 if preflight.fatal else 0


def is_shared(path: Path) -> bool:
    """Whether a folder is on a network file system."""
    mounts = [mount for mount in psutil.disk_partitions(all=True) if path.is_relative_to(mount.mountpoint)]
    kind = max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else ""
    return kind.startswith(("nfs", "cifs", "smb", "ceph", "gluster", "lustre", "fuse", "9p", "afs"))


def port_is_fixed(settings: Settings) -> bool:
    """Whether the dashboard must have its port: somebody has named it, or those outside rely on it."""
    return "dashboard_port" in settings.model_fields_set or settings.dashboard_host not in LOOPBACK


def _writable(preflight: Preflight, option: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        preflight.fatal.append(f"{option} {folder}: cannot be written ({error.strerror}); name a writable folder")


def _shared_results(preflight: Preflight, settings: Settings) -> None:
    """A Ray of several nodes refuses local results, which each node would keep to itself; how many there are it alone knows."""
    if not is_shared(settings.results_dir):
        preflight.notes.append(
            f"--results-dir {settings.results_dir} is a local path: the search will not start if the Ray at RAY_ADDRESS has "
            "more than one node; name a folder on a file system that all of them share"
        )


def _slots(preflight: Preflight, settings: Settings, cgroup: Path) -> None:
    """Whether there are CPUs for one trial, and memory for those that would run at a time."""
    cpus, wanted = preflight.num_cpus, settings.cpus_per_trial
    if wanted > cpus:
        preflight.fatal.append(
            f"--cpus-per-trial {wanted:g}: only {cpus} CPU{'s' * (cpus > 1)} here; use --cpus-per-trial {cpus} or less, "
            "or give more CPUs"
        )
        return
    trials = min(int(cpus // wanted), settings.max_concurrent or settings.num_samples, settings.num_samples)
    needed, limit = BASE_MIB + TRIAL_MIB * trials, memory_limit_mib(cgroup)
    if limit is not None and limit < needed:
        fewer = "" if trials == 1 else ", or use a lower --max-concurrent"
        preflight.fatal.append(
            f"memory limit {limit} MiB: {trials} trial{'s' * (trials > 1)} at a time need {needed} MiB; "
            f"raise the container's limit{fewer}"
        )


def _shared_memory(preflight: Preflight, shm: Path) -> None:
    try:
        free = psutil.disk_usage(str(shm)).free // 2**20
    except OSError:
        free = 0
    if free < SMALL_SHM_MIB:
        preflight.details.append(
            f"{shm} has {free} MiB free: Ray's object store goes to the temporary folder, which does as well"
        )


def _token(preflight: Preflight, settings: Settings) -> None:
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        ray = "kubectl exec deploy/mnist-ray-tune -- ray"
    elif settings.dashboard_host not in LOOPBACK and Path("/.dockerenv").exists():
        ray = f"docker exec {socket.gethostname()} ray"  # Docker's default for it is the container's id
    else:
        ray = "ray" if shutil.which("ray") else os.path.relpath(Path(sys.executable).with_name("ray"))
    preflight.token_command = f"{ray} get-auth-token"
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    if mode != "token" and not os.environ.get("RAY_ADDRESS"):
        preflight.fatal.append(f"RAY_AUTH_MODE {mode}: whoever reaches the dashboard could run code; unset it")
    try:
        preflight.token_source = provide_token()
    except (OSError, RuntimeError, ValueError) as error:
        preflight.fatal.append(
            f"the dashboard's token cannot be read or written ({error}); set HOME or RAY_AUTH_TOKEN_PATH to a writable place"
        )


def _free_port(preflight: Preflight, settings: Settings) -> None:
    """Take the next free port where nobody has named one and nobody outside relies on it."""
    host, first = settings.dashboard_host, settings.dashboard_port
    named = port_is_fixed(settings)
    end = time.monotonic() + PORT_SECONDS
    try:
        while named and not _is_free(host, first) and time.monotonic() < end:
            time.sleep(0.1)
        for port in range(first, min(first + (1 if named else 50), 65536)):
            if _is_free(host, port):
                preflight.port = port
                if port != first:
                    preflight.notes.append(f"port {first} is taken: the dashboard is on {port}")
                return
        preflight.fatal.append(f"--dashboard-port {first} on {host}: taken; name a free one, or end what holds it")
    except (OSError, TypeError, UnicodeError) as error:  # the latter two for texts that are no host names
        option = f"--dashboard-port {first}" if getattr(error, "errno", 0) == errno.EACCES else f"--dashboard-host {host}"
        preflight.fatal.append(f"{option}: cannot be listened on ({getattr(error, 'strerror', None) or error}); name another")


def _is_free(host: str, port: int) -> bool:
    """Raises OSError when it cannot be listened on whoever else does."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True

"""What would go wrong later, said now, each with its remedy."""

from __future__ import annotations

import errno
import math
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console

from tictactoe import situation
from tictactoe.core.game import Board
from tictactoe.errors import UserError
from tictactoe.process import memory, node, ports, ray_address
from tictactoe.process.cgroup import CGROUP, usable_cpus
from tictactoe.process.environment import provide_token, session_folder, temporary_folder, token_is_given
from tictactoe.process.resources import shares
from tictactoe.settings import Settings
from tictactoe.text import count

SMALL_SHM_MIB = 120
"""Less room in /dev/shm than that, and the object store (`tuning/cluster.py`) goes elsewhere."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a look, no file
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass
class Preflight:
    """What this machine has for a search, and what stands in its way."""

    num_cpus: int
    """CPUs for Ray."""
    port: int
    """Port for the dashboard."""
    metrics_port: int = 0
    """Port for metrics; 0 for none."""
    max_concurrent: int | None = None
    """Trials at a time, where there is memory for fewer than the CPUs and settings allow."""
    memory: str = ""
    """What there is, and what a search takes; empty where trials run elsewhere."""
    token_source: str = ""
    """The variable or file that the dashboard's token is from."""
    token_command: str = ""
    """What prints the token, from where the user sits; nothing does where only RAY_AUTH_TOKEN has it."""
    notes: list[str] = field(default_factory=list)
    """Worth knowing at the start of every search."""
    details: list[str] = field(default_factory=list)
    """Worth knowing for who asks with `--check`."""
    fatal: list[str] = field(default_factory=list)
    """What keeps a search from running."""

    @property
    def token(self) -> str:
        """Which token the dashboard asks for."""
        if not self.token_command:
            return f"the token in {self.token_source or 'no place yet'}"
        return f"the token that `{self.token_command}` prints; from {self.token_source}"

    def require(self) -> None:
        """Raise UserError with the first of what is fatal."""
        if self.fatal:
            raise UserError(self.fatal[0])


def inspect(settings: Settings, cgroup: Path = CGROUP, shm: Path = SHARED_MEMORY) -> Preflight:
    """Look at everything that can be looked at without starting Ray; with `--check` nothing is made.

    What concerns a Ray of our own alone is left out where RAY_ADDRESS names a running one.
    """
    preflight = Preflight(_cpus(settings, cgroup), settings.dashboard_port)
    _first_check(preflight, settings)
    make = not settings.check or settings.deep
    _writable(preflight, "--results-dir", settings.results_dir, make)
    preflight.notes += situation.here().notes(settings.results_dir)
    try:
        _writable(preflight, "HOME", Path.home(), make)
    except RuntimeError:
        preflight.fatal.append("HOME is not set, and this user has no home folder; set it to a writable folder")
    _temporary_folder(preflight)
    _token(preflight, settings, make)
    if settings.cluster:
        _cluster(preflight, settings)
    if address := ray_address.existing():
        if problem := ray_address.problem(address):
            preflight.fatal.append(problem)
        if (named := os.environ.get("RAY_TMPDIR")) and not os.access(named, os.W_OK | os.X_OK):
            preflight.fatal.append(f"RAY_TMPDIR {named}: no folder that can be written to; unset it, or name another")
    else:
        _interpreter(preflight)
        _session_folder(preflight)
        _encryption(preflight)
        _slots(preflight, settings, cgroup)
        _shared_memory(preflight, shm)
        _dashboard_port(preflight, settings)
        if not preflight.fatal:  # an address that will not do has been told
            _metrics_port(preflight, settings, _node_host(settings) if settings.cluster else node.LOOPBACK)
    return preflight


def inspect_worker(settings: Settings, cgroup: Path = CGROUP) -> Preflight:
    """Look at what can be looked at before a worker looks for its head."""
    preflight = Preflight(_cpus(settings, cgroup), settings.dashboard_port)
    _temporary_folder(preflight)
    preflight.fatal += node.problems(settings)
    preflight.notes += node.notes(settings)
    _interpreter(preflight)
    _session_folder(preflight)
    _encryption(preflight)
    if not preflight.fatal:
        _metrics_port(preflight, settings, _node_host(settings))
    return preflight


def show(console: Console, preflight: Preflight, tracking: str, decisions: Sequence[str] = ()) -> int:
    """Print it all, with what was made of others' variables; the exit code of `--check`."""
    for kind, lines in (("error", preflight.fatal), ("note", preflight.notes), ("note", preflight.details)):
        for line in lines:
            console.print(f"{kind}: {line}")
    if address := os.environ.get("RAY_ADDRESS"):
        console.print(f"Ray: the one at {address}, as RAY_ADDRESS says")
    else:
        console.print(f"CPUs for trials: {preflight.num_cpus}")
        if preflight.memory:
            console.print(f"memory: {preflight.memory}")
        console.print(f"dashboard: port {preflight.port}")
        console.print(f"metrics: port {preflight.metrics_port}" if preflight.metrics_port else "metrics: none")
    console.print(f"dashboard's sign-in: {preflight.token}")
    console.print(tracking)
    if decisions:
        console.print("variables of other tools that are set:")
        for decision in decisions:
            console.print(f"  {decision}")
    console.print("a search would not start" if preflight.fatal else "ready")
    return 2 if preflight.fatal else 0


def _cpus(settings: Settings, cgroup: Path) -> int:
    """CPUs of this machine that are Ray's."""
    return usable_cpus(cgroup) if settings.num_cpus is None else settings.num_cpus


def port_is_fixed(settings: Settings) -> bool:
    """Whether the dashboard must have its port: somebody has named it, or those outside rely on it."""
    return "dashboard_port" in settings.model_fields_set or settings.dashboard_host not in LOOPBACK


def _first_check(preflight: Preflight, settings: Settings) -> None:
    board = Board.parse(settings.board)
    if settings.games >= 3**board.cells:  # more than there are positions: no need to count them
        return
    from tictactoe.core.evaluation import check_grid

    first = check_grid(board, 10**12)[0]
    if settings.games < first:
        preflight.fatal.append(
            f"--games {settings.games}: ends before the first check on {board}, after {first} games; "
            f"use --games {first} or more"
        )


def _writable(preflight: Preflight, option: str, folder: Path, make: bool) -> None:
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        if there != folder:
            preflight.details.append(f"{option} {folder} is not there; a search would make it")
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"x")
    except OSError as error:
        preflight.fatal.append(f"{option} {folder}: cannot be written ({error.strerror}); name a writable folder")


def _interpreter(preflight: Preflight) -> None:
    if "\\" in sys.executable or "\n" in sys.executable:  # Ray's command lines are taken apart there
        preflight.fatal.append(
            f"the Python environment is {sys.executable}: Ray cannot start from a path with a backslash; use another folder"
        )


def _slots(preflight: Preflight, settings: Settings, cgroup: Path) -> None:
    """Whether there are CPUs for one trial, and how many trials at a time there is memory for."""
    cpus, wanted = preflight.num_cpus, settings.cpus_per_trial
    if wanted > cpus and settings.cluster:
        return  # trials run elsewhere
    if wanted > cpus:
        preflight.fatal.append(
            f"--cpus-per-trial {wanted:g}: only {cpus} CPU{'s' * (cpus > 1)} here; use --cpus-per-trial {cpus} or less, "
            "or give more CPUs"
        )
        return
    trials = min(shares(cpus, wanted), settings.max_concurrent or settings.num_samples, settings.num_samples)
    board, room = Board.parse(settings.board), memory.room(cgroup)
    need = memory.need(board, settings.seeds)
    fit = need.trials(room.mib)
    elsewhere = memory.worker_need(board, settings.seeds)
    preflight.memory = (
        f"{room}; Ray and the program take {need.program:,.0f}, a worker takes {elsewhere.program:,.0f}, "
        f"each trial {need.trial:,.0f}"
    )
    if not fit:
        remedies = ["raise the limit"] * (room.limit is not None) + ["end other programs"] * room.others
        if seeds := memory.most_seeds(board, settings.seeds, room.mib):
            remedies.append(f"use --seeds {seeds} or fewer")
        preflight.fatal.append(
            f"memory {room}: a search on {board} with {count(settings.seeds, 'seed')} needs {need.of(1):,} MiB "
            f"with one trial at a time; {', or '.join(remedies)}"
        )
    elif fit < trials:
        preflight.max_concurrent = fit
        # Ray is told too: with CPUs to spare it starts a trial's process while the one before it is still ending.
        preflight.num_cpus = min(cpus, math.ceil(fit * wanted))
        preflight.notes.append(
            f"memory for {count(fit, 'trial')} at a time instead of {trials}: {room}; Ray and the program take "
            f"{need.program:,.0f}, each trial {need.trial:,.0f}"
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


def _temporary_folder(preflight: Preflight) -> None:
    named, used = os.environ.get("TMPDIR"), tempfile.gettempdir()
    if named and not (Path(named).is_dir() and Path(named).samefile(used)):
        preflight.notes.append(f"TMPDIR {named}: no folder that can be written to; temporary files go to {used}")
    if (folder := _told(preflight, *temporary_folder())) is not None:
        os.environ["TMPDIR"] = tempfile.tempdir = folder


def _session_folder(preflight: Preflight) -> None:
    if (folder := _told(preflight, *session_folder())) is not None:
        os.environ["RAY_TMPDIR"] = folder


def _told(preflight: Preflight, folder: Path | None, message: str) -> str | None:
    """The folder that has to take another's place, if there is one, after that was told."""
    if message:
        (preflight.fatal if folder is None else preflight.notes).append(message)
    return str(folder) if message and folder is not None else None


def _encryption(preflight: Preflight) -> None:
    if os.environ.get("RAY_USE_TLS", "").lower() not in ("1", "true"):
        return
    for name in ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT"):
        path = os.environ.get(name)
        if path is None or not Path(path).is_file():
            what = "is not set" if path is None else f"{path}: there is no such file"
            preflight.fatal.append(f"{name} {what}, which RAY_USE_TLS asks for; name the file, or unset RAY_USE_TLS")


def _token(preflight: Preflight, settings: Settings, make: bool) -> None:
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    if settings.cluster and (mode != "token" or not token_is_given()):
        return  # which is told of a node among others
    if mode != "token" and not os.environ.get("RAY_ADDRESS"):
        preflight.fatal.append(f"RAY_AUTH_MODE {mode}: whoever reaches the dashboard could run code; unset it")
    try:
        file = provide_token(make)
    except (OSError, RuntimeError, ValueError) as error:
        preflight.fatal.append(
            f"the dashboard's token cannot be read or written ({error}); set HOME or RAY_AUTH_TOKEN_PATH to a writable place, "
            "or mend or remove the file"
        )
        return
    preflight.token_source = "RAY_AUTH_TOKEN" if os.environ.get("RAY_AUTH_TOKEN") else str(file)
    if file is None:
        return
    if not make and not file.exists():
        preflight.details.append(f"{file} is not there; a search would make it, with a token of its own")
    preflight.token_command = situation.here().from_outside(f"cat {shlex.quote(str(file))}", "ray get-auth-token")


def _cluster(preflight: Preflight, settings: Settings) -> None:
    """Whether others can join a Ray of our own; Ray is told that they shall."""
    if ray_address.existing():
        preflight.fatal.append(
            "--cluster: RAY_ADDRESS names a Ray that runs already, which nodes join by `ray start`; leave out --cluster, or "
            + ray_address.OWN
        )
        return
    problems = list(node.problems(settings))
    preflight.fatal += problems
    preflight.notes += node.notes(settings)
    if problems:
        return
    port = settings.cluster_port
    if not ports.becomes_free(_node_host(settings), port):
        preflight.fatal.append(f"--cluster-port {port}: taken; name a free one, here and to the workers, or end what holds it")
    node.tell_ray_of_head(settings)


def _dashboard_port(preflight: Preflight, settings: Settings) -> None:
    """Take the next free port where nobody has named one and nobody outside relies on it."""
    host, first = settings.dashboard_host, settings.dashboard_port
    try:
        port = ports.first_free(host, first, port_is_fixed(settings))
    except (OSError, TypeError, UnicodeError) as error:  # the latter two for texts that are no host names
        option = f"--dashboard-port {first}" if getattr(error, "errno", 0) == errno.EACCES else f"--dashboard-host {host}"
        preflight.fatal.append(f"{option}: cannot be listened on ({getattr(error, 'strerror', None) or error}); name another")
        return
    if port is None:
        preflight.fatal.append(f"--dashboard-port {first} on {host}: taken; name a free one, or end what holds it")
        return
    preflight.port = port
    if port != first:
        preflight.notes.append(f"port {first} is taken: the dashboard is on {port}")


def _metrics_port(preflight: Preflight, settings: Settings, host: str) -> None:
    """The same of the port for metrics, unless they are switched off. Ray listens at `host`."""
    first = settings.metrics_port
    if not first:
        return
    others = {preflight.port, settings.cluster_port} if settings.cluster else {preflight.port}
    try:
        port = ports.claim(host, first, "metrics_port" in settings.model_fields_set, others)
    except OSError as error:
        preflight.fatal.append(f"--metrics-port {first}: cannot be listened on ({error.strerror}); name another, or 0 for none")
        return
    if port is None:
        preflight.fatal.append(f"--metrics-port {first}: taken; name a free one, or 0 for none, or end what holds it")
        return
    preflight.metrics_port = port
    if port != first:
        preflight.notes.append(f"port {first} is taken: metrics are on {port}")


def _node_host(settings: Settings) -> str:
    """Where the Ray of a node among others listens."""
    own = node.address(settings.node_address)
    return own if node.is_loopback(own) else "::" if ":" in own else "0.0.0.0"  # noqa: S104 - as Ray listens there

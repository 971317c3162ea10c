"""Ray's own life: up beside the main thread, watched while it works, and really gone at the end."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private import worker

from tictactoe.errors import UserError
from tictactoe.process import node, processes, ray_address, reaper
from tictactoe.process.interrupt import Interrupt
from tictactoe.process.preflight import SHARED_MEMORY, Preflight, port_is_fixed
from tictactoe.process.threads import beside
from tictactoe.settings import Settings
from tictactoe.tuning import existing, gcs, logs, meeting
from tictactoe.tuning.workers import PATIENCE_SECONDS, Wait, title

OBJECT_STORE_BYTES = 100 * 1024 * 1024
"""The trials hand over a few numbers; Ray's default would take a third of the memory."""
PORT_TRIES = 10
PORT_TAKEN = ("already occupied", "Failed to find a valid port for dashboard")
"""What Ray says of a dashboard's port that somebody has taken: before it starts the dashboard, and while it does."""
ALL_ADDRESSES = {"0.0.0.0": "localhost", "::": "::1"}  # noqa: S104 - looked up, not bound to
"""Addresses that stand for all of a machine's, and by which a browser on it finds the dashboard then."""
_LONG_FORM = {"::1": "0:0:0:0:0:0:0:1"}
"""Ray makes 127.0.0.1 of ::1."""
START_SECONDS = 120.0
"""How long a Ray of our own may take to come up; Ray itself gives most of its parts 30 s."""
CONNECT_SECONDS = 20.0
"""How long a Ray that runs already may take to answer."""
GONE_LOOKS = 3
"""So often in a row the GCS at RAY_ADDRESS does not answer, and that Ray has gone: after 13 s at most."""
SHUTDOWN_SECONDS = 0.5
"""What Ray's processes get to end by themselves; some would linger for a minute."""


class Launch:
    """Ray on its way up: a local one with its dashboard, or the one that RAY_ADDRESS names.

    Closes what an earlier session in this process left.
    """

    def __init__(self, settings: Settings, preflight: Preflight) -> None:
        if ray.is_initialized():
            ray.shutdown()
        self._settings = settings
        self._existing = ray_address.existing()
        arguments: dict[str, Any] = {
            "address": self._existing or "local",
            "log_to_driver": settings.verbose,
            "logging_level": logging.INFO if settings.verbose else logging.CRITICAL,
        }
        if not self._existing:
            arguments |= {
                "num_cpus": preflight.num_cpus,
                "include_dashboard": True,
                "dashboard_host": _LONG_FORM.get(settings.dashboard_host, settings.dashboard_host),
                "dashboard_port": preflight.port,
                "_metrics_export_port": preflight.metrics_port or None,  # without one of ours Ray takes any
                "object_store_memory": OBJECT_STORE_BYTES,
            }
            if settings.cluster:
                arguments["_node_ip_address"] = node.address(settings.node_address)
            if (directory := plasma_directory()) is not None:
                arguments["_plasma_directory"] = directory
            if (quoted := shlex.quote(sys.executable)) != sys.executable:
                # Ray writes the interpreter's path into a line for a shell as it is.
                arguments["runtime_env"] = {"py_executable": quoted}
        worker._worker_logs_enabled = settings.verbose  # of the raylet's words on lost workers too, which are long
        if not settings.verbose:
            for name in ("ray", "ray.tune", "ray.train"):  # what goes wrong with a trial is told in one line of ours
                logging.getLogger(name).setLevel(logging.CRITICAL)
        self._result: Any = None
        self._done = threading.Event()
        # Beside the main thread: there ray.init would put its own SIGTERM handler in place of ours. The thread
        # stays, since Linux sends Ray's processes their parent-death signal when the thread that made them ends.
        threading.Thread(target=self._initialize, args=(arguments,), daemon=True).start()

    def wait(self, interrupt: Interrupt, say: Callable[[str], None]) -> str | None:
        """The dashboard's address once Ray is up; None if interrupted meanwhile. `say` hears what a long wait is for.

        Raises UserError when the Ray at RAY_ADDRESS will not do, or one lacks what a trial needs; RuntimeError when
        our own does not come up.
        """
        waiting = Wait("", say, CONNECT_SECONDS if self._existing else START_SECONDS)
        while not self._done.wait(0.1):
            if interrupt.event.is_set():
                return None
            interrupt.reinstall()  # Ray's library puts a handler that prints a stack in front
            if waiting.seconds > PATIENCE_SECONDS:
                waiting.what = self._missing()
            if waiting.is_over():
                self._result = TimeoutError(f"still waiting for {waiting.what} after {waiting.limit:.0f} s")
                break
        interrupt.reinstall()
        started = self._result
        if isinstance(started, UserError):
            raise started
        if isinstance(started, BaseException):
            raise self._failed(started) from started
        if self._settings.cluster:
            meeting.announce(self._settings)
        elif not self._existing:
            self._require()
        return self._dashboard(str(started.address_info.get("webui_url") or ""))

    def _dashboard(self, found: str) -> str:
        """The dashboard's address, for a browser on this machine; `found` is what Ray says, with a host that may be another."""
        if self._existing:
            return f"http://{found}" if found else "none at that Ray"
        host = ALL_ADDRESSES.get(self._settings.dashboard_host, self._settings.dashboard_host)
        port = found.rpartition(":")[2] or self._settings.dashboard_port
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def _missing(self) -> str:
        """What Ray's start waits for at the moment."""
        if self._existing:
            return f"the Ray at {self._existing}"
        there = {processes.name_of(process) for process in processes.ray_processes()}
        if "gcs_server" not in there:
            return "Ray's gcs_server"
        return "Ray's raylet" if "raylet" in there else "Ray's dashboard"

    def _failed(self, error: BaseException) -> Exception:
        """The error to end with."""
        if self._existing:
            return UserError(f"RAY_ADDRESS {self._existing}: {logs.cause(error)}; mend that Ray, or {ray_address.OWN}")
        why = logs.cause(error)
        if found := logs.last_words():
            why += f"; {found}"
        return RuntimeError(f"Ray did not start: {why}; {_remedy(why)}")

    def _initialize(self, arguments: dict[str, Any]) -> None:
        for _ in range(PORT_TRIES):
            try:
                if self._existing:
                    arguments["address"] = existing.require(self._existing)
                self._result = ray.init(**arguments)
                break
            except BaseException as error:  # handed to the main thread
                self._result = error
                if not any(words in str(error) for words in PORT_TAKEN):
                    break
            # Somebody has taken the port since preflight looked, or one who has just ended still holds it.
            if port_is_fixed(self._settings):
                time.sleep(0.5)
            else:
                arguments["dashboard_port"] += 1
        self._done.set()
        threading.Event().wait()

    def _require(self) -> None:
        """What no trial can do without. Where other machines may join, it is waited for instead."""
        (resources,) = (node["Resources"] for node in ray.nodes() if node["Alive"])
        for kind, wanted in (("CPU", self._settings.cpus_per_trial), ("GPU", self._settings.gpus_per_trial)):
            if wanted > (most := resources.get(kind, 0.0)):
                option = f"--{kind.lower()}s-per-trial"
                raise UserError(f"{option} {wanted:g}: Ray has no more than {most:g}; use {option} {most:g} or less")


def release_workers() -> None:
    """End the idle workers of a local Ray, some 150 MiB each: what comes after the last task has use for the memory."""
    processes.end(processes.workers("IDLE"), 0.0)


def stop() -> None:
    """End Ray, wait until its processes are gone, and remove what this run has in the folder for temporary files."""
    ours = processes.ray_processes()
    if ray.is_initialized():
        ray.shutdown()
    processes.end(ours, SHUTDOWN_SECONDS)
    processes.remove_temporary_folders()


@contextmanager
def stopped_at_end(folder: Path | None) -> Iterator[None]:
    """`stop` in the end, whatever happens: where this process cannot do it any more, its reaper does."""
    reaper.start(folder)
    try:
        yield
    finally:
        stop()


@contextmanager
def watched(lost: Callable[[str], None]) -> Iterator[None]:
    """Call `lost` with the reason when Ray dies meanwhile, which `Tuner.fit` would not notice for minutes."""
    vital = [process for process in _ours_or_the_nodes() if processes.name_of(process) in processes.VITAL]
    # The raylet ends when the gcs_server has, not the other way round.
    watch = {processes.name_of(process): process for process in vital}
    address = ray.get_runtime_context().gcs_address if ray_address.existing() else None

    def reason() -> str | None:
        for name in ("gcs_server", "raylet"):
            if name in watch and not processes.lives(watch[name]):
                return f"Ray's {name} died"
        if address is not None and not any(gcs.answers(address) for _ in range(GONE_LOOKS)):
            return f"the Ray at RAY_ADDRESS {ray_address.existing()} has gone"
        return None

    def run(stopped: threading.Event) -> None:
        while not stopped.wait(1.0):
            if why := reason():
                if not stopped.is_set():
                    lost(why)
                return

    with beside(run):
        yield


def _ours_or_the_nodes() -> Iterable[psutil.Process]:
    """The processes of our own Ray; of one that runs already, those of the node that this machine is."""
    if not ray_address.existing():
        return processes.ray_processes()
    node = ray.get_runtime_context().get_node_id()
    return [process for process in psutil.process_iter() if node in title(process)]


def _remedy(why: str) -> str:
    """What helps where Ray does not start for this reason."""
    if "AF_UNIX" in why:
        return "set RAY_TMPDIR to a folder with a shorter path"
    if "Errno 28" in why or "No space" in why:
        return "make room there"
    if "[Errno" in why and (folder := os.environ.get("RAY_TMPDIR", "")) and folder in why:
        return "set RAY_TMPDIR to another folder that can be written to"
    return "--verbose shows more"


def plasma_directory() -> str | None:
    """A folder for the object store where shared memory is too small for it (64 MB in a plain container)."""
    try:
        free = psutil.disk_usage(str(SHARED_MEMORY)).free
    except OSError:
        free = 0
    return None if free > 1.2 * OBJECT_STORE_BYTES else tempfile.gettempdir()

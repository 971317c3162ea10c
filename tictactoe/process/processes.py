"""The processes and folders that Ray starts for a run, and how to be rid of them. Knows no Ray."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

VITAL = ("raylet", "gcs_server")
"""The processes without which Ray is lost."""
MARK = "TICTACTOE_STARTED_BY"
"""Environment variable that what a run starts inherits: `<pid of the program> <its start time>`."""


def ray_processes() -> list[psutil.Process]:
    """The processes of a Ray that this one has started: its children of Ray's, and all below them."""
    processes = []
    for child in psutil.Process().children():
        if _is_ray(child):
            processes.append(child)
            with suppress(psutil.NoSuchProcess):
                processes += child.children(recursive=True)
    return processes


def idle_workers() -> list[psutil.Process]:
    """Ray's worker processes below this one that have nothing to do."""
    return [child for child in ray_processes() if name_of(child) == "ray::IDLE"]


def left_by(pid: int, mark: str) -> list[psutil.Process]:
    """What the run with this process id and mark has started and still lives, wherever it was reparented to.

    Most carry the mark; some of Ray's agents overwrite their environment with their title, but keep log files
    of the run's session open.
    """
    sessions = tuple(f"{folder}/" for folder in temporary_folders(pid))
    return [p for p in psutil.process_iter() if p.pid != os.getpid() and _belongs(p, mark, sessions)]


def temporary_folders(pid: int) -> list[Path]:
    """What the run `pid` has under the folder for temporary files: its own, and the session folders of its Ray."""
    base = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    return [base / f"tictactoe-{pid}", *sorted((base / "ray").glob(f"session_*_{pid}"))]


def use_temporary_folder() -> None:
    """Have everything that this process starts put temporary files into a folder of its own, which is easily removed.

    Only Ray stays where it would be: the names of its sockets may not be much longer.
    """
    os.environ.setdefault("RAY_TMPDIR", tempfile.gettempdir())
    own = temporary_folders(os.getpid())[0]
    own.mkdir(mode=0o700, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(own)
    from tictactoe.core.compiled import FOLDER  # only here: the reaper, which imports this file too, has no use for Numba

    if FOLDER is not None:  # where no other folder can be written to, it would be made again in the new one by each process
        os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(FOLDER).parent))


def remove_temporary_folders(pid: int) -> None:
    """Remove what a run has left: Ray's logs and sockets, W&B's and Python's folders, some 8 MB."""
    for folder in temporary_folders(pid):
        shutil.rmtree(folder, ignore_errors=True)


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill those that have not ended yet."""
    for process in processes:
        with suppress(psutil.Error):
            process.kill()


def end(processes: Iterable[psutil.Process], patience: float) -> None:
    """Wait `patience` seconds for processes to end by themselves, then kill those that have not."""
    waiting = _living(processes)
    deadline = time.monotonic() + patience
    while waiting and time.monotonic() < deadline:
        time.sleep(0.02)
        waiting = _living(waiting)
    kill(waiting)
    deadline = time.monotonic() + 1.0
    while (waiting := _living(waiting)) and time.monotonic() < deadline:
        time.sleep(0.02)


def lives(process: psutil.Process) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _living(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if lives(process)]


def name_of(process: psutil.Process) -> str:
    """Its name, empty when it has just ended."""
    try:
        return str(process.name())
    except psutil.Error:
        return ""


def _is_ray(process: psutil.Process) -> bool:
    """Wherever Python and this program are installed: a folder above them may well be called ray."""
    with suppress(psutil.Error, OSError):  # it has just ended
        return name_of(process) in VITAL or any("/site-packages/ray/" in word for word in process.cmdline()[:3])
    return False


def _belongs(process: psutil.Process, mark: str, sessions: tuple[str, ...]) -> bool:
    with suppress(psutil.Error, OSError):  # somebody else's, or just ended
        if process.environ().get(MARK) == mark:
            return True
        return bool(sessions) and any(file.path.startswith(sessions) for file in process.open_files())
    return False

"""The processes and folders that Ray starts for a run, and how to be rid of them. Knows no Ray."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

from tictactoe.errors import UserError
from tictactoe.files import is_private

VITAL = ("raylet", "gcs_server")
"""The processes without which Ray is lost."""
MARK = "TICTACTOE_STARTED_BY"
"""Environment variable that what a run starts inherits: the name of the run's folders for temporary files."""
PREFIX = "ttt-"
"""How these names begin. They are short, since Linux lets the name of a socket have 107 bytes, and Ray takes 68 of them."""
_TITLES = ("ray::", "ray-dashboard-")
"""How the titles begin that some of Ray's processes have written over their command line and environment."""
_folders: list[Path] = []
"""This run's folders for temporary files."""


def ray_processes() -> list[psutil.Process]:
    """The processes of a Ray that this one has started: its children of Ray's, and all below them."""
    processes = []
    for child in psutil.Process().children():
        if _is_ray(child):
            processes.append(child)
            with suppress(psutil.NoSuchProcess):
                processes += child.children(recursive=True)
    return processes


def workers(title: str) -> list[psutil.Process]:
    """Ray's worker processes below this one that do something with such a title: `IDLE`, where it is nothing."""
    return [child for child in ray_processes() if name_of(child).startswith(f"ray::{title}") and lives(child)]


def use_temporary_folders() -> list[int]:
    """Have everything that this process starts put temporary files into folders of its own, and remove those of dead runs.

    There is one where temporary files go, and one more where RAY_TMPDIR names another place: Ray's session is in that. Both
    are locked by the descriptors returned. As long as one is open, here or in the reaper, no other run takes the folder for
    a dead one's. A process id would tell less: containers may share the place, and have the same ids.
    Raises UserError where no folder can be made.
    """
    temporary = Path(tempfile.gettempdir()).absolute()
    named = os.environ.get("RAY_TMPDIR")
    places = {temporary: "TMPDIR", Path(named or temporary).absolute(): "RAY_TMPDIR" if named else "TMPDIR"}
    name = PREFIX + secrets.token_hex(4)
    locks = []
    for place, variable in places.items():
        _remove_dead(place)
        try:
            locks.append(_make(place, name))
        except OSError as error:
            raise UserError(f"{variable} {place}: cannot be written ({error.strerror}); name a writable folder") from None
        _folders.append(place / name)
    os.environ[MARK] = name
    os.environ["TMPDIR"] = tempfile.tempdir = str(_folders[0])
    os.environ["RAY_TMPDIR"] = str(_folders[-1])
    from tictactoe.core import compiled  # only here: the reaper, which imports this file too, has no use for Numba

    if folder := compiled.folder():  # where no other can be written to, each process would make it again in the new one
        os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(folder).parent))
    return locks


def temporary_folders() -> list[Path]:
    """This run's folders for temporary files: its own, and that of its Ray if it has another one."""
    return [*_folders]


def session_folder() -> Path | None:
    """Where the Ray that this run has started keeps its logs and sockets; None as long as there is none."""
    sessions = (path for folder in _folders for path in folder.glob("ray/session_*") if not path.is_symlink())
    return next(sessions, None)


def remove_temporary_folders() -> None:
    """Remove what this run has there: Ray's logs and sockets, W&B's and Python's folders, some 8 MB."""
    _remove(_folders)


def left_by(folders: list[Path]) -> list[psutil.Process]:
    """What the run with these folders has started and still lives, wherever it was reparented to.

    Most carry the run's mark. Some of Ray's have written their title over their environment, but keep log files in the folder
    open. (So may others, an editor say, but these have no such title.)
    """
    marks, insides = {folder.name for folder in folders}, tuple(f"{folder}/" for folder in folders)
    return [p for p in psutil.process_iter() if p.pid != os.getpid() and _belongs(p, marks, insides)]


def clear(folders: list[Path], patience: float) -> None:
    """End what the run with these folders has left, after `patience` seconds to end by itself, and remove the folders."""
    end(left_by(folders), patience)
    end(left_by(folders), 0.0)  # what the first ones have started meanwhile
    _remove(folders)


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _make(place: Path, name: str) -> int:
    """Make a folder for this user alone; returns a descriptor that locks it. Raises OSError."""
    unlocked = place / f".{name}"  # not to be found by others before it is locked
    unlocked.mkdir(mode=0o700)
    descriptor = os.open(unlocked, os.O_RDONLY | os.O_DIRECTORY)
    with suppress(OSError):  # some network file systems lock no folders
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    unlocked.rename(place / name)
    return descriptor


def _remove_dead(place: Path) -> None:
    """Clear what killed runs of this user have left there, where no reaper was left to do it: in a container, say."""
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is gone, or locked, or cannot be
            if is_private(folder):
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    clear([folder], 0.0)
                finally:
                    os.close(descriptor)


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


@cache
def _ray_is_in() -> tuple[str, ...]:
    """The folder in which Ray is installed, as Python finds it and as it really is."""
    spec = importlib.util.find_spec("ray")
    found = spec.submodule_search_locations or [] if spec else []
    return tuple(f"{form}/" for folder in found for form in (folder, os.path.realpath(folder)))


def _is_ray(process: psutil.Process) -> bool:
    """By what it runs: a folder above Python or this program may well be called ray."""
    with suppress(psutil.Error, OSError):  # it has just ended
        return name_of(process) in VITAL or any(word.startswith(_ray_is_in()) for word in process.cmdline()[:3])
    return False


def _belongs(process: psutil.Process, marks: set[str], insides: tuple[str, ...]) -> bool:
    with suppress(psutil.Error, OSError):  # somebody else's, or just ended
        if process.environ().get(MARK) in marks:
            return True
        if "".join(process.cmdline()[:1]).startswith(_TITLES):
            return any(file.path.startswith(insides) for file in process.open_files())
    return False

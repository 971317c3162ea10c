"""Processes: who lives, how they are ended, and whose folders are whose."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.program import ROOT
from tictactoe.errors import UserError
from tictactoe.process import processes

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
Start = Callable[[str], psutil.Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a little Python program, and wait until it is up; it is gone at the end."""
    started: list[subprocess.Popen[str]] = []

    def run(code: str) -> psutil.Process:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        return psutil.Process(process.pid)

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def zombie() -> Iterator[psutil.Process]:
    """A process that has ended and that nobody has waited for."""
    ended = subprocess.Popen(["true"])
    process = psutil.Process(ended.pid)
    end = time.monotonic() + 5
    while process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.01)
    yield process
    ended.wait()


@pytest.fixture
def gone() -> psutil.Process:
    """A process that has ended for good."""
    ended = subprocess.Popen(["sleep", "0.2"])
    process = psutil.Process(ended.pid)
    ended.wait()
    return process


def test_who_lives(start: Start, zombie: psutil.Process, gone: psutil.Process) -> None:
    assert [processes.lives(process) for process in (start(SLEEP), zombie, gone)] == [True, False, False]
    assert processes.name_of(gone) == ""
    assert processes.name_of(zombie) == "true"


def test_killing_stumbles_over_nobody(start: Start, zombie: psutil.Process, gone: psutil.Process) -> None:
    living = start(DEAF)
    processes.kill([gone, zombie, living])
    processes.end([living], 1.0)
    assert not processes.lives(living)


def test_ending_waits_as_long_as_it_must_and_no_longer(start: Start, zombie: psutil.Process, gone: psutil.Process) -> None:
    began = time.monotonic()
    processes.end([zombie, gone], 10.0)
    assert time.monotonic() - began < 1  # nobody is left to wait for
    short = start("import time; print('up', flush=True); time.sleep(0.3)")
    began = time.monotonic()
    processes.end([short], 20.0)
    assert time.monotonic() - began < 5
    assert not processes.lives(short)
    long = start(DEAF)
    began = time.monotonic()
    processes.end([long], 0.3)
    assert time.monotonic() - began >= 0.3
    assert not processes.lives(long)


def use(place: Path, monkeypatch: pytest.MonkeyPatch, ray: Path | None = None) -> tuple[list[Path], list[int]]:
    """The folders that this process takes for temporary files, as if it were a new one, and their locks."""
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setattr(processes, "_folders", [])
    for name in ("TMPDIR", processes.MARK, "NUMBA_CACHE_DIR", "RAY_TMPDIR"):
        monkeypatch.setenv(name, "")
    if ray is not None:
        monkeypatch.setenv("RAY_TMPDIR", str(ray))
    locks = processes.use_temporary_folders()
    return processes.temporary_folders(), locks


def test_temporary_files_of_a_run_are_in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own,), _ = use(tmp_path, monkeypatch)
    assert own.parent == tmp_path and own.stat().st_mode & 0o777 == 0o700
    assert os.environ["TMPDIR"] == os.environ["RAY_TMPDIR"] == tempfile.gettempdir() == str(own)
    assert os.environ[processes.MARK] == own.name
    (other,), _ = use(tmp_path, monkeypatch)
    assert other != own
    assert processes.session_folder() is None
    (other / "ray" / "session_1").mkdir(parents=True)
    (other / "ray" / "session_latest").symlink_to("session_1")
    assert processes.session_folder() == other / "ray" / "session_1"
    processes.remove_temporary_folders()
    assert [*tmp_path.iterdir()] == [own]


def test_ray_has_a_folder_where_its_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "short").mkdir()
    (own, rays), _ = use(tmp_path, monkeypatch, tmp_path / "short")
    assert (own.parent, rays.parent) == (tmp_path, tmp_path / "short")
    assert (os.environ["TMPDIR"], os.environ["RAY_TMPDIR"]) == (str(own), str(rays))
    assert own.name == rays.name
    with pytest.raises(
        UserError, match=r"^RAY_TMPDIR .*/none: cannot be written \(No such file or directory\); name a writable"
    ):
        use(tmp_path, monkeypatch, tmp_path / "none")


def test_sockets_of_ray_can_be_in_a_usual_place_for_temporary_files() -> None:
    name = f"/tmp/job.123456789/{processes.PREFIX}12345678/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
    assert len(name) <= 107


def test_folders_of_dead_runs_are_removed_and_no_others(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (dead,), (lock,) = use(tmp_path, monkeypatch)
    (dead / "ray").mkdir()
    left = start(SLEEP)
    (living,), _ = use(tmp_path, monkeypatch)  # in whatever container: the lock is the kernel's
    open_to_others = tmp_path / f"{processes.PREFIX}00000000"
    open_to_others.mkdir()
    open_to_others.chmod(0o755)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    link = tmp_path / f"{processes.PREFIX}11111111"
    link.symlink_to(elsewhere)
    os.close(lock)
    (new,), _ = use(tmp_path, monkeypatch)
    assert {*tmp_path.iterdir()} == {living, open_to_others, elsewhere, link, new}
    assert not processes.lives(left)


def test_only_what_a_run_has_started_is_its(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the mark, or by a title of Ray's and an open file: a `tail -f` of a log file is somebody else's."""
    (own,), _ = use(tmp_path, monkeypatch)
    mine = start(SLEEP)
    use(tmp_path, monkeypatch)
    other = start(SLEEP)
    (own / "log").touch()
    monkeypatch.delenv(processes.MARK)
    with (own / "log").open() as log:
        titles = ("ray::DashboardAgent", "ray-dashboard-JobHead-0", "ray::OfAnother", "tail")
        started = [
            subprocess.Popen([title, "600"], executable="/bin/sleep", stdin=None if "Another" in title else log)
            for title in titles
        ]
    try:
        left = processes.left_by([own])
        assert {*left} == {mine, *map(psutil.Process, [started[0].pid, started[1].pid])}
        assert other not in left
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_ray_is_known_wherever_it_is_installed(tmp_path: Path) -> None:
    """Debian has dist-packages, and a user's own installation another folder."""
    package = tmp_path / "lib" / "dist-packages" / "ray"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "monitor.py").write_text("input()")
    (package.parent / "mine.py").write_text("input()")
    code = f"""
import subprocess, sys
sys.path.insert(0, {str(package.parent)!r})
from tictactoe.process import processes
files = [{str(package)!r} + "/monitor.py", {str(package.parent)!r} + "/mine.py"]
started = [subprocess.Popen([sys.executable, file], stdin=subprocess.PIPE) for file in files]
print([process.pid in [ray.pid for ray in processes.ray_processes()] for process in started])
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout == "[True, False]\n"

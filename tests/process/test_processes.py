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


def test_the_folders_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    own, other = "session_2026-01-01_00-00-00_000000_17", "session_2026-01-01_00-00-00_000000_171"
    for folder in (f"ray/{own}/logs", f"ray/{other}/logs", "tictactoe-17", "tictactoe-171"):
        (tmp_path / folder).mkdir(parents=True)
    assert processes.temporary_folders(17) == [tmp_path / "tictactoe-17", tmp_path / "ray" / own]
    processes.remove_temporary_folders(17)
    processes.remove_temporary_folders(18)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == ["logs", "ray", other, "tictactoe-171"]


def test_temporary_files_of_a_run_are_in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    processes.use_temporary_folder()
    own = tmp_path / f"tictactoe-{os.getpid()}"
    assert own.is_dir() and own.stat().st_mode & 0o077 == 0
    assert os.environ["TMPDIR"] == tempfile.gettempdir() == str(own)
    assert os.environ.pop("RAY_TMPDIR") == str(tmp_path)


def test_what_a_run_has_started_carries_its_mark(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(processes.MARK, "17 1")
    mine = start(SLEEP)
    monkeypatch.setenv(processes.MARK, "17 2")
    other = start(SLEEP)
    marked = processes.left_by(17, "17 1")
    assert mine in marked and other not in marked
    assert os.getpid() not in [process.pid for process in marked]

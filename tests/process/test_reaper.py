"""The reaper: a little program is killed, and what it has started and left goes after it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.program import ROOT, clean_environment
from tictactoe.process import processes
from tictactoe.process.reaper import PATIENCE_SECONDS, WAIT_SECONDS

SECONDS = PATIENCE_SECONDS + 8
"""In which the reaper must be done, on a machine with other things to do too."""
PROGRAM = """
import os, subprocess, sys, tempfile, time
from pathlib import Path
from tictactoe.process import processes, reaper
base = Path(tempfile.gettempdir())
reaper.start(Path(sys.argv[1]))
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
marked = subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True, stdout=subprocess.PIPE)
marked.stdout.readline()
logs = base / "ray" / f"session_2026-01-01_{os.getpid()}" / "logs"
logs.mkdir(parents=True)
agent = subprocess.Popen(  # as Ray's agents, without the mark but with a log file of the session
    [sys.executable, "-c", deaf], start_new_session=True, stdout=subprocess.PIPE, stderr=(logs / "agent.log").open("w"),
    env={name: value for name, value in os.environ.items() if name != processes.MARK},
)
agent.stdout.readline()
Path(tempfile.gettempdir(), "file").touch()
print(marked.pid, agent.pid, tempfile.gettempdir(), logs.parent, os.environ[processes.MARK], flush=True)
{then}
"""


class Run:
    """A little program with a reaper."""

    def __init__(self, home: Path, then: str) -> None:
        self.folder = home / "search"
        self.folder.mkdir(exist_ok=True)
        (home / "temporary").mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.replace("{then}", then), str(self.folder)],
            cwd=ROOT, env=clean_environment(home, TMPDIR=str(home / "temporary")), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        marked, agent, temporary, session, *mark = self.process.stdout.readline().split()
        self.children = [psutil.Process(int(marked)), psutil.Process(int(agent))]
        self.folders = [Path(temporary), Path(session)]
        self.mark = " ".join(mark)

    def gone(self, seconds: float = SECONDS) -> bool:
        """Whether all that it had is gone within so many seconds."""
        end = time.monotonic() + seconds
        while any(map(processes.lives, self.children)) or any(folder.exists() for folder in self.folders):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        processes.kill(self.children)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    started = Run(tmp_path, "time.sleep(600)")
    yield started
    started.close()


def test_a_killed_program_leaves_nothing_and_nobody_else_is_touched(run: Run, tmp_path: Path) -> None:
    other_folder = tmp_path / "temporary" / "ray" / "session_2026-01-01_1"
    other_folder.mkdir()
    environment = os.environ | {processes.MARK: f"{run.process.pid} 1"}  # of an earlier one with the same process id
    with subprocess.Popen(["sleep", "600"], env=environment) as other, subprocess.Popen(["sleep", "600"]) as unmarked:
        try:
            assert all(map(processes.lives, run.children))
            assert all(folder.is_dir() for folder in run.folders)
            run.process.kill()
            run.process.wait()
            with (run.folder / "lock.reaper").open("w") as lock:
                with pytest.raises(BlockingIOError):  # the next run on this folder waits for it
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                assert run.gone()
                end = time.monotonic() + SECONDS
                while True:
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    except BlockingIOError:
                        assert time.monotonic() < end
                        time.sleep(0.05)
            assert other.poll() is None and unmarked.poll() is None
            assert other_folder.is_dir()
        finally:
            other.kill()
            unmarked.kill()


def test_the_next_run_begins_when_the_reaper_is_done(run: Run, tmp_path: Path) -> None:
    assert WAIT_SECONDS > PATIENCE_SECONDS + 2
    run.process.kill()
    run.process.wait()
    again = Run(tmp_path, "time.sleep(600)")
    try:
        assert run.gone(seconds=0)
        assert again.mark != run.mark
        assert all(map(processes.lives, again.children))
    finally:
        again.close()
    assert again.gone()


def test_signals_to_the_reaper_do_not_keep_it_from_its_work(run: Run) -> None:
    (reaper,) = (child for child in psutil.Process(run.process.pid).children() if "tictactoe.process.reaper" in child.cmdline())
    end = time.monotonic() + 5
    while not signals_ignored(reaper.pid):
        assert time.monotonic() < end
        time.sleep(0.02)
    reaper.terminate()
    run.process.kill()
    run.process.wait()
    assert run.gone()


def signals_ignored(pid: int) -> bool:
    """Whether a process ignores SIGTERM."""
    (mask,) = (line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigIgn"))
    return bool(int(mask, 16) >> 14 & 1)

"""The reaper: a little program is killed, and what it has started and left goes after it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tests.support.program import ROOT, clean_environment
from tictactoe.process import processes, reaper
from tictactoe.process.reaper import PATIENCE_SECONDS, QUIET_SECONDS, WAIT_SECONDS

SECONDS = PATIENCE_SECONDS + 8
"""In which the reaper must be done, on a machine with other things to do too."""
PROGRAM = """
import os, subprocess, sys, tempfile, time
sys.path.insert(0, os.getcwd())
from pathlib import Path
from tictactoe.process import processes, reaper
reaper.start(Path(sys.argv[1]))
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
marked = subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True, stdout=subprocess.PIPE)
marked.stdout.readline()
logs = Path(os.environ["RAY_TMPDIR"], "ray", "session_1", "logs")
logs.mkdir(parents=True)
agent = subprocess.Popen(  # as Ray's agents, without the mark but with a title and a log file of the session
    ["ray::DashboardAgent", "600"], executable="/bin/sleep", start_new_session=True, stderr=(logs / "agent.log").open("w"),
    stdout=subprocess.DEVNULL, env={name: value for name, value in os.environ.items() if name != processes.MARK},
)
Path(tempfile.gettempdir(), "file").touch()
print(marked.pid, agent.pid, *processes.temporary_folders(), flush=True)
{then}
"""


IN_A_CONTAINER = """
import os, sys
from pathlib import Path
from tictactoe.process import processes, reaper
reaper.start(Path(sys.argv[1]))
print(os.getpid(), *processes.temporary_folders(), flush=True)
input()
processes.remove_temporary_folders()
os._exit(0)
"""
NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", *(() if os.geteuid() == 0 else ("--map-root-user",)))


class Run:
    """A little program with a reaper."""

    def __init__(self, home: Path, then: str) -> None:
        self.folder = home / "search"
        self.folder.mkdir(exist_ok=True)
        (home / "temporary").mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.replace("{then}", then), str(self.folder)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
            env=clean_environment(home, TMPDIR=str(home / "temporary"), RAY_TMPDIR=str(home), PYTHONSAFEPATH="1"),
        )  # fmt: skip
        assert self.process.stdout is not None
        marked, agent, *folders = self.process.stdout.readline().split()
        self.children = [psutil.Process(int(marked)), psutil.Process(int(agent))]
        self.folders = [Path(folder) for folder in folders]

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


def wait_for_lock(descriptor: int) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    started = Run(tmp_path, "time.sleep(600)")
    yield started
    started.close()


def test_a_killed_program_leaves_nothing_and_nobody_else_is_touched(run: Run, tmp_path: Path) -> None:
    other_folder = tmp_path / "temporary" / f"{processes.PREFIX}01234567"
    other_folder.mkdir()
    environment = os.environ | {processes.MARK: other_folder.name}
    with subprocess.Popen(["sleep", "600"], env=environment) as other, subprocess.Popen(["sleep", "600"]) as unmarked:
        try:
            assert all(map(processes.lives, run.children))
            assert [folder.parent for folder in run.folders] == [tmp_path / "temporary", tmp_path]
            assert all(folder.is_dir() for folder in run.folders)
            run.process.kill()
            run.process.wait()
            assert run.process.stdout is not None and run.process.stdout.read() == ""  # nobody else holds it
            assert all(map(processes.lives, run.children))  # the reaper has not ended them yet
            with (run.folder / "lock.reaper").open("w") as lock:
                with pytest.raises(BlockingIOError):  # the next run on this folder waits for it
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                assert run.gone()
                wait_for_lock(lock.fileno())
            assert other.poll() is None and unmarked.poll() is None
            assert other_folder.is_dir()
        finally:
            other.kill()
            unmarked.kill()


def test_the_next_run_begins_when_the_reaper_is_done(run: Run, tmp_path: Path) -> None:
    assert WAIT_SECONDS > QUIET_SECONDS > PATIENCE_SECONDS + 2
    run.process.kill()
    run.process.wait()
    again = Run(tmp_path, "time.sleep(600)")
    try:
        assert run.gone(seconds=0)
        assert again.folders != run.folders
        assert all(map(processes.lives, again.children))
    finally:
        again.close()
    assert again.gone()


def test_containers_with_the_same_process_ids_can_share_a_place(tmp_path: Path) -> None:
    if subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs a process namespace")
    (tmp_path / "temporary").mkdir()
    environment = clean_environment(tmp_path, TMPDIR=str(tmp_path / "temporary"))
    started: list[subprocess.Popen[str]] = []

    def start(name: str) -> tuple[str, Path]:
        """Process id and folder of a program that is the first in its namespace."""
        (tmp_path / name).mkdir()
        started.append(
            subprocess.Popen(
                [*NAMESPACE, sys.executable, "-c", IN_A_CONTAINER, str(tmp_path / name)],
                cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        assert started[-1].stdout is not None
        pid, folder = started[-1].stdout.readline().split()
        return pid, Path(folder)

    try:
        (first, ended), (second, killed) = start("first"), start("second")
        assert first == second
        started[0].communicate("\n")
        assert not ended.exists() and killed.exists()
        started[1].kill()  # and all in its namespace, the reaper too
        started[1].wait()
        descriptor = os.open(killed, os.O_RDONLY)
        wait_for_lock(descriptor)
        os.close(descriptor)
        _, third = start("third")
        assert not killed.exists() and third.exists()
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_a_long_wait_is_said_and_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reaper, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(reaper, "WAIT_SECONDS", 0.3)
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(reaper, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    with (tmp_path / "lock.reaper").open("w") as held, (tmp_path / "lock.reaper").open("w") as wanted:
        fcntl.flock(held, fcntl.LOCK_EX)
        reaper._wait_for(wanted.fileno(), tmp_path)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("waiting for") and str(tmp_path) in first
    assert second.startswith("note: ")


def test_signals_to_the_reaper_do_not_keep_it_from_its_work(run: Run) -> None:
    (own,) = (child for child in psutil.Process(run.process.pid).children() if "tictactoe.process.reaper" in child.cmdline())
    end = time.monotonic() + 5
    while not signals_ignored(own.pid):
        assert time.monotonic() < end
        time.sleep(0.02)
    own.terminate()
    run.process.kill()
    run.process.wait()
    assert run.gone()


def signals_ignored(pid: int) -> bool:
    """Whether a process ignores SIGTERM."""
    (mask,) = (line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigIgn"))
    return bool(int(mask, 16) >> 14 & 1)

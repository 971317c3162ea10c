"""Outlives the program for a moment, and ends what it has left behind: Ray's agents would live on for a minute.

Started as `python -m tictactoe.process.reaper PID MARK` with a pipe on standard input that closes when the program is
gone, however it went (SIGKILL included), and with the lock of a folder that the next run on it waits for.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PATIENCE_SECONDS = 2.0
"""For W&B's service to write what it has, and for Ray's to see that they are alone."""
WAIT_SECONDS = 15.0
"""How long the next run on a folder waits for the reaper of the one before."""


def start(folder: Path) -> None:
    """Start the reaper of this process; what is started from here on carries its mark.

    First waits for the reaper of an earlier run on the same folder, if it is still at work.
    """
    from tictactoe.process.processes import MARK, use_temporary_folder

    mark = f"{os.getpid()} {time.time_ns()}"
    use_temporary_folder()
    with (folder / "lock.reaper").open("w") as lock:
        _wait_for(lock.fileno())
        reading, _ = ends = os.pipe()  # the other end closes with this process
        command = [sys.executable, "-m", "tictactoe.process.reaper", str(os.getpid()), mark]
        root = str(Path(__file__).resolve().parent.parent.parent)
        nowhere = subprocess.DEVNULL  # whoever reads our output would wait for it
        # A session of its own, so that Ctrl-C in the terminal does not reach it.
        subprocess.Popen(
            command, stdin=reading, stdout=nowhere, stderr=nowhere, pass_fds=[lock.fileno()], start_new_session=True, cwd=root
        )
        os.close(ends[0])
    os.environ[MARK] = mark


def _wait_for(lock: int) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return None  # better a crowded start than none
            time.sleep(0.05)


def main(pid: int, mark: str) -> None:
    """Wait until the program has ended, then end and remove what is left of it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 1):
        pass
    from tictactoe.process import processes  # only now: until then this process is to be as small as it can

    processes.end(processes.left_by(pid, mark), PATIENCE_SECONDS)
    processes.end(processes.left_by(pid, mark), 0.0)  # what the first ones have started meanwhile
    processes.remove_temporary_folders(pid)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

"""Outlives the program for a moment, and ends what it has left behind: Ray's agents would live on for a minute.

Started as `python -m tictactoe.process.reaper FOLDER...`, with the run's folders for temporary files. Its standard input is a
pipe that closes when the program is gone, however it went (SIGKILL included). It holds the locks of these folders, and that of
the search's folder that the next run on it waits for; and none of the program's streams, whose readers would wait for it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

PATIENCE_SECONDS = 2.0
"""For W&B's service to write what it has, and for Ray's to see that they are alone."""
QUIET_SECONDS, WAIT_SECONDS = 10.0, 30.0
"""How long the next run on a folder waits for the reaper of the one before: without a word, and at most."""


def start(folder: Path | None) -> None:
    """Start the reaper of this process; what is started from here on carries its mark.

    First waits for the reaper of an earlier run on the same search's folder, if it is still at work; None where the run has no
    search's folder. Raises UserError where there is
    no place for temporary files.
    """
    from tictactoe.process import processes

    with ExitStack() as closed:
        locks = []
        if folder is not None:
            lock = closed.enter_context((folder / "lock.reaper").open("w")).fileno()
            _wait_for(lock, folder)
            locks.append(lock)
        locks += processes.use_temporary_folders()
        reading, _ = os.pipe()  # the other end closes with this process
        command = [sys.executable, "-P", "-m", "tictactoe.process.reaper", *map(str, processes.temporary_folders())]
        root = str(Path(__file__).resolve().parent.parent.parent)
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        environment = {name: value for name, value in os.environ.items() if name != processes.MARK}  # it is nobody's to end
        subprocess.Popen(
            command, stdin=reading, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=locks,
            env=environment | {"PYTHONPATH": path}, cwd="/",
            start_new_session=True,  # so that Ctrl-C in the terminal does not reach it
        )  # fmt: skip
        os.close(reading)


def _wait_for(lock: int, folder: Path) -> None:
    began, said = time.monotonic(), False
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = time.monotonic() - began
        if waited > WAIT_SECONDS:
            print("note: they are still there; going on beside them", file=sys.stderr)
            return None
        if waited > QUIET_SECONDS and not said:
            said = True
            print(
                f"waiting for the processes of an earlier search in {folder} to end, {WAIT_SECONDS:.0f} s at most",
                file=sys.stderr,
            )
        time.sleep(0.05)


def main(folders: list[Path]) -> None:
    """Wait until the program has ended, then end and remove what is left of it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 1):
        pass
    from tictactoe.process import processes  # only now: until then this process is to be as small as it can

    processes.clear(folders, PATIENCE_SECONDS)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])

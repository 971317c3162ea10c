"""Heads and workers of a search as processes on this machine, each as if it had one to itself."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.program import ROOT, clean_environment
from tictactoe.process.processes import lives, name_of

_given = set[int]()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at, another one each time.

    It is above those of Ray's workers and below those that the kernel gives out, so that nobody takes it meanwhile.
    """
    while True:
        port = random.randrange(20_000, 32_768)
        if port in _given:
            continue
        with suppress(OSError), socket.socket() as server:
            server.bind(("127.0.0.1", port))
            _given.add(port)
            return port


class Machine:
    """A process of the program with a folder for temporary files of its own; `home` is its home and current folder.

    `others` are more variables of its environment.
    """

    def __init__(self, home: Path, token: str, *options: str, **others: str) -> None:
        self.options, self.is_off = options, False
        self.temporary = Path(tempfile.mkdtemp(prefix="t"))  # with a short name, for Ray's sockets
        variables = {"RAY_AUTH_TOKEN": token, "TMPDIR": str(self.temporary), "WANDB_MODE": "disabled", **others}
        self.output = self.temporary / "output"
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), *options], cwd=home, env=clean_environment(home, **variables),
            stdout=self.output.open("w"), stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def says(self, line: str, times: int = 1, within: float = 90.0) -> None:
        """Wait until it has said a line so often."""
        end = time.monotonic() + within
        while self.said().count(line) < times:
            assert time.monotonic() < end and self.process.poll() is None, self.output.read_text()
            time.sleep(0.1)

    def said(self) -> list[str]:
        """Its lines so far."""
        return self.output.read_text().splitlines()

    def raylet(self) -> psutil.Process | None:
        """Of its Ray; None where none is up."""
        return next((child for child in self._children() if name_of(child) == "raylet" and lives(child)), None)

    def kill(self) -> None:
        """Kill the program's own process; its reaper ends the rest."""
        self.process.kill()
        self.process.wait()

    def power_off(self) -> None:
        """Kill all of it at once, reaper included, as where a machine loses power; its files stay."""
        self.is_off = True
        self.process.send_signal(signal.SIGSTOP)
        stopped: list[psutil.Process] = []
        while started := [child for child in self._children() if child not in stopped]:
            for child in started:
                with suppress(psutil.NoSuchProcess):
                    child.suspend()  # so that it starts nothing more
            stopped += started
        for child in stopped:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self.kill()

    def leaves_nothing(self, within: float) -> None:
        """Wait until neither processes nor folders of it are left."""
        left = self.left(within)
        assert not left, left

    def left(self, within: float) -> list[object]:
        """What is still there of it after so many seconds: processes, and folders unless it lost its power."""
        end = time.monotonic() + within
        while True:
            left = [*(() if self.is_off else self.temporary.glob("ttt-*")), *self._processes()]
            if not left or time.monotonic() > end:
                return left
            time.sleep(0.1)

    def remove(self) -> None:
        """Remove its folder for temporary files."""
        shutil.rmtree(self.temporary)

    def _children(self) -> list[psutil.Process]:
        children: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return children

    def _processes(self) -> Iterator[psutil.Process]:
        """Those that name its folder: on their command line, in their environment, or as a file."""
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                texts = [*process.cmdline(), *process.environ().values(), *(file.path for file in process.open_files())]
                if process != psutil.Process() and any(str(self.temporary) in text for text in texts):
                    yield process

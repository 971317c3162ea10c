"""How a run ends early: signals, and the processes that must not outlive it."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psutil

EXIT_SECONDS = 6.0
"""From a signal to the end of the process at the latest; `docker stop` kills after 10."""


class Interrupt:
    """SIGTERM and SIGINT as a flag, which also ends a running `Tuner.fit`, and a deadline for all that follows.

    `Tuner.fit` returns on SIGUSR1 as if all were done; the flag tells the difference. A second signal ends the
    process at once.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self.fitting = False
        self.exit_code = 75
        """What the process ends with when the deadline passes."""

    def install(self) -> None:
        """Take over both signals; only the main thread can."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: Any) -> None:
        if self.event.is_set():
            self.leave()
        self.event.set()
        threading.Thread(target=self._deadline, daemon=True).start()
        if self.fitting:
            os.kill(os.getpid(), signal.SIGUSR1)

    def _deadline(self) -> None:
        time.sleep(EXIT_SECONDS)
        self.leave()

    def leave(self, code: int | None = None) -> None:
        """End the process and Ray's without asking anybody; what is on disk is whole at any time."""
        for process in ray_processes():
            # These two end with us anyway; seeing them go first, Ray's library would abort this process.
            if process.name() not in ("raylet", "gcs_server"):
                process.kill()
        os._exit(self.exit_code if code is None else code)


def ray_processes() -> list[psutil.Process]:
    """Ray's processes below this one."""
    import psutil

    return [child for child in psutil.Process().children(recursive=True) if _is_ray(child)]


def _is_ray(process: psutil.Process) -> bool:
    try:
        words = [process.name(), *process.cmdline()[:3]]
    except Exception:  # it has just ended
        return False
    return any("ray" in word for word in words)

"""How a run ends early: signals, and a deadline for all that follows."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from types import FrameType

EXIT_SECONDS = 6.0
"""From a signal to the end of the process at the latest; `docker stop` kills after 10."""
AGAIN_SECONDS = 0.5
"""Between two requests to `Tuner.fit` to return."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupt:
    """SIGTERM and SIGINT as a flag, which also ends a running `Tuner.fit`, and a deadline for all that follows.

    A second signal ends the process at once. A thread listens, not the main one: Python runs signal handlers
    only between two of the main thread's instructions, and one of those may be minutes of compiled code.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self.fitting = False
        """Whether `Tuner.fit` runs, which returns on SIGUSR1 as if all were done; the flag tells the difference."""
        self.exit_code = 75
        """What the process ends with when the deadline passes."""
        self.last_words = "interrupted"
        """What is printed then; empty once it has been said."""

    def install(self) -> None:
        """Take over both signals; only the main thread can."""
        signal.signal(signal.SIGUSR1, _nothing)  # until `Tuner.fit` has a handler of its own; the default ends the process
        self._listening, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self.reinstall()
        threading.Thread(target=self._listen, daemon=True).start()

    def reinstall(self) -> None:
        """Take the signals again from a library that has put a handler of its own in front."""
        for number in _SIGNALS:
            signal.signal(number, _nothing)

    def end_fit(self) -> None:
        """Have a running `Tuner.fit` return: asked until it does, since it does not listen from its first moment on."""
        threading.Thread(target=self._end_fit, daemon=True).start()

    def _end_fit(self) -> None:
        while self.fitting:
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(AGAIN_SECONDS)

    def leave(self, code: int | None = None) -> None:
        """End the process and Ray's without asking anybody; what is on disk is whole at any time."""
        from tictactoe.process import processes

        try:
            # The vital ones end with us anyway; seeing them go first, Ray's library would abort this process.
            processes.kill(p for p in processes.ray_processes() if processes.name_of(p) not in processes.VITAL)
            if code is None and self.last_words:
                with suppress(OSError):
                    os.write(1, f"{self.last_words}\n".encode(errors="replace"))
        finally:
            os._exit(self.exit_code if code is None else code)

    def _listen(self) -> None:
        while numbers := os.read(self._listening, 64):
            for number in numbers:
                if number not in _SIGNALS:
                    continue
                if self.event.is_set():
                    self.leave()
                self.event.set()
                threading.Thread(target=self._deadline, daemon=True).start()
                self.end_fit()

    def _deadline(self) -> None:
        time.sleep(EXIT_SECONDS)
        self.leave()


def _nothing(number: int, frame: FrameType | None) -> None:
    """The listening thread hears of the signal through the wake-up file descriptor."""

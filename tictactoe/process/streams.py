"""Standard output and error that cannot fail: what is said there never decides how a run ends."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Unfailing(io.FileIO):
    """A descriptor to write to. What cannot be written is left out, and `failed` hears of it the first time."""

    def __init__(self, descriptor: int, failed: Callable[[OSError], None]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._failed = failed
        self.lost = False

    def write(self, data: ReadableBuffer, /) -> int:
        while True:
            try:
                written = super().write(data)
            except OSError as error:
                if not self.lost:
                    self.lost = True
                    self._failed(error)
                return memoryview(data).nbytes
            if written is not None:
                return written
            select.select([], [self], [])  # full, and somebody has made it one that does not wait


def make_unfailing() -> None:
    """Put streams that cannot fail in the place of standard output and error.

    What cannot be encoded is escaped. What cannot be written (nobody reads the pipe any more, the disk is full, the terminal
    is gone) is left out, and standard error told of it once. A descriptor that is closed becomes the null device: the next
    file to be opened would have its number, and get what is said.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number, which is this one
    sys.stdout = _unfailing(1, sys.stdout, _say_lost)
    sys.stderr = _unfailing(2, sys.stderr, lambda error: None)


def _unfailing(descriptor: int, before: TextIO | None, failed: Callable[[OSError], None]) -> io.TextIOWrapper:
    buffer = io.BufferedWriter(_Unfailing(descriptor, failed))
    encoding = before.encoding if before else "utf-8"
    return io.TextIOWrapper(buffer, encoding, errors="backslashreplace", line_buffering=True)


def _say_lost(error: OSError) -> None:
    print(f"note: standard output cannot be written ({error.strerror}); the program goes on without it", file=sys.stderr)


def output_is_lost() -> bool:
    """Whether something could not be written to standard output."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, _Unfailing) and raw.lost


def is_terminal() -> bool:
    """Whether standard output is a terminal that can move its cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def show_cursor() -> None:
    """Show the terminal's cursor again, which a live display hides."""
    with suppress(OSError):
        if is_terminal():
            os.write(1, b"\x1b[?25h")

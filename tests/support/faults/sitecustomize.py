"""Makes trials of the real program go wrong: put this folder on PYTHONPATH, and KIND:INDEX, or several of them, into FAULT.

With FAULT=workers all of Ray's workers die as they start. With FAULT=FILE:LINES the driver is killed as soon as a journal of
that name has so many lines on the disk.

Of others nothing goes wrong. With FAULT=save:SECONDS trials report and are saved that often, with FAULT=sleep:SECONDS each of
them sleeps so long before it learns, and with FAULT=hung:SECONDS a trial that hangs is ended so long after its time is up.
With FAULT=plots:none the report is written without its plots, which take a third of a small search's time.
"""

from __future__ import annotations

import ctypes
import importlib.abc
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any


def faults() -> list[tuple[str, str]]:
    """Kinds and values."""
    return [(kind, value) for kind, value in (fault.split(":") for fault in os.environ["FAULT"].split())]


def change_trial(module: Any) -> None:
    """In the driver and in Ray's workers."""
    kinds = {value: kind for kind, value in faults()}
    for value, kind in kinds.items():
        if kind == "save":
            vars(sys.modules["tictactoe.tuning.block"])["CHECKPOINT_SECONDS"] = float(value)  # which a trial imports
            module.REPORT_SECONDS = float(value)  # it saves between two reports
        if kind == "hung":
            module.HUNG_SECONDS = float(value)
    train = module.QLearningTrial._train

    def faulty(self: Any, until: float) -> Any:
        kind = kinds.get(str(self.index))
        if kind == "raise":
            raise ZeroDivisionError
        if kind == "hang":
            ctypes.PyDLL(None).sleep(600)  # PyDLL keeps the interpreter's lock: no thread of Python runs any more
        if kind == "lost" and not self.again:  # the first time, of a trial in a batch of several
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "memory":
            held = []
            while True:
                held.append(b"x" * 2**26)
                time.sleep(0.02)  # so that no other process needs memory at the same moment
        return train(self, until)

    module.QLearningTrial._train = faulty


def change_replicates(module: Any) -> None:
    """Where trials run. While one sleeps, it reports as often as one that learns."""
    seconds = next((float(value) for kind, value in faults() if kind == "sleep"), None)
    if seconds is None:
        return
    advance = module.Replicates.advance

    def sleepy(self: Any, deadline: float, target: int) -> None:
        self.awake_at = getattr(self, "awake_at", time.monotonic() + seconds)
        time.sleep(max(0.0, min(deadline, self.awake_at) - time.monotonic()))
        if time.monotonic() >= self.awake_at:
            advance(self, deadline, target)

    module.Replicates.advance = sleepy


def change_journal(module: Any) -> None:
    """In the driver: nobody else writes journals."""
    most = {kind: int(value) for kind, value in faults() if kind.endswith(".jsonl")}
    append = module.Journal.append

    def deadly(self: Any, *records: Any) -> None:
        append(self, *records)
        if self.path.read_bytes().count(b"\n") >= most.get(self.path.name, sys.maxsize):
            os.kill(os.getpid(), signal.SIGKILL)

    module.Journal.append = deadly


def change_report(module: Any) -> None:
    """In the driver. Of the chapters those stay that have no plots; matplotlib is not imported."""
    if ("plots", "none") in faults():
        module.make_chapters = lambda results: [
            module.Chapter("The winner", "winner.html"),
            module.Chapter("Play against it", "play.html"),
            module.Chapter("The same again", "again.html"),
        ]


CHANGES: dict[str, Callable[[Any], None]] = {
    "tictactoe.experiment.replicates": change_replicates,
    "tictactoe.tuning.trial": change_trial,
    "tictactoe.experiment.journal": change_journal,
    "tictactoe.reporting.report.page": change_report,
}


class Hook(importlib.abc.MetaPathFinder):
    """Changes modules as soon as they are loaded."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name not in CHANGES:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        sys.meta_path.insert(0, self)
        assert spec is not None and spec.loader is not None
        load = spec.loader.exec_module

        def load_and_change(module: Any) -> None:
            load(module)
            CHANGES[name](module)

        spec.loader.exec_module = load_and_change  # type: ignore[method-assign]
        return spec


if os.environ.get("FAULT") == "workers":
    if any(word.endswith("default_worker.py") for word in sys.orig_argv):
        sys.exit("ImportError: libfault.so: cannot open shared object file")
elif "FAULT" in os.environ:
    sys.meta_path.insert(0, Hook())

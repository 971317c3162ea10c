"""Makes trials of the real program go wrong: put this folder on PYTHONPATH, and KIND:INDEX, or several of them, into FAULT.

With FAULT=workers all of Ray's workers die as they start. FAULT=save:SECONDS is none: trials are saved that often.
"""

from __future__ import annotations

import ctypes
import importlib.abc
import importlib.util
import os
import sys
import time
from typing import Any

TARGET = "tictactoe.tuning.trial"


class Hook(importlib.abc.MetaPathFinder):
    """Changes the module of `QLearningTrial` as soon as its module is loaded, in the driver and in Ray's workers."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != TARGET:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        load = spec.loader.exec_module

        def load_and_change(module: Any) -> None:
            load(module)
            faults = {value: kind for kind, value in (fault.split(":") for fault in os.environ["FAULT"].split())}
            for value, kind in faults.items():
                if kind == "save":
                    module.CHECKPOINT_SECONDS = float(value)
            change(module.QLearningTrial, faults)

        spec.loader.exec_module = load_and_change  # type: ignore[method-assign]
        return spec


def change(trial: Any, faults: dict[str, str]) -> None:
    step = trial.step

    def faulty(self: Any) -> Any:
        self.__dict__.pop("_train", None)  # the same actor may serve other trials before and after
        kind = faults.get(str(self.index))
        if kind == "raise":
            self._train = lambda: 1 / 0
        elif kind == "hang" and self.error is None:
            # PyDLL keeps the interpreter's lock: no thread of Python runs any more.
            self._train = lambda: ctypes.PyDLL(None).sleep(600)
        elif kind == "memory":
            held = []
            while True:
                held.append(b"x" * 2**26)
                time.sleep(0.02)  # so that no other process needs memory at the same moment
        return step(self)

    trial.step = faulty


if os.environ.get("FAULT") == "workers":
    if any(word.endswith("default_worker.py") for word in sys.orig_argv):
        sys.exit("ImportError: libfault.so: cannot open shared object file")
elif "FAULT" in os.environ:
    sys.meta_path.insert(0, Hook())

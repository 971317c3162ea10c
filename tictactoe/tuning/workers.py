"""The processes of trials that Ray is to start: said when they are long in coming, noticed when they do not come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

from tictactoe.core.learner import Hyperparameters
from tictactoe.experiment.observer import Observer
from tictactoe.experiment.record import Cause, Failure, Progress, Record
from tictactoe.process import processes, ray_address
from tictactoe.process.threads import beside
from tictactoe.text import trial_name
from tictactoe.tuning import logs
from tictactoe.tuning.nodes import Nodes

PATIENCE_SECONDS = 10.0
"""After so long a wait, what is waited for is said."""
NONE_SECONDS = 60.0
"""So long there may be no process for trials, nor one that is on its way."""
SLOW_SECONDS = 600.0
"""So long processes may be on their way, and the first trial too."""
SILENT_SECONDS = 120.0
"""A trial, which reports every other second, is told of when it has not been heard of for so long."""
LOOK_SECONDS = 2.0
"""Between two looks at all processes."""
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Processes of Ray's own that have titles as workers have them."""


class Wait:
    """A wait for `what`: said once it takes long, with an end after `limit` seconds."""

    def __init__(self, what: str, say: Callable[[str], None], limit: float) -> None:
        self.what, self.limit = what, limit
        self.said = False
        self._say, self._began = say, time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return time.monotonic() - self._began

    def is_over(self) -> bool:
        if self.seconds > PATIENCE_SECONDS and not self.said:
            self.said = True
            self._say(f"waiting for {self.what}, {self.limit:.0f} s at most")
        return self.seconds > self.limit


class Patience:
    """With a Ray of our own that has no process for trials, though this machine, and no other, is to have some."""

    def __init__(self, say: Callable[[str], None], nodes: Nodes) -> None:
        self._say, self._nodes, self._next_look = say, nodes, 0.0
        self._restart()

    def _restart(self) -> None:
        self.wait = Wait("Ray to start the processes of trials", self._say, NONE_SECONDS)
        self._cpu = time.process_time()

    def at_an_end(self) -> str | None:
        """Why there is none, once that has lasted too long. May be asked at any time: it does not look at every one."""
        if time.monotonic() < self._next_look:
            return None
        self._next_look = time.monotonic() + LOOK_SECONDS
        titles = [title(process) for process in processes.ray_processes()]
        elsewhere = ray_address.existing() or self._nodes.remote or not self._nodes.slots
        if elsewhere or any(words.startswith("ray::") and not words.startswith(AGENTS) for words in titles):
            self._restart()
            return None
        self.wait.limit = SLOW_SECONDS if self.wait.seconds > NONE_SECONDS and self._moves() else NONE_SECONDS
        if not self.wait.is_over():
            return None
        why = logs.last_words() or "its logs do not say why; --verbose shows more"
        return f"Ray has started no process for trials in {self.wait.seconds:.0f} s: {why}"

    def _moves(self) -> bool:
        """Whether a process is on its way for long, so that it does not die at once, or we are at work ourselves."""
        return time.process_time() - self._cpu > self.wait.seconds / 4 or any(map(_is_slow, processes.ray_processes()))


class Heard(Observer):
    """Whether a trial has started, and when each one that runs was last heard of."""

    def __init__(self) -> None:
        self.started = False
        self._at: dict[int, float] = {}

    def trial_started(self, index: int, config: Hyperparameters) -> None:
        self.started = True
        self._at[index] = time.monotonic()

    def trial_reported(self, index: int, progress: Progress, final: bool) -> None:
        self._at[index] = time.monotonic()

    def trial_noted(self, index: int, text: str) -> None:
        self._at[index] = time.monotonic()

    def trial_retried(self, index: int, cause: Cause) -> None:
        self._at.pop(index, None)

    def trial_finished(self, record: Record) -> None:
        self._at.pop(record.index, None)

    def trial_failed(self, failure: Failure) -> None:
        self._at.pop(failure.index, None)

    def silent(self) -> list[int]:
        """Trials that have not been heard of for long; each is named once, until it is heard of again."""
        late = [index for index, at in list(self._at.items()) if time.monotonic() - at > SILENT_SECONDS]
        for index in late:
            self._at.pop(index, None)
        return late


@contextmanager
def awaited(lost: Callable[[str], None], say: Callable[[str], None], nodes: Nodes) -> Iterator[Heard]:
    """While Tune runs trials, call `lost` with the reason when no process for them comes, or no trial starts.

    A trial that has fallen silent is said: only --trial-timeout ends it. What is yielded is to hear of the trials.
    """
    heard, patience = Heard(), Patience(say, nodes)

    def first_trial() -> Wait:
        return Wait("the first trial to start", lambda line: None if patience.wait.said else say(line), SLOW_SECONDS)

    def run(stopped: threading.Event) -> None:
        begin = first_trial()
        while not stopped.wait(1.0):
            if not nodes.slots:  # which is said, and may last
                begin = first_trial()
            why = patience.at_an_end()
            for index in heard.silent():
                say(f"{trial_name(index)}  not heard of for {SILENT_SECONDS:.0f} s; --trial-timeout ends a trial that hangs")
            if not heard.started and begin.is_over():
                why = why or f"no trial has started in {SLOW_SECONDS:.0f} s; {_busy()}"
            if why and not stopped.is_set():
                lost(why)
                return

    with beside(run):
        yield heard


def _busy() -> str:
    if ray_address.existing():
        return "the Ray at RAY_ADDRESS may have no CPUs free; `ray status` shows who has them"
    return logs.last_words() or "its processes are there, but do not begin"


def _is_slow(process: psutil.Process) -> bool:
    """Whether a process is a worker that has been starting for some time."""
    with suppress(psutil.Error):  # it has just ended
        starts = any(word.endswith("_worker.py") for word in process.cmdline()[:4])  # others have a worker's in an option
        return starts and time.time() - process.create_time() > PATIENCE_SECONDS
    return False


def title(process: psutil.Process) -> str:
    """A process's command line, which is a title for those of Ray's; empty where it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""

"""What happens while the search runs, from Ray Tune to the journal and to whoever wants to hear of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from ray import tune

from tictactoe.core.learner import Hyperparameters
from tictactoe.experiment.journal import Journal
from tictactoe.experiment.record import Failure, Progress, Record, names
from tictactoe.process.cgroup import memory_kills
from tictactoe.text import one_line
from tictactoe.tuning.trial import state_file

KILL_SECONDS = 30.0
"""So long after the kernel has ended a process for want of memory, Ray may tell that a trial's was lost."""


class Observer(Protocol):
    """What wants to hear of trials while the search runs. Called from the driver; must not block.

    Who inherits from it need not listen to all.
    """

    def search_started(self, records: Sequence[Record], failures: Sequence[Failure]) -> None:
        """The trials that earlier attempts have finished, and those that have failed and are not run again."""
        return

    def trial_started(self, index: int, config: Hyperparameters) -> None:
        return

    def trial_reported(self, index: int, progress: Progress, final: bool) -> None:
        return

    def trial_finished(self, record: Record) -> None:
        return

    def trial_failed(self, failure: Failure) -> None:
        return

    def trial_noted(self, index: int, text: str) -> None:
        """Something that the user should know of a trial."""
        return


class Relay(tune.Callback):
    """Writes finished and failed trials to the journal, then tells the observers.

    When the journal cannot be written, `unwritable` says why and `give_up` is called: a search whose results
    are lost is not to go on. Once the search is `interrupted`, what fails is not the trial's fault, and not written.
    """

    def __init__(
        self,
        journal: Journal[Record | Failure],
        attempt: int,
        observers: Sequence[Observer],
        give_up: Callable[[], None],
        interrupted: Callable[[], bool],
        state_dir: Path,
    ) -> None:
        self.unwritable: OSError | None = None
        self._journal, self._attempt, self._observers, self._state_dir = journal, attempt, observers, state_dir
        self._give_up, self._interrupted = give_up, interrupted
        self._start = time.monotonic()
        self._memory_kills, self._killed_at = memory_kills(), deque[float]()
        """How many processes the kernel has ended so far for want of memory, and when, for those that explain no loss yet."""
        self._started: dict[int, float] = {}
        self._ended: set[int] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles callbacks for its own kind of resuming, which is not used."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._started.setdefault(_index(trial), time.monotonic() - self._start)
        for observer in self._observers:
            observer.trial_started(_index(trial), _config(trial))

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        self._look_for_kills()
        if result["error"]:
            self._fail(trial, result["error"], result["timeout"])
            return
        for observer in self._observers:
            if result["note"]:
                observer.trial_noted(_index(trial), result["note"])
            observer.trial_reported(_index(trial), result["progress"], result["final"])
        if result["final"]:
            self._finish(trial, result, stopped=False)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Also called for trials that a scheduler ended; not for those that the time budget cuts short."""
        result = trial.last_result
        if _index(trial) not in self._ended and result.get("games") and not result["final"]:
            self._finish(trial, result, stopped=True)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        reason = self._reason(trial)
        for observer in self._observers:
            observer.trial_noted(_index(trial), f"is tried again: {reason}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._fail(trial, self._reason(trial))

    def _look_for_kills(self) -> None:
        before, self._memory_kills = self._memory_kills, memory_kills()
        self._killed_at.extend([time.monotonic()] * (self._memory_kills - before))

    def _reason(self, trial: Any) -> str:
        """Why a trial's process was lost, in one line. The kernel may have ended somebody else's: an old kill is no reason."""
        self._look_for_kills()
        while self._killed_at:
            if time.monotonic() - self._killed_at.popleft() < KILL_SECONDS:
                return "its process was ended for want of memory"
        return one_line(str(trial.get_pickled_error() or ""), slice(2)) or "its process died"

    def _fail(self, trial: Any, error: str, timeout: float | None = None) -> None:
        if _index(trial) in self._ended or self._interrupted():
            return
        failure = Failure(index=_index(trial), attempt=self._attempt, config=_config(trial), error=error, timeout=timeout)
        if self._write(failure):
            for observer in self._observers:
                observer.trial_failed(failure)

    def _finish(self, trial: Any, result: dict[str, Any], stopped: bool) -> None:
        record = Record(
            **{name: getattr(result["progress"], name) for name in names(Progress)},
            index=_index(trial),
            attempt=self._attempt,
            config=_config(trial),
            started_s=self._started.get(_index(trial), 0.0),
            ended_s=time.monotonic() - self._start,
            worker=result["pid"],
            stopped=stopped,
        )
        if self._write(record):
            with suppress(OSError):  # only now can the trial do without its saved state
                state_file(self._state_dir, record.index).unlink(missing_ok=True)
            for observer in self._observers:
                observer.trial_finished(record)

    def _write(self, entry: Record | Failure) -> bool:
        """Write to the journal; whether that could be done."""
        try:
            self._journal.append(entry)
        except OSError as error:
            if self.unwritable is None:
                self.unwritable = error
                self._give_up()
            return False
        self._ended.add(entry.index)
        return True


def _index(trial: Any) -> int:
    """A Tune trial's index in the search."""
    return int(trial.config["trial"]["index"])


def _config(trial: Any) -> Hyperparameters:
    return Hyperparameters(**trial.config["trial"]["hyperparameters"])

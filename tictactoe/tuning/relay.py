"""What happens while the search runs, from Ray Tune to the journal and to whoever wants to hear of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from ray import tune

from tictactoe.experiment.journal import Journal
from tictactoe.experiment.replicates import state_file
from tictactoe.experiment.space import hyperparameters
from tictactoe.process.cgroup import memory_kills


class Observer(Protocol):
    """What wants to hear of trials while the search runs. Called from the driver; must not block."""

    def search_started(self, finished: list[dict[str, Any]]) -> None: ...

    def trial_started(self, index: int, config: dict[str, Any]) -> None: ...

    def trial_reported(self, index: int, metrics: dict[str, Any]) -> None: ...

    def trial_finished(self, record: dict[str, Any]) -> None: ...

    def trial_failed(self, index: int, error: str) -> None: ...

    def trial_noted(self, index: int, text: str) -> None: ...


class Relay(tune.Callback):
    """Writes finished trials to the journal, then tells the observers.

    When the journal cannot be written, `unwritable` says why and `give_up` is called: a search whose results
    are lost is not to go on.
    """

    def __init__(
        self, journal: Journal, attempt: int, observers: Sequence[Observer], give_up: Callable[[], None], partial_dir: Path
    ) -> None:
        self.journal = journal
        self.partial_dir = partial_dir
        self.attempt = attempt
        self.observers = observers
        self.errors: dict[int, str] = {}
        self.unwritable: OSError | None = None
        self.start = time.monotonic()
        self._give_up = give_up
        self._memory_kills = memory_kills()
        self._started: dict[int, float] = {}
        self._finished: set[int] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles callbacks for its own kind of resuming, which is not used."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        index = trial.config["trial"]["index"]
        self._started.setdefault(index, time.monotonic() - self.start)
        for observer in self.observers:
            observer.trial_started(index, trial.config["trial"]["hyperparameters"])

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        index = trial.config["trial"]["index"]
        if result.get("error"):
            self._failed(index, result["error"])
            return
        for observer in self.observers:
            if result["note"]:
                observer.trial_noted(index, result["note"])
            observer.trial_reported(index, result)
        if result["final"]:
            self._finish(trial, result, stopped=False)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Also called for trials that a scheduler ended; not for those that the time budget cuts short."""
        index, result = trial.config["trial"]["index"], trial.last_result
        if index not in self._finished and index not in self.errors and result.get("games"):
            self._finish(trial, result, stopped=True)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        reason = self._reason(trial)
        for observer in self.observers:
            observer.trial_noted(trial.config["trial"]["index"], f"is tried again: {reason}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._failed(trial.config["trial"]["index"], self._reason(trial))

    def _failed(self, index: int, error: str) -> None:
        if index not in self.errors:
            self.errors[index] = error
            for observer in self.observers:
                observer.trial_failed(index, error)

    def _reason(self, trial: Any) -> str:
        """Why a trial's process was lost, in one line."""
        lines = [line.strip() for line in str(trial.get_pickled_error() or "").splitlines() if line.strip()]
        known, self._memory_kills = self._memory_kills, memory_kills()
        if self._memory_kills > known:
            return "its process was ended for want of memory"
        return " ".join(lines[:2])[:300] if lines else "its process died"

    def _finish(self, trial: Any, result: dict[str, Any], stopped: bool) -> None:
        index = trial.config["trial"]["index"]
        copied = ("games_to_optimal", "par10", "solved", "exploitability", "loss_vs_random", "games", "played",
                  "learner_cpu_s", "earlier_cpu_s", "history")  # fmt: skip
        record = {
            "index": index,
            "attempt": self.attempt,
            "config": hyperparameters(trial.config["trial"]["hyperparameters"]).as_dict(),
            "median": result["median"] if math.isfinite(result["median"]) else None,
            **{name: result[name] for name in copied},
            "started_s": self._started.get(index, 0.0),
            "ended_s": time.monotonic() - self.start,
            "worker": result.get("pid"),
            "stopped": stopped,
        }
        try:
            self.journal.append(record)
        except OSError as error:
            self.unwritable = self.unwritable or error
            self._give_up()
            return
        self._finished.add(index)
        with suppress(OSError):  # only now can the trial do without its saved state
            state_file(self.partial_dir, index).unlink(missing_ok=True)
        for observer in self.observers:
            observer.trial_finished(record)

"""What happens while the search runs, from Ray Tune to the journal and to whoever wants to hear of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray import tune

from tictactoe.core.learner import Hyperparameters
from tictactoe.experiment.journal import Journal
from tictactoe.experiment.observer import Observer
from tictactoe.experiment.record import Cause, Failure, Progress, Record, names
from tictactoe.process.cgroup import memory_kills
from tictactoe.settings import Settings
from tictactoe.tuning.trial import AGAIN, NODE_LOST, Batch, Report, state_file

KILL_SECONDS = 30.0
"""So long after the kernel has ended a process for want of memory, Ray may tell that a trial's was lost."""
WANT_OF_MEMORY = "its process was ended for want of memory"


class Relay(tune.Callback):
    """Writes finished and failed trials to the journal, then tells the observers.

    When the journal cannot be written, `unwritable` says why and `give_up` is called: a search whose results
    are lost is not to go on. Once the search is `interrupted`, what fails is not the trial's fault, and not written.
    """

    def __init__(
        self,
        journal: Journal[Record | Failure],
        attempt: int,
        start: float,
        observers: Sequence[Observer],
        give_up: Callable[[], None],
        interrupted: Callable[[], bool],
        state_dir: Path,
        settings: Settings,
    ) -> None:
        self.unwritable: OSError | None = None
        self._journal, self._attempt, self._observers, self._state_dir = journal, attempt, observers, state_dir
        self._give_up, self._interrupted = give_up, interrupted
        self._budget, self._timeout = settings.games, settings.trial_timeout
        self._start = start
        self._memory_kills, self._killed_at = memory_kills(), deque[float]()
        """How many processes the kernel has ended so far for want of memory, and when, for those that explain no loss yet."""
        self._running_now: set[int] = set()
        """Trials whose start has been told, and whose end has not."""
        self._began: dict[str, float] = {}
        """By Tune's trial: when the one of its batch that runs began, by the monotonic clock, as far as is known here."""
        self._ended: set[tuple[int, int]] = set()
        """Trials and rounds."""
        self._free: dict[tuple[str, int], float] = {}
        """When each process ended its last trial, by the node's address and the process's id there."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles callbacks for its own kind of resuming, which is not used."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        batch, index = trial.config["batch"], self._running(trial)
        self._began[trial.trial_id] = time.monotonic()
        self._tell_start(index, dict(batch.trials)[index])

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        self._look_for_kills()
        batch: Batch = trial.config["batch"]
        configs, ended = dict(batch.trials), dict[int, Record | Failure]()
        # Those that have ended were told before their batch was run again.
        reports: list[Report] = [report for report in result["reports"] if (report.index, batch.number) not in self._ended]
        if any(report.final for report in reports):
            self._began[trial.trial_id] = time.monotonic()
        for report in reports:
            if report.error:
                ended[report.index] = self._failure(batch, report.index, report.error, report.timeout)
            elif report.final:
                ended[report.index] = self._record(batch, report, result, stopped=batch.games < self._budget)
        written = self._write(list(ended.values()))  # all at once, since the disk takes its time
        for report in reports:
            self._tell_start(report.index, configs[report.index])
            if progress := report.progress:
                for observer in self._observers:
                    if report.note:
                        observer.trial_noted(report.index, report.note)
                    observer.trial_reported(report.index, progress, report.final)
            if report.index in ended and ended[report.index] in written:
                self._tell_end(ended[report.index])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Also called for trials that a scheduler ended; not for those that the time budget cuts short."""
        self._began.pop(trial.trial_id, None)
        result, batch = trial.last_result, trial.config["batch"]
        report = result["reports"][-1] if result.get("reports") else None
        if report and report.progress and report.progress.games and not report.final:
            self._end(self._record(batch, report, result, stopped=True))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        index, reason, began = self._running(trial), self._reason(trial), self._began.pop(trial.trial_id, None)
        late = began is not None and self._timeout and time.monotonic() - began > self._timeout
        if late and reason != NODE_LOST:
            # What has ended the process was its watchdog, most likely: the next process on it need not run into it again.
            with suppress(OSError):
                state_file(self._state_dir, index, trial.config["batch"].number).with_suffix(".hung").write_text(reason)
        self._running_now.discard(index)
        cause: Cause = "timeout" if late else "process"
        if reason in (NODE_LOST, WANT_OF_MEMORY):
            cause = "node" if reason == NODE_LOST else "memory"
        for observer in self._observers:
            observer.trial_noted(index, f"is tried again: {reason}")
            observer.trial_retried(index, cause)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """What runs in a process that is lost again and again has failed; what waited for it in its batch has not."""
        self._end(self._failure(trial.config["batch"], self._running(trial), self._reason(trial)))

    def _look_for_kills(self) -> None:
        before, self._memory_kills = self._memory_kills, memory_kills()
        self._killed_at.extend([time.monotonic()] * (self._memory_kills - before))

    def _reason(self, trial: Any) -> str:
        """Why a trial's process was lost, in one line. The kernel may have ended somebody else's: an old kill is no reason."""
        reason = str(trial.config.get(AGAIN, "its process died"))
        if reason == NODE_LOST:
            return reason
        self._look_for_kills()
        while self._killed_at:
            if time.monotonic() - self._killed_at.popleft() < KILL_SECONDS:
                return WANT_OF_MEMORY
        return reason

    def _running(self, trial: Any) -> int:
        """The trial of a batch that runs, or was to run: the first that has not ended."""
        batch: Batch = trial.config["batch"]
        return next((index for index, _ in batch.trials if (index, batch.number) not in self._ended), batch.trials[-1][0])

    def _tell_start(self, index: int, config: Hyperparameters) -> None:
        if index not in self._running_now:
            self._running_now.add(index)
            for observer in self._observers:
                observer.trial_started(index, config)

    def _failure(self, batch: Batch, index: int, error: str, timeout: float | None = None) -> Failure:
        config = dict(batch.trials)[index]
        return Failure(index=index, attempt=self._attempt, config=config, error=error, timeout=timeout, round=batch.number)

    def _record(self, batch: Batch, report: Report, result: dict[str, Any], stopped: bool) -> Record:
        # From the process's clock to ours, of which the search's start is the zero.
        shift = time.monotonic() - self._start - result["now"]
        # No sooner than the trial before it ended: a result that was long on its way shifts the clock.
        process = node, worker = result["node_ip"], result["pid"]
        free = self._free.get(process, 0.0)
        ended = max(report.made + shift, free)
        self._free[process] = ended
        return Record(
            **{name: getattr(report.progress, name) for name in names(Progress)},
            index=report.index,
            attempt=self._attempt,
            config=dict(batch.trials)[report.index],
            started_s=min(max(report.began + shift, free), ended),
            ended_s=ended,
            node=node,
            worker=worker,
            stopped=stopped,
            round=batch.number,
        )

    def _end(self, entry: Record | Failure) -> None:
        """Write and tell the end of one trial."""
        if self._write([entry]):
            self._tell_end(entry)

    def _write(self, entries: list[Record | Failure]) -> list[Record | Failure]:
        """Write trials that have ended to the journal; returns those that were written.

        What has ended before is not written again, nor is what failed while the search was interrupted.
        """
        entries = [
            entry
            for entry in entries
            if (entry.index, entry.round) not in self._ended and not (isinstance(entry, Failure) and self._interrupted())
        ]
        try:
            if entries:
                self._journal.append(*entries)
        except OSError as error:
            if self.unwritable is None:
                self.unwritable = error
                self._give_up()
            return []
        self._ended |= {(entry.index, entry.round) for entry in entries}
        return entries

    def _tell_end(self, entry: Record | Failure) -> None:
        """Tell of a trial whose end is in the journal."""
        self._running_now.discard(entry.index)
        if isinstance(entry, Failure):
            for observer in self._observers:
                observer.trial_failed(entry)
            return
        with suppress(OSError):  # only now can the trial do without its saved state
            state_file(self._state_dir, entry.index, entry.round).unlink(missing_ok=True)
        for observer in self._observers:
            observer.trial_finished(entry)

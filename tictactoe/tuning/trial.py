"""Trials, as Ray Tune runs them: one or several configurations, one after another, each on R replicates."""

from __future__ import annotations

import faulthandler
import math
import os
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from ray import tune

from tictactoe.core.learner import Hyperparameters
from tictactoe.core.seeds import Stream
from tictactoe.experiment.objective import at_most, geometric_mean
from tictactoe.experiment.record import Progress, Task
from tictactoe.experiment.replicates import Replicates, warm_up
from tictactoe.experiment.rounds import Round
from tictactoe.text import games, percent, reason, trial_name
from tictactoe.tuning.block import save_pause
from tictactoe.tuning.states import States

REPORT_SECONDS = 1.5
"""A trial reports at least about this often, so that somebody who watches sees it live."""
AGAIN = "again"
"""In a trial's configuration: why a process was lost on it, the last one of several."""
NODE_LOST = "its node was lost"
"""One such reason."""
HUNG_SECONDS = 5.0
"""A trial that does not even notice that its time is up is ended this much later, with its process."""


@dataclass(frozen=True)
class Execution:
    """How the trials of a search are run. No result depends on it."""

    state_dir: str | None = None
    """Folder for the states of unfinished trials, None for none."""
    timeout: float | None = None
    """Seconds after which a trial fails."""
    cpus: float = 1.0
    gpus: float = 0.0
    """What a trial reserves of Ray's resources."""
    home: str = ""
    """Id of the node that the folder is on, empty for this one."""
    saved: tuple[str, ...] = ()
    """Names of the states that were in the folder at the start."""
    attempt: str = ""
    """Which start of the program this is."""
    judged: bool = False
    """Whether a scheduler judges trials while they run."""


@dataclass(frozen=True)
class Batch:
    """What Ray Tune takes for a trial: some trials of one round, to be run one after another.

    A trial of the first round takes milliseconds, and Tune some ten of them for each of its own.
    """

    number: int
    """Of the round, counted from 0."""
    seeds: int
    games: int
    """After which each replicate stops."""
    curve: bool
    """Whether learning curves are kept."""
    trials: tuple[tuple[int, Hyperparameters], ...] = field(repr=False)  # Tune makes a label of it
    """Index and configuration of each."""

    @classmethod
    def of(cls, number: int, round: Round, trials: Sequence[tuple[int, Hyperparameters]]) -> Batch:
        return cls(number, round.seeds, round.games, round.curve, tuple(trials))

    @property
    def name(self) -> str:
        """Of Tune's trial, and of its folder."""
        first, others = self.trials[0][0], len(self.trials) - 1
        return f"round_{self.number + 1}_{trial_name(first)}" + (f"_and_{others}_more" if others else "")


@dataclass(frozen=True)
class Report:
    """How far a trial has come, as its process says it."""

    index: int
    progress: Progress | None
    """None where it has failed."""
    final: bool
    error: str | None
    timeout: float | None
    """The --trial-timeout that it has outlasted."""
    note: str | None
    """For the user."""
    began: float
    """When it began, by the monotonic clock of its process."""
    made: float
    """When this was made, by the same clock."""


def state_file(state_dir: Path, index: int, number: int) -> Path:
    """Where a trial's replicates are saved while it is unfinished in a round."""
    return state_dir / f"{trial_name(index)}_{number}.npz"


class QLearningTrial(tune.Trainable):
    """Ray Tune's view of a batch. Its configuration: the `batch`, and `task` and `execution` as dicts.

    Each result holds `reports`, one for each trial that has ended since the last one and one for the trial that goes on,
    and the process's monotonic clock as it is `now`.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """What a trial reserves; said here, the actors keep this class's name, by which the dashboard shows them."""
        return tune.PlacementGroupFactory([{"CPU": config["execution"]["cpus"], "GPU": config["execution"]["gpus"]}])

    def setup(self, config: dict[str, Any]) -> None:
        """In a new process: get ready, then begin with a trial."""
        warm_up(config["task"]["board"])
        self.states = States(config["execution"]["home"])
        self._begin(config)

    def _begin(self, config: dict[str, Any]) -> None:
        self.batch: Batch = config["batch"]
        task = Task(**config["task"] | {"stream": Stream(config["task"]["stream"])})
        cap = self.batch.games if self.batch.games < task.games else None
        self.task = replace(task, seeds=self.batch.seeds, cap=cap, curve=self.batch.curve)
        self.execution = Execution(**config["execution"])
        self.waiting = deque(self.batch.trials)
        self.again = bool(config.get(AGAIN))
        self._next()

    def _next(self) -> None:
        """Begin with the next trial of the batch."""
        self.index, hyperparameters = self.waiting.popleft()
        self.began = time.monotonic()
        self.save_at = self.began + save_pause()
        self.ended = False
        self.error: str | None = None
        self.outlasted: float | None = None
        self.note: str | None = None
        self.replicates: Replicates | None = None
        try:
            if self.again and self.states.read(self.hung):  # the watchdog has ended an earlier process on it
                raise self._late()
            self.replicates = Replicates(self.task, hyperparameters)
            if (saved := self._saved()) is not None:
                problem = self.replicates.restore(saved, self.execution.attempt)
                self.note = (
                    f"{self.state.name} {problem}: the trial starts over"
                    if problem
                    else f"goes on after {self.replicates.played:,} games"
                )
                self._say(self.note)
        except Exception as error:
            self._fail(error)

    def _saved(self) -> Path | BinaryIO | None:
        """The trial's saved state. Another node is asked only where there may be one: that takes longer than some trials."""
        may_be = self.states.here or self.again or self.state.name in self.execution.saved
        return self.states.load(self.state) if self.execution.state_dir and may_be else None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next configuration in the same process: starting one costs seconds."""
        self._begin(new_config)
        return True

    @property
    def state(self) -> Path:
        """File for the state of this trial while it is unfinished."""
        return state_file(Path(self.execution.state_dir or os.devnull), self.index, self.batch.number)

    @property
    def hung(self) -> Path:
        """File that has content once the watchdog has ended a process on this trial."""
        return self.state.with_suffix(".hung")

    def step(self) -> dict[str, Any]:
        """Train, one trial of the batch after another, until it is time to be heard of, or for a scheduler to judge.

        Where a process has been lost on the batch, each end is told before the next trial begins: so it is known which of them
        takes its process with it.
        """
        reports, until = list[Report](), time.monotonic() + REPORT_SECONDS
        while True:
            if self.ended:
                self._next()
            reports.append(self._advance(until))
            self.ended = reports[-1].final
            if not self.ended or not self.waiting or self.again or time.monotonic() > until:
                break
        return self._result(reports, self.ended and not self.waiting)

    def _advance(self, until: float) -> Report:
        """Train one trial until the monotonic clock `until`, its end or the next rung.

        An exception is reported, not raised: it would come again, while a lost process is worth a retry.
        """
        if self.error is None:
            try:
                with self._watchdog():
                    return self._train(until)
            except Exception as error:
                self._fail(error)
        return self._report(None, final=True)

    def _train(self, until: float) -> Report:
        replicates = self.replicates
        assert replicates is not None
        replicates.advance(until, replicates.next_rung if self.execution.judged else self.batch.games)
        if self.execution.timeout and time.monotonic() > self.began + self.execution.timeout:
            raise self._late()
        if self.execution.state_dir and not replicates.finished and time.monotonic() > self.save_at:
            self._save()
        progress = replicates.progress()
        self._say(summary_line(progress))
        return self._report(progress, replicates.finished)

    def _report(self, progress: Progress | None, final: bool) -> Report:
        note, self.note = self.note, None
        return Report(self.index, progress, final, self.error, self.outlasted, note, self.began, time.monotonic())

    def _result(self, reports: list[Report], done: bool) -> dict[str, Any]:
        """A result for Ray Tune: the reports, and as numbers what its algorithms go by, which judge batches of one trial."""
        progress = reports[-1].progress
        return {
            "reports": reports,
            "now": time.monotonic(),
            "done": done,
            "games": progress.games if progress else 0,
            "mean_log": at_most(progress.games_to_optimal, self.task.games) if progress else math.nan,
            "loss_vs_random": progress.loss_vs_random if progress else math.nan,
        }

    @contextmanager
    def _watchdog(self) -> Iterator[None]:
        """End the process if a step goes on long after the trial's time is up.

        From a thread of C: code that hangs may hold the interpreter's lock, and then no Python runs beside it.
        """
        if not self.execution.timeout or not self.execution.state_dir:
            yield
            return
        seconds = max(0.0, self.began + self.execution.timeout - time.monotonic()) + HUNG_SECONDS
        # On another node the mark is of no use: that the trial was late is seen by who hears no more of it.
        path = self.hung if self.states.here else Path(os.devnull)
        try:
            file = path.open("w")
        except OSError:  # whether results can be written is for the journal to say
            yield
            return
        with file:
            faulthandler.dump_traceback_later(seconds, exit=True, file=file)
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()
                with suppress(OSError):
                    self.hung.unlink(missing_ok=True)

    def _late(self) -> TimeoutError:
        self.outlasted = self.execution.timeout
        return TimeoutError(f"took longer than --trial-timeout {self.execution.timeout:g} s")

    def _save(self) -> None:
        assert self.replicates is not None
        began = time.monotonic()
        try:
            self.note = self.states.save(self.replicates, self.state, self.execution.attempt) or self.note
        except OSError as error:  # a full disk: the trial can still finish, it only cannot be resumed
            self.note = f"could not be saved: {error.strerror}"
        now = time.monotonic()
        self.save_at = now + save_pause(now - began)

    def _fail(self, error: Exception) -> None:
        self.error = f"{type(error).__name__}: {reason(error)}"
        self._say(f"failed\n{traceback.format_exc()}")

    def _say(self, text: str) -> None:
        """To the worker's log, which Ray's dashboard shows, if the disk has room for it."""
        with suppress(OSError):
            print(f"{trial_name(self.index)}  {text}", flush=True)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: finished trials are in the search's journal, unfinished ones save themselves."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing, as `save_checkpoint`."""


def summary_line(progress: Progress) -> str:
    """How far a trial has come, in one readable line."""
    seeds = len(progress.games_to_optimal)
    text = f"{percent(progress.share):>5}  {progress.games_per_s / 1e6:.2f}M games/s"
    if not progress.games:
        return f"{text}  before the first check"
    text = (
        f"{text}  {progress.games:,} games x {seeds}  solved {progress.solved}/{seeds}  "
        f"median {games(progress.median)}  geometric mean {games(geometric_mean(progress.mean_log))}"
    )
    if math.isnan(progress.exploitability):  # no full check yet
        return text
    return f"{text}  exploitability {progress.exploitability:.3f}  loss vs random {progress.loss_vs_random:.4f}"

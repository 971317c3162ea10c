"""One trial: one configuration on R replicates, as Ray Tune runs it."""

from __future__ import annotations

import faulthandler
import math
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from ray import tune

from tictactoe.core.learner import Hyperparameters
from tictactoe.core.seeds import Stream
from tictactoe.experiment.block import CHECKPOINT_SECONDS, CHECKPOINT_SHARE
from tictactoe.experiment.record import Progress, Task
from tictactoe.experiment.replicates import Replicates, rungs, warm_up
from tictactoe.text import games, percent, reason, trial_name

REPORT_SECONDS = 1.5
"""A trial reports at least about this often, so that somebody who watches sees it live."""
READY = "ready"
"""Folder beside the states of unfinished trials that holds a file for each process that is ready."""
READY_SECONDS = 20.0
"""How long a process waits for others, which start at the same time, but may not come."""
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
    slots: int = 1
    """How many trials run at a time."""
    attempt: str = ""
    """Which start of the program this is."""


def config(index: int, hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """What tells a trial from the others of its search, for Ray Tune."""
    return {"index": index, "hyperparameters": hyperparameters}


def state_file(state_dir: Path, index: int) -> Path:
    """Where an unfinished trial's replicates are saved."""
    return state_dir / f"{trial_name(index)}.npz"


class QLearningTrial(tune.Trainable):
    """Ray Tune's view of a trial. Its configuration: `trial` as `config` makes it, `task` and `execution` as dicts.

    Each result holds the trial's `progress` (None where it has failed), whether that is its `final` one, an `error` or
    None, the `timeout` that it has outlasted or None, and a `note` for the user or None.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """What a trial reserves; said here, the actors keep this class's name, by which the dashboard shows them."""
        return tune.PlacementGroupFactory([{"CPU": config["execution"]["cpus"], "GPU": config["execution"]["gpus"]}])

    def setup(self, config: dict[str, Any]) -> None:
        """In a new process: get ready, then begin with a trial."""
        warm_up(config["task"]["board"])
        _wait_for_others(Execution(**config["execution"]))
        self._begin(config)

    def _begin(self, config: dict[str, Any]) -> None:
        self.index: int = config["trial"]["index"]
        self.task = Task(**config["task"] | {"stream": Stream(config["task"]["stream"])})
        self.execution = Execution(**config["execution"])
        self.began = time.monotonic()
        self.save_at = self.began + CHECKPOINT_SECONDS
        self.error: str | None = None
        self.outlasted: float | None = None
        self.note: str | None = None
        self.replicates: Replicates | None = None
        try:
            if self.hung.exists() and self.hung.stat().st_size:  # the watchdog has ended an earlier process on it
                raise self._late()
            self.replicates = Replicates(self.task, Hyperparameters(**config["trial"]["hyperparameters"]))
            if self.state.exists():
                problem = self.replicates.restore(self.state, self.execution.attempt)
                self.note = (
                    f"{self.state.name} {problem}: the trial starts over"
                    if problem
                    else f"goes on after {self.replicates.played:,} games"
                )
                self._say(self.note)
        except Exception as error:
            self._fail(error)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next configuration in the same process: starting one costs seconds."""
        self._begin(new_config)
        return True

    @property
    def state(self) -> Path:
        """File for the state of this trial while it is unfinished."""
        return state_file(Path(self.execution.state_dir or os.devnull), self.index)

    @property
    def hung(self) -> Path:
        """File that has content once the watchdog has ended a process on this trial."""
        return self.state.with_suffix(".hung")

    def step(self) -> dict[str, Any]:
        """Train until the next rung is reached or it is time to be heard of.

        An exception is reported, not raised: it would come again, while a lost process is worth a retry.
        """
        if self.error is None:
            try:
                with self._watchdog():
                    return self._train()
            except Exception as error:
                self._fail(error)
        return self._result(None, final=True)

    def _train(self) -> dict[str, Any]:
        replicates = self.replicates
        assert replicates is not None
        target = next((rung for rung in rungs(self.task.games) if rung > replicates.games), self.task.games)
        replicates.advance(time.monotonic() + REPORT_SECONDS, target)
        if self.execution.timeout and time.monotonic() > self.began + self.execution.timeout:
            raise self._late()
        if self.execution.state_dir and not replicates.finished and time.monotonic() > self.save_at:
            self._save()
        progress = replicates.progress()
        self._say(summary_line(progress))
        return self._result(progress, replicates.finished)

    def _result(self, progress: Progress | None, final: bool) -> dict[str, Any]:
        """A result for Ray Tune: the progress whole, and as numbers what its algorithms go by."""
        note, self.note = self.note, None
        par10 = progress.par10 if progress else math.nan
        return {
            "index": self.index,
            "progress": progress,
            "final": final,
            "done": final,
            "error": self.error,
            "timeout": self.outlasted,
            "note": note,
            "games": progress.games if progress else 0,
            "par10": par10,
            "log_par10": math.log(par10),
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
        try:
            file = self.hung.open("w")
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
            self.hung.unlink()

    def _late(self) -> TimeoutError:
        self.outlasted = self.execution.timeout
        return TimeoutError(f"took longer than --trial-timeout {self.execution.timeout:g} s")

    def _save(self) -> None:
        assert self.replicates is not None
        began = time.monotonic()
        try:
            self.replicates.save(self.state, self.execution.attempt)
        except OSError as error:  # a full disk: the trial can still finish, it only cannot be resumed
            self.note = f"could not be saved: {error.strerror}"
        now = time.monotonic()
        self.save_at = now + max(CHECKPOINT_SECONDS, (now - began) / CHECKPOINT_SHARE)

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


def _wait_for_others(execution: Execution) -> None:
    """Wait until as many processes are ready as trials run at a time.

    Tune gives a waiting trial the first free process and cancels the one that is starting for it. Trials shorter than
    the difference between two starts would so run one at a time for ever.
    """
    if not execution.state_dir:
        return
    ready = Path(execution.state_dir, READY)
    with suppress(OSError):  # whether results can be written is for the journal to say
        ready.mkdir(exist_ok=True)
        (ready / uuid4().hex).touch()
        end = time.monotonic() + READY_SECONDS
        while len(list(ready.iterdir())) < execution.slots and time.monotonic() < end:
            time.sleep(0.02)


def summary_line(progress: Progress) -> str:
    """How far a trial has come, in one readable line."""
    seeds = len(progress.games_to_optimal)
    text = f"{percent(progress.share):>5}  {progress.games_per_s / 1e6:.2f}M games/s"
    if not progress.games:
        return f"{text}  before the first check"
    return (
        f"{text}  {progress.games:,} games x {seeds}  solved {progress.solved}/{seeds}  "
        f"median {games(progress.median)}  PAR-10 {games(progress.par10)}  "
        f"exploitability {progress.exploitability:.3f}  loss vs random {progress.loss_vs_random:.4f}"
    )

"""One trial: one configuration on R replicates, as Ray Tune runs it."""

from __future__ import annotations

import faulthandler
import math
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from ray import tune

from tictactoe.experiment.replicates import Job, Replicates, rungs, state_file, warm_up
from tictactoe.experiment.space import hyperparameters

REPORT_SECONDS = 1.5
"""A trial reports at least about this often, so that somebody who watches sees it live."""
CHECKPOINT_SECONDS = 5.0
"""A trial saves its learners about this often; shorter ones are cheaper to repeat than to save."""
CHECKPOINT_SHARE = 0.01
"""Of a trial's time at most so much goes into saving: large tables are saved less often."""
READY = "ready"
"""Folder beside the states of unfinished trials that holds a file for each process that is ready."""
READY_SECONDS = 20.0
"""How long a process waits for others, which start at the same time, but may not come."""
HUNG_SECONDS = 5.0
"""A trial that does not even notice that its time is up is ended this much later, with its process."""


class QLearningTrial(tune.Trainable):
    """Ray Tune's view of a trial. Its configuration: `trial` {`index`, `hyperparameters` as sampled} and `job`."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """What a trial reserves; said here, the actors keep this class's name, by which the dashboard shows them."""
        return tune.PlacementGroupFactory([{"CPU": config["job"]["cpus"], "GPU": config["job"]["gpus"]}])

    def setup(self, config: dict[str, Any]) -> None:
        """In a new process: get ready, then begin with a trial."""
        job = Job(**config["job"])
        warm_up(job.board)
        _wait_for_others(job)
        self._begin(config)

    def _begin(self, config: dict[str, Any]) -> None:
        self.index = config["trial"]["index"]
        self.job = Job(**config["job"])
        self.began = time.monotonic()
        self.save_at = self.began + CHECKPOINT_SECONDS
        self.error: str | None = None
        self.note: str | None = None
        self.replicates: Replicates | None = None
        try:
            if self.hung.exists() and self.hung.stat().st_size:  # the watchdog has ended an earlier process on it
                raise self._late()
            self.replicates = Replicates(self.job, hyperparameters(config["trial"]["hyperparameters"]))
            if self.partial.exists():
                problem = self.replicates.restore(self.partial)
                self.note = (
                    f"{self.partial.name} {problem}: the trial starts over"
                    if problem
                    else f"goes on after {self.replicates.played:,} games"
                )
                print(f"trial_{self.index:05d} {self.note}", flush=True)
        except Exception as error:
            self._fail(error)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next configuration in the same process: starting one costs seconds."""
        self._begin(new_config)
        return True

    @property
    def partial(self) -> Path:
        """File for the state of this trial while it is unfinished."""
        return state_file(Path(self.job.partial_dir or os.devnull), self.index)

    @property
    def hung(self) -> Path:
        """File that has content once the watchdog has ended a process on this trial."""
        return self.partial.with_suffix(".hung")

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
        return {"index": self.index, "error": self.error, "games": 0, "par10": math.nan, "log_par10": math.nan,
                "loss_vs_random": math.nan, "history": [], "final": True, "done": True}  # fmt: skip

    def _train(self) -> dict[str, Any]:
        replicates = self.replicates
        assert replicates is not None
        target = next((rung for rung in rungs(self.job.games) if rung > replicates.games), self.job.games)
        replicates.advance(time.monotonic() + REPORT_SECONDS, target)
        if self.job.timeout and time.monotonic() > self.began + self.job.timeout:
            raise self._late()
        if self.job.partial_dir and not replicates.finished and time.monotonic() > self.save_at:
            self._save()
        metrics = replicates.metrics() | {"index": self.index, "final": replicates.finished, "done": replicates.finished}
        print(f"trial_{self.index:05d} {summary_line(metrics)}", flush=True)
        metrics["note"], self.note = self.note, None
        return metrics

    @contextmanager
    def _watchdog(self) -> Iterator[None]:
        """End the process if a step goes on long after the trial's time is up.

        From a thread of C: code that hangs may hold the interpreter's lock, and then no Python runs beside it.
        """
        if not self.job.timeout or not self.job.partial_dir:
            yield
            return
        left = max(0.0, self.began + self.job.timeout - time.monotonic()) + HUNG_SECONDS
        try:
            file = self.hung.open("w")
        except OSError:  # whether results can be written is for the journal to say
            yield
            return
        with file:
            faulthandler.dump_traceback_later(left, exit=True, file=file)
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()
        with suppress(OSError):
            self.hung.unlink()

    def _late(self) -> TimeoutError:
        return TimeoutError(f"took longer than --trial-timeout {self.job.timeout:g} s")

    def _save(self) -> None:
        assert self.replicates is not None
        began = time.monotonic()
        try:
            self.replicates.save(self.partial)
        except OSError as error:  # a full disk: the trial can still finish, it only cannot be resumed
            self.note = f"could not be saved: {error.strerror}"
        now = time.monotonic()
        self.save_at = now + max(CHECKPOINT_SECONDS, (now - began) / CHECKPOINT_SHARE)

    def _fail(self, error: Exception) -> None:
        self.error = f"{type(error).__name__}: {error}"
        print(f"trial_{self.index:05d} failed\n{traceback.format_exc()}", flush=True)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: finished trials are in the search's journal, unfinished ones save themselves."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing, as `save_checkpoint`."""


def _wait_for_others(job: Job) -> None:
    """Wait until as many processes are ready as trials run at a time.

    Tune gives a waiting trial the first free process and cancels the one that is starting for it. Trials shorter than
    the difference between two starts would so run one at a time for ever.
    """
    if not job.partial_dir:
        return
    ready = Path(job.partial_dir, READY)
    with suppress(OSError):  # whether results can be written is for the journal to say
        ready.mkdir(exist_ok=True)
        (ready / uuid4().hex).touch()
        end = time.monotonic() + READY_SECONDS
        while len(list(ready.iterdir())) < job.slots and time.monotonic() < end:
            time.sleep(0.02)


def summary_line(metrics: dict[str, Any]) -> str:
    """A report in one readable line."""
    seeds = len(metrics["games_to_optimal"])
    text = f"{metrics['share']:4.0%}  {metrics['games_per_s'] / 1e6:.2f}M games/s"
    if not metrics["games"]:
        return f"{text}  before the first check"
    return (
        f"{text}  {metrics['games']:,} games x {seeds}  solved {metrics['solved']}/{seeds}  "
        f"median {metrics['median']:,.0f}  PAR-10 {metrics['par10']:,.0f}  "
        f"exploitability {metrics['exploitability']:.3f}  loss vs random {metrics['loss_vs_random']:.4f}"
    )

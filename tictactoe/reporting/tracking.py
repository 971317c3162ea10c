"""Weights & Biases, written from the driver by one thread: one run a trial, and one for the search.

Where the search races, those trials have a run that have come to its last round: each run costs the driver time, and the others
take some milliseconds. The search's run has a table of all. In a large search many finished trials share a run, as its steps:
W&B's pages get slow with thousands of runs.

Telemetry never fails, delays or changes a search: whether the server takes runs is found out once, before any
run, and everything goes to local files where it does not.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from rich.console import Console

from tictactoe.core.learner import Hyperparameters
from tictactoe.experiment.observer import Observer
from tictactoe.experiment.record import Failure, Progress, Record, Scores, better, names, part, to_json
from tictactoe.experiment.results import COLUMNS
from tictactoe.experiment.rounds import Round, Standing
from tictactoe.reporting.probe import RUN_EACH_UP_TO, Probe, sync_command
from tictactoe.reporting.stages import Stage, reached, stages
from tictactoe.text import reason, trial_name

if TYPE_CHECKING:
    from tictactoe.experiment.summary import Summary

FLUSH_SECONDS = 300.0
"""Longest wait at the end for a server that answers; a signal ends it earlier."""
STALLED_SECONDS = 1.0
"""How long nothing may come through at the end before the server is asked whether it still answers."""
ANNOUNCE_SECONDS = 3.0
"""After so long a wait the user hears of it."""
LEAVING_SECONDS = 2.0
"""Longest wait at the end of a search that a signal has ended."""
SAVE_SECONDS = 1.0
"""How much of a run's data a kill may cost; W&B's own interval is longer than a short trial."""
EMPTY_BYTES = 7
"""Length of the head of a run's file."""
INIT_SECONDS = 10.0
"""Longest wait for the server to take a run; then all goes offline."""
FINISH_SECONDS = 30.0
"""Longest wait at a run's end for the server to take the data; then all goes offline."""
AWAY = "the server stopped answering"
LEADERBOARD_ROWS = 10_000
"""As many of a table's rows as W&B shows."""
SEARCH = "search"
"""Name of the run of the whole search."""


class Tracker(Observer):
    """Writes runs in a thread of its own; an observer of the search.

    `group` is the search's name, `stamp` what tells this start of it from another of the same name: both make
    the runs' ids, so that a resumed search goes on in its runs. `rounds` are the search's: trials of the last one have runs,
    of their own where they are not too many. `leave` is set by a signal.
    """

    def __init__(
        self,
        probe: Probe,
        rounds: Sequence[Round],
        folder: Path,
        group: str,
        stamp: str,
        console: Console,
        leave: threading.Event,
    ) -> None:
        self.mode = probe.result()[0]
        self._probe = probe
        self._shared = rounds[-1].trials > RUN_EACH_UP_TO
        self._round, self._last = 0, len(rounds) - 1
        self._slots: list[tuple[float, int]] = []
        """When, on the monotonic clock, how many slots there were: the corners of a line of steps."""
        self._best: Record | None = None
        self._course: list[tuple[float, float]] = []
        """When, on the same clock, the best geometric mean so far became what it is."""
        self._waiting: list[Record] = []
        self._lost = False
        self._leave = leave
        self._console = console
        self._folder, self._group, self._stamp = folder, group, stamp
        self._written = folder / "wandb" / "written"
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._wandb: Any = None
        self._runs: dict[int, Any] = {}
        self._configs: dict[int, Hyperparameters] = {}
        self._handled = 0
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        if self.mode != "disabled":
            self._thread.start()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()
        for link in self._folder.glob("wandb/*run-*/logs/*.log"):  # to its service's log; `kubectl cp` warns of each link
            if link.is_symlink():
                link.unlink()
        if self.failure:
            begun = any(self._folder.glob("wandb/*run-*"))
            remedy = f"; `{self._sync_command()}` sends what is missing there" if begun else ""
            self._console.print(f"W&B: {self.failure}{remedy}")

    def search_started(self, before: Standing) -> None:
        """Write the runs of finished trials that an earlier attempt did not come to write.

        Folders that a kill has left without any data are removed: `wandb sync` would stop at them.
        """
        written = set[str]()
        with suppress(OSError):
            for run in self._folder.glob("wandb/offline-run-*"):
                if all(data.stat().st_size <= EMPTY_BYTES for data in run.glob("*.wandb")):
                    shutil.rmtree(run, ignore_errors=True)
            written = set(self._written.read_text(errors="replace").split())
        for record in before.latest[0]:
            self._compare(record)
            if str(record.index) in written or record.round < self._last:
                continue
            if self._shared:
                self._put(self._collect, record)
            else:
                self._put(self._start, record.index, record.config)
                for point in record.history:
                    self._put(self._log, record.index, {"games": point.games, "loss_vs_random": point.mean_loss})
                self._put(self._finish, record)

    def slots_changed(self, slots: int) -> None:
        """Remember when; the search's run is written at its end."""
        now = time.monotonic()
        self._slots += [(now, before) for _, before in self._slots[-1:]] + [(now, slots)]

    def round_started(self, number: int, round: Round, of: int) -> None:
        """Remember which it is."""
        self._round = number

    def trial_started(self, index: int, config: Hyperparameters) -> None:
        if self._has_runs and not self._shared:
            self._put(self._start, index, config)

    def trial_reported(self, index: int, progress: Progress, final: bool) -> None:
        if self._shared or not self._has_runs:
            return
        numbers = asdict(part(progress, Scores)) | {"share": progress.share, "games_per_s": progress.games_per_s}
        self._put(self._log, index, numbers)

    def trial_finished(self, record: Record) -> None:
        self._compare(record)
        if self._has_runs:
            self._put(self._collect if self._shared else self._finish, record)

    def trial_failed(self, failure: Failure) -> None:
        self._put(self._fail, failure)

    @property
    def backlog(self) -> int:
        """Things still to be written."""
        return self._queue.qsize()

    @property
    def _has_runs(self) -> bool:
        """Whether trials of the round at hand have runs."""
        return self._round == self._last

    def search_finished(self, summary: Summary, records: Sequence[Record], files: list[Path]) -> None:
        """Write the run of the whole search: slots and best so far over time, trials and stages as tables, and its files."""
        self._put(self._finish_waiting)
        if self._slots:
            self._slots.append((time.monotonic(), self._slots[-1][1]))
        self._put(self._summarise, summary, records, files)

    def _compare(self, record: Record) -> None:
        before, self._best = self._best, better(self._best, record)
        if self._best is not before:
            self._course.append((time.monotonic(), record.geometric_mean))

    def _close(self) -> None:
        """Wait for what is still to be written, as long as the server answers; what it would not have goes to local files."""
        if self.mode == "disabled":
            return
        self._put(self._finish_waiting)
        self._queue.put(None)
        began = moved = time.monotonic()
        handled, announced, leaving = self._handled, False, self._leave.is_set()
        end = began + (LEAVING_SECONDS if leaving else FLUSH_SECONDS)
        while self._thread.is_alive() and time.monotonic() < end and self._leave.is_set() == leaving:
            self._thread.join(0.05)
            if handled != self._handled:
                moved, handled = time.monotonic(), self._handled
            if time.monotonic() > moved + STALLED_SECONDS:
                if self.mode == "online" and not self._lost and not self._probe.answers():
                    self._lost = True
                    _end_service()  # what waits for it fails, and the thread goes on offline
                moved = time.monotonic()
            if not announced and time.monotonic() > began + ANNOUNCE_SECONDS:
                announced = True
                self._console.print(f"W&B: {self.backlog} more things to write; Ctrl-C does without them")
        if self._thread.is_alive():
            self.failure = "not all is written"
            _end_service()

    def _sync_command(self) -> str:
        return sync_command(self._folder, online=any(self._folder.glob("wandb/run-*")))

    def _put(self, write: Callable[..., None], *arguments: Any) -> None:
        """Have the thread call `write`."""
        if self.mode != "disabled":
            self._queue.put(partial(write, *arguments))

    def _work(self) -> None:
        # What is still to be sent belongs to the results; W&B would leave it, and its logs, in the home folder.
        for name in ("data", "cache"):
            os.environ.setdefault(f"WANDB_{name.upper()}_DIR", str(self._folder / "wandb" / name))
        try:
            import wandb

            logging.getLogger("wandb").setLevel(logging.CRITICAL)
        except Exception as error:
            self.failure = str(error)
            return
        self._wandb = wandb
        while (write := self._queue.get()) is not None:
            try:
                try:
                    write()
                except Exception:
                    if not self._lost or self.mode != "online":
                        raise
                    self._go_offline(AWAY)
                    write()
            except Exception as error:  # telemetry never fails a search
                self.failure = self.failure or reason(error)
            self._handled += 1
        with suppress(Exception, SystemExit):  # the latter where its service process was killed
            wandb.teardown()

    def _start(self, index: int, config: Hyperparameters) -> None:
        if index not in self._runs:  # it is: tried again after its process was lost
            self._configs[index] = config
            self._runs[index] = self._run(trial_name(index), config.as_dict())

    def _log(self, index: int, numbers: dict[str, float | None]) -> None:
        if index in self._runs:
            self._runs[index].log(_finite(numbers), step=numbers["games"], commit=True)

    def _finish(self, record: Record) -> None:
        if (run := self._runs.pop(record.index, None)) is not None:
            run.summary.update({column: getattr(record, column) for column in COLUMNS} | {"node": record.node})
            self._end(run)
            self._note([record])

    def _fail(self, failure: Failure) -> None:
        if (run := self._runs.pop(failure.index, None)) is not None:
            run.summary["error"] = failure.error
            self._end(run, exit_code=1)

    def _collect(self, record: Record) -> None:
        """Have a finished trial written with others, once they are enough for a run."""
        self._waiting.append(record)
        if len(self._waiting) == RUN_EACH_UP_TO:
            self._finish_waiting()

    def _finish_waiting(self) -> None:
        """Write the trials that have been collected as the steps of one run.

        It is written at once. A run of the same name is one that a kill has cut off, and is written over.
        """
        if not self._waiting:
            return
        before = len(self._written.read_text().split()) if self._written.exists() else 0
        run = self._run(f"trials_{before:05d}", {"trials": len(self._waiting)}, resume=False)
        run.define_metric("*", step_metric="trial")
        for record in self._waiting:
            columns = {column: getattr(record, column) for column in COLUMNS}
            run.log({"trial": record.index} | record.config.as_dict() | _finite(columns))
        self._end(run)
        self._note(self._waiting)
        self._waiting = []

    def _note(self, records: Sequence[Record]) -> None:
        """Remember which trials need not be written again."""
        with self._written.open("a") as file:
            file.writelines(f"{record.index}\n" for record in records)

    def _end(self, run: Any, exit_code: int = 0) -> None:
        """Finish a run; one that the server has got whole is marked as `wandb sync` marks it, which then leaves it out."""
        try:
            run.finish(exit_code=exit_code)
        except Exception as error:
            if self.mode != "online" or not (self._lost or isinstance(error, TimeoutError)):
                raise
            slow = not self._lost and self._probe.answers()
            self._go_offline(f"the server takes more than {FINISH_SECONDS:g} s for a run" if slow else AWAY)
            return  # what was not sent is in the run's local file
        if not run.settings.mode.startswith("off"):
            Path(f"{run.settings.sync_file}.synced").touch()

    def _go_offline(self, why: str) -> None:
        """Keep all runs from here on in local files, also those that have begun."""
        self.mode = "offline"
        if self._runs and not self._lost:
            time.sleep(SAVE_SECONDS)  # so that all is in their files
        _end_service()  # it would try again and again to send
        with suppress(Exception, SystemExit):  # the latter where its service process was killed
            self._wandb.teardown()
        self._console.print(
            f"W&B: {why}; runs are kept offline from here on, `{self._sync_command()}` sends what is missing there"
        )
        for index in self._runs:
            self._runs[index] = self._run(trial_name(index), self._configs[index].as_dict())

    def _summarise(self, summary: Summary, records: Sequence[Record], files: list[Path]) -> None:
        run = self._run(SEARCH, {"board": summary.board, "seed": summary.seed})
        ranked = sorted(records, key=lambda record: record.rank)[:LEADERBOARD_ROWS]
        leaderboard = self._wandb.Table(
            columns=["index", "round", "reached", "geometric_mean", *COLUMNS, *names(Hyperparameters), "node"],
            data=[
                [
                    *(record.index, record.round + 1, reached(record, summary), record.geometric_mean),
                    *(getattr(record, column) for column in COLUMNS),
                    *record.config.as_dict().values(),
                    record.node,
                ]
                for record in ranked
            ],
        )
        steps = self._wandb.Table(columns=names(Stage), data=[list(vars(stage).values()) for stage in stages(summary)])
        pages = {
            path.stem: self._wandb.Html(path.read_text(encoding="utf-8"), inject=False)
            for path in files
            if path.suffix == ".html"
        }
        artifact = self._wandb.Artifact(f"policy-{self._group}", type="policy")
        for path in files:
            artifact.add_file(str(path))
        try:
            zero, _ = (self._slots or self._course or [(0.0, 0)])[0]
            for name, line in (("slots", self._slots), ("best_geometric_mean", self._course)):
                run.define_metric(name, step_metric="seconds")
                for at, value in line:
                    run.log({"seconds": max(0.0, at - zero), name: value})  # of earlier attempts is told before there are slots
            run.summary.update({name: value for name, value in to_json(summary).items() if name != "versions"})
            run.log({"leaderboard": leaderboard, "stages": steps} | pages)
            run.log_artifact(artifact)
        except Exception:  # a server that takes no artifacts, which the table is too, is to have the rest
            run.finish(exit_code=0)
            raise
        self._end(run)

    def _run(self, name: str, config: dict[str, Any], resume: bool = True) -> Any:
        """Begin a run, or go on in it; without `resume`, write over it."""
        run_id = f"{self._group}-{self._stamp}-{name}"[-120:]
        if not resume:
            for folder in self._folder.glob(f"wandb/*run-*-{run_id}"):
                shutil.rmtree(folder, ignore_errors=True)
        before = set(self._folder.glob("wandb/run-*"))
        try:
            return self._init(name, run_id, config, resume)
        except Exception as error:
            if self.mode != "online":
                raise
            away = self._lost or not self._probe.answers()
            for folder in set(self._folder.glob("wandb/run-*")) - before:  # nothing is in it
                shutil.rmtree(folder, ignore_errors=True)
            self._go_offline(AWAY if away else f"{self._probe.place} refuses runs ({reason(error)})")
            return self._init(name, run_id, config, resume)

    def _init(self, name: str, run_id: str, config: dict[str, Any], resume: bool) -> Any:
        return self._wandb.init(
            project=self._probe.project,
            group=self._group,
            name=name,
            id=run_id,
            config=config,
            dir=str(self._folder),
            mode=self.mode,
            resume="allow" if resume else None,  # offline too: `wandb sync` then appends to the run where it would overwrite it
            reinit="create_new",
            settings=self._wandb.Settings(
                console="off", silent=True, disable_git=True, disable_code=True, save_code=False, x_disable_stats=True,
                x_disable_machine_info=True, x_disable_meta=True, symlink=False,
                init_timeout=INIT_SECONDS, finish_timeout=FINISH_SECONDS, finish_timeout_raises=True,
                x_transaction_log_flush_interval=SAVE_SECONDS,
                x_save_requirements=name == SEARCH,  # one is enough: each reads all packages' files
            ),
        )  # fmt: skip


def _end_service() -> None:
    """End W&B's service process, which may wait for its server."""
    for process in psutil.Process().children(recursive=True):
        try:
            if "wandb-core" in process.name():
                process.kill()
        except psutil.Error:
            continue


def _finite(values: dict[str, float | None]) -> dict[str, float | None]:
    """Numbers that are none as None: W&B draws no point there."""
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in values.items()}

"""What one sees while a search runs: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from tictactoe.core.learner import Hyperparameters
from tictactoe.experiment.record import Failure, Progress, Record, Scores
from tictactoe.text import count, games, percent, trial_name

LINE_SECONDS = 3.0
"""Least time between two lines about the same running trial in a pipe or log."""


@dataclass
class _Running:
    """A trial that runs."""

    last_line: float
    progress: Progress | None = None

    @property
    def share(self) -> float:
        """What of its budget it has played."""
        return self.progress.share if self.progress else 0.0


class Reporter:
    """Shows the state of a search on a console; an observer of the search.

    `line` turns a trial's progress into one readable line.
    """

    def __init__(
        self, console: Console, total: int, line: Callable[[Progress], str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.console = console
        self.total = total
        self.line = line
        self.clock = clock
        self.start = clock()
        self.running: dict[int, _Running] = {}
        self.best: Record | None = None
        self.finished = self.failed = self.earlier = 0
        """Trials that ended either way, and how many of them did so in earlier attempts."""
        self._live: Live | None = None

    def __enter__(self) -> Reporter:
        if self.console.is_terminal:
            self._live = Live(self, console=self.console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    @property
    def ended(self) -> int:
        """Trials that have finished or failed."""
        return self.finished + self.failed

    def search_started(self, records: Sequence[Record], failures: Sequence[Failure]) -> None:
        """Hear of the trials of earlier attempts."""
        self.start = self.clock()
        self.finished, self.failed = len(records), len(failures)
        self.earlier = self.ended
        for record in records:
            self._compare(record)
        if records:
            self.console.print(f"{len(records)} of {self.total} trials are finished already")
        if failures:
            self.console.print(f"{count(len(failures), 'trial')} failed earlier; --retry-failed runs them again")

    def trial_started(self, index: int, config: Hyperparameters) -> None:
        if not self.running and self.ended == self.earlier:  # the first one: what went before is no measure
            self.start = self.clock()
        self.running[index] = _Running(self.clock())

    def trial_reported(self, index: int, progress: Progress, final: bool) -> None:
        state = self.running.setdefault(index, _Running(self.clock()))
        state.progress = progress
        if self._live is None and not final and self.clock() - state.last_line >= LINE_SECONDS:
            state.last_line = self.clock()
            self.console.print(f"{trial_name(index)}  {self.line(progress)}")

    def trial_finished(self, record: Record) -> None:
        self.running.pop(record.index, None)
        self.finished += 1
        self._compare(record)
        if self._live is None:
            best = f"best {trial_name(self.best.index)} {games(self.best.par10)}" if self.best else ""
            self.console.print(
                f"{trial_name(record.index)}  {'stopped' if record.stopped else 'finished'} "
                f"[{self.finished}/{self.total}]  solved {record.solved}/{len(record.games_to_optimal)}  "
                f"median {games(record.median)}  PAR-10 {games(record.par10)}  {best}  {self.time_left()}",
            )

    def trial_failed(self, failure: Failure) -> None:
        self.running.pop(failure.index, None)
        self.failed += 1
        self.console.print(f"{trial_name(failure.index)}  failed: {failure.error}")

    def trial_noted(self, index: int, text: str) -> None:
        self.console.print(f"{trial_name(index)}  {text}")

    def time_left(self) -> str:
        """Estimate of the time left, from the rate so far."""
        shares = sum(state.share for state in self.running.values())
        worked = self.ended - self.earlier + shares
        if worked <= 0 or self.ended >= self.total:
            return ""
        seconds = (self.clock() - self.start) / worked * max(0.0, self.total - self.ended - shares)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} left"

    def _compare(self, record: Record) -> None:
        """Keep the best of the trials that used their whole budget."""
        if not record.stopped and (self.best is None or record.par10 < self.best.par10):
            self.best = record

    def __rich__(self) -> Group:
        bar = Bar(TextColumn("{task.completed}/{task.total} trials"), BarColumn(), TextColumn("{task.description}"))
        bar.add_task(self.time_left(), total=self.total, completed=self.ended)
        table = Table(box=None, pad_edge=False)
        for name in ("trial", "trained", "solved", "median", "PAR-10", "loss vs random"):
            table.add_column(name, justify="left" if name == "trial" else "right")
        for index, state in sorted(self.running.items()):
            columns = _columns(percent(state.share), state.progress) if state.progress else ["starting"]
            table.add_row(trial_name(index), *columns)
        if self.best is not None:
            table.add_row(trial_name(self.best.index), *_columns("best", self.best), style="bold green")
        return Group(bar, table)


def _columns(state: str, scores: Scores) -> list[str]:
    return [state, str(scores.solved), games(scores.median), games(scores.par10), f"{scores.loss_vs_random:.4f}"]

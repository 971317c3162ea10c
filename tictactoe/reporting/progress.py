"""What one sees while a search runs: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

LINE_SECONDS = 3.0
"""Least time between two lines about the same running trial in a pipe or log."""


@dataclass
class _Running:
    started: float
    metrics: dict[str, Any] = field(default_factory=dict)
    last_line: float = 0.0


class Reporter:
    """Shows the state of a search on a console; an observer of the search.

    `line` turns a report's metrics into one readable line.
    """

    def __init__(
        self, console: Console, total: int, line: Callable[[dict[str, Any]], str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.console = console
        self.total = total
        self.line = line
        self.clock = clock
        self.start = clock()
        self.running: dict[int, _Running] = {}
        self.best: dict[str, Any] | None = None
        self.done = self.failed = self.resumed = 0
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

    def search_started(self, finished: list[dict[str, Any]]) -> None:
        """Hear of the trials that an earlier attempt has finished."""
        self.start = self.clock()
        self.done = self.resumed = len(finished)
        for record in finished:
            self._better(record)
        if finished:
            self.console.print(f"{len(finished)} of {self.total} trials are finished already")

    def trial_started(self, index: int, config: dict[str, Any]) -> None:
        if not self.running and self.done + self.failed == self.resumed:  # the first one: what went before is no measure
            self.start = self.clock()
        self.running[index] = _Running(self.clock(), last_line=self.clock())

    def trial_reported(self, index: int, metrics: dict[str, Any]) -> None:
        state = self.running.setdefault(index, _Running(self.clock()))
        state.metrics = metrics
        if self._live is None and not metrics["final"] and self.clock() - state.last_line >= LINE_SECONDS:
            state.last_line = self.clock()
            self.console.print(f"trial_{index:05d}  {self.line(metrics)}")

    def trial_finished(self, record: dict[str, Any]) -> None:
        self.running.pop(record["index"], None)
        self.done += 1
        self._better(record)
        if self._live is None:
            middle = "inf" if record["median"] is None else f"{record['median']:,.0f}"
            best = f"best trial_{self.best['index']:05d} {self.best['par10']:,.0f}" if self.best else ""
            self.console.print(
                f"trial_{record['index']:05d}  {'stopped' if record['stopped'] else 'finished'} "
                f"[{self.done}/{self.total}]  solved {record['solved']}/{len(record['games_to_optimal'])}  "
                f"median {middle}  PAR-10 {record['par10']:,.0f}  {best}  {self.left()}",
            )

    def trial_failed(self, index: int, error: str) -> None:
        self.running.pop(index, None)
        self.failed += 1
        self.console.print(f"trial_{index:05d}  failed: {error}")

    def trial_noted(self, index: int, text: str) -> None:
        self.console.print(f"trial_{index:05d}  {text}")

    def left(self) -> str:
        """Estimate of the time left, from the rate so far."""
        ended = self.done + self.failed
        shares = sum(state.metrics.get("share", 0.0) for state in self.running.values())
        worked = ended - self.resumed + shares
        if worked <= 0 or ended >= self.total:
            return ""
        seconds = (self.clock() - self.start) / worked * max(0.0, self.total - ended - shares)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} left"

    def _better(self, record: dict[str, Any]) -> None:
        if not record["stopped"] and (self.best is None or record["par10"] < self.best["par10"]):
            self.best = record

    def __rich__(self) -> Group:
        bar = Progress(TextColumn("{task.completed}/{task.total} trials"), BarColumn(), TextColumn("{task.description}"))
        bar.add_task(self.left(), total=self.total, completed=self.done + self.failed)
        table = Table(box=None, pad_edge=False)
        for name in ("trial", "trained", "solved", "median", "PAR-10", "loss vs random"):
            table.add_column(name, justify="left" if name == "trial" else "right")
        for index, state in sorted(self.running.items()):
            m = state.metrics
            values = _columns(f"{m['share']:.0%}", m, m["median"]) if m else ["starting"]
            table.add_row(f"trial_{index:05d}", *values)
        if self.best is not None:
            median = math.inf if self.best["median"] is None else self.best["median"]
            table.add_row(f"trial_{self.best['index']:05d}", *_columns("best", self.best, median), style="bold green")
        return Group(bar, table)


def _columns(state: str, numbers: dict[str, Any], median: float) -> list[str]:
    return [state, str(numbers["solved"]), f"{median:,.0f}", f"{numbers['par10']:,.0f}", f"{numbers['loss_vs_random']:.4f}"]

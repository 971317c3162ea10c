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
from tictactoe.experiment.objective import geometric_mean
from tictactoe.experiment.observer import Observer
from tictactoe.experiment.record import Cause, Failure, Progress, Record, Scores, better
from tictactoe.experiment.rounds import Round, Standing
from tictactoe.experiment.slots import SlotClock
from tictactoe.text import count, games, minutes, percent, trial_name

LINE_SECONDS = 3.0
"""Least time between two lines about the same running trial, or the same round, in a pipe or log."""
LITTLE = 0.05
"""With less than this share of all games played there is no estimate of the time left."""


@dataclass
class _Running:
    """A trial that runs."""

    last_line: float
    progress: Progress | None = None

    @property
    def share(self) -> float:
        """What it has played of what its round has for it."""
        return self.progress.share if self.progress else 0.0


class Reporter(Observer):
    """Shows the state of a search on a console; an observer of the search.

    `rounds` are the search's. Trials of the last one have lines of their own; of the rounds before it, with hundreds of trials
    of some milliseconds, each has one at its start and one at its end. `line` turns a trial's progress into one readable line.
    """

    def __init__(
        self,
        console: Console,
        rounds: Sequence[Round],
        line: Callable[[Progress], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console
        self.rounds = list(rounds)
        self.line = line
        self.clock = clock
        self.round_start = self.last_line = clock()
        self.slot_clock = SlotClock(clock)
        """It goes since the first trial of this round in this attempt began."""
        self.number = 0
        """The round that runs, counted from 0."""
        self.running: dict[int, _Running] = {}
        self.best: Record | None = None
        self.played = 0
        """Games of this round's trials that have ended in this attempt."""
        self.ended = 0
        """Trials that have finished or failed in this round, in earlier attempts too."""
        self._begun = False
        """Whether a trial of this round has started in this attempt."""
        self._before: list[Record | Failure] = []
        """How the trials of earlier attempts have ended, each in its latest round."""
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
    def round(self) -> Round:
        """The one that runs."""
        return self.rounds[self.number]

    @property
    def in_detail(self) -> bool:
        """Whether trials have lines of their own."""
        return self.number == len(self.rounds) - 1

    def search_started(self, before: Standing) -> None:
        """Hear of the trials of earlier attempts."""
        records, failures = before.latest
        self.round_start = self.clock()
        self._before = [*records, *failures]
        self.ended = self._ended_before(0)
        for record in records:
            self._compare(record)
        if records and len(self.rounds) == 1:
            self.console.print(f"{len(records)} of {self.round.trials} trials are finished already")
        if failures:
            self.console.print(f"{count(len(failures), 'trial')} failed earlier; --retry-failed runs them again")

    def slots_changed(self, slots: int) -> None:
        """Count the seconds of those that there were; whoever watches the nodes tells the user."""
        self.slot_clock.change(slots)

    def round_started(self, number: int, round: Round, of: int) -> None:
        """Tell it, unless it was over in an earlier attempt."""
        self.number, self.ended, self.round_start = number, self._ended_before(number), self.clock()
        self.played, self._begun = 0, False
        if of > 1 and not self._over_before(number):
            already = f", {count(self.ended, 'trial')} of it finished already" if self.ended else ""
            self.console.print(
                f"round {number + 1} of {of}: {count(round.trials, 'trial')} x {count(round.seeds, 'seed')} "
                f"x {count(round.games, 'game')}{already}"
            )

    def round_finished(self, number: int, records: Sequence[Record]) -> None:
        """Tell who is the best, and how many go on."""
        if len(self.rounds) == 1 or not records or self._over_before(number):
            return
        last = number == len(self.rounds) - 1
        on = "" if last else f"{min(self.rounds[number + 1].trials, len(records)):,} go on, "
        best = records[0]
        self.console.print(
            f"round {number + 1} of {len(self.rounds)} ended after {self.clock() - self.round_start:.1f} s: {on}"
            f"best {trial_name(best.index)}, geometric mean {'at least ' * best.is_bound}{games(best.geometric_mean)} games"
        )

    def trial_started(self, index: int, config: Hyperparameters) -> None:
        if not self._begun:  # what went before is no measure
            self.slot_clock.start()
            self._begun = True
        self.running[index] = _Running(self.clock())

    def trial_reported(self, index: int, progress: Progress, final: bool) -> None:
        state = self.running.setdefault(index, _Running(self.clock()))
        state.progress = progress
        if self._live is not None or final:
            return
        if not self.in_detail:
            self._tell_round()
        elif self.clock() - state.last_line >= LINE_SECONDS:
            state.last_line = self.clock()
            self.console.print(f"{trial_name(index)}  {self.line(progress)}")

    def trial_finished(self, record: Record) -> None:
        self.running.pop(record.index, None)
        self.ended += 1
        self.played += record.played
        self._compare(record)
        if self._live is not None:
            return
        if not self.in_detail:
            self._tell_round()
            return
        best = f"best {trial_name(self.best.index)} {games(self.best.geometric_mean)}" if self.best else ""
        self.console.print(
            f"{trial_name(record.index)}  {'stopped' if record.stopped and len(self.rounds) == 1 else 'finished'} "
            f"[{self.ended}/{self.round.trials}]  solved {record.solved}/{len(record.games_to_optimal)}  "
            f"median {games(record.median)}  geometric mean {games(record.geometric_mean)}  {best}  {self.time_left()}",
        )

    def trial_failed(self, failure: Failure) -> None:
        self.running.pop(failure.index, None)
        self.ended += 1
        self.console.print(f"{trial_name(failure.index)}  failed: {failure.error}")

    def trial_retried(self, index: int, cause: Cause) -> None:
        self.running.pop(index, None)

    def trial_noted(self, index: int, text: str) -> None:
        self.console.print(f"{trial_name(index)}  {text}")

    def time_left(self) -> str:
        """The search's time left, in words; empty where nothing is known of it."""
        if self.slot_clock.slots == 0:
            return "waiting for a node"
        seconds = self.seconds_left()
        return "" if seconds is None else f"{minutes(seconds)} left"

    def seconds_left(self) -> float | None:
        """Estimate of the search's time left, from the games of this round so far and those that the rounds have still to play.

        As many games are played in a slot's second as so far, in the slots that there are now. None at the beginning: until
        then little is known but how long processes take to start.
        """
        slots = self.slot_clock.slots  # once: who asks may be another thread than who hears of nodes
        if not slots:
            return None
        running = _games(self.round) * sum(state.share for state in list(self.running.values()))
        left = _games(self.round) * (self.round.trials - self.ended) - running
        left += sum(_games(later) * later.trials for later in self.rounds[self.number + 1 :])
        everything = sum(_games(one) * one.trials for one in self.rounds)
        worked = self.played + running
        if worked <= 0 or not 0 < left <= (1 - LITTLE) * everything:
            return None
        return self.slot_clock.seconds / worked * left / slots

    def _tell_round(self) -> None:
        """A line now and then about a round whose trials have none."""
        now = self.clock()
        if now - max(self.last_line, self.round_start) >= LINE_SECONDS:
            self.last_line = now
            self.console.print(f"{self._title()}  [{self.ended}/{self.round.trials}]  {self.time_left()}")

    def _title(self) -> str:
        return f"round {self.number + 1} of {len(self.rounds)}"

    def _ended_before(self, number: int) -> int:
        """How many trials had ended in a round, or gone on from it, in earlier attempts."""
        return sum(e.round == number or (e.round > number and isinstance(e, Record)) for e in self._before)

    def _over_before(self, number: int) -> bool:
        """Whether an earlier attempt has ended a round."""
        return self._ended_before(number) >= self.rounds[number].trials or any(e.round > number for e in self._before)

    def _compare(self, record: Record) -> None:
        """Keep the best trial: of those that have played their whole budget, as long as there are none of the others."""
        self.best = better(self.best, record)

    def __rich__(self) -> Group:
        bar = Bar(TextColumn("{task.completed}/{task.total} trials"), BarColumn(), TextColumn("{task.description}"))
        title = f"of {self._title()}  " if len(self.rounds) > 1 else ""
        slots = f"{count(self.slot_clock.slots, 'slot')}  " if self.slot_clock.slots else ""
        bar.add_task(title + slots + self.time_left(), total=self.round.trials, completed=self.ended)
        table = Table(box=None, pad_edge=False)
        for name in ("trial", "trained", "solved", "median", "geometric mean", "loss vs random"):
            table.add_column(name, justify="left" if name == "trial" else "right")
        for index, state in sorted(self.running.items()):
            columns = _columns(percent(state.share), state.progress) if state.progress else ["starting"]
            table.add_row(trial_name(index), *columns)
        if self.best is not None:
            table.add_row(trial_name(self.best.index), *_columns("best", self.best), style="bold green")
        return Group(bar, table)


def _games(round: Round) -> int:
    """Of each trial of a round."""
    return round.seeds * round.games


def _columns(state: str, scores: Scores) -> list[str]:
    mean = geometric_mean(scores.mean_log)
    return [state, str(scores.solved), games(scores.median), games(mean), f"{scores.loss_vs_random:.4f}"]

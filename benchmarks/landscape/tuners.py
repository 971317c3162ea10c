"""This program's ways of searching, and each of them with one thing changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import numpy as np
import optuna
from optuna.trial import TrialState, create_trial

from benchmarks.landscape.replay import Replay
from benchmarks.landscape.table import TASK, Landscape, rung_points
from tictactoe.core.seeds import Stream
from tictactoe.experiment import rounds
from tictactoe.experiment.record import Record
from tictactoe.experiment.replicates import REDUCTION
from tictactoe.experiment.space import distributions, hyperparameters
from tictactoe.settings import Settings

SEEDS: int = Settings.model_fields["seeds"].default
"""Of the program's default search."""
GENERATIONS = 8
"""Optuna is told of the first round of a race so many times."""


@dataclass(frozen=True)
class Outcome:
    """What a search of so many configurations has come to."""

    size: int
    games: int
    winner: int
    """Row of the table."""
    tried: tuple[int, ...] = ()
    """The rows that were tried whole, in their order."""


Search = Callable[[Replay, Sequence[int], int], Iterator[Outcome]]
"""Searches of so many configurations each (ascending), with so many seeds. One that begins as a smaller one does goes on."""


@dataclass(frozen=True)
class Tuner:
    """A way of searching."""

    name: str
    search: Search
    sizes: tuple[int, ...]
    """Numbers of configurations. At most half of the table is tried: where all is tried, nothing is left to regret."""
    seeds: int = SEEDS
    changes: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """What is changed in the program, by module of the room `experiment`."""

    def outcomes(self, landscape: Landscape, repetition: int, sizes: Sequence[int] = ()) -> list[Outcome]:
        """Of one repetition, by size; of other sizes where there are any."""
        with ExitStack() as stack:
            for module, values in self.changes.items():
                stack.enter_context(patch.multiple(f"tictactoe.experiment.{module}", **values))
            return list(self.search(Replay(landscape, repetition), sizes or self.sizes, self.seeds))


def settings(size: int, seeds: int, scheduler: str) -> Settings:
    """Those of the program, whatever the environment says of them."""
    values: dict[str, Any] = {"board": TASK.board, "games": TASK.games, "scheduler": scheduler}
    return Settings.model_construct(num_samples=size, seeds=seeds, **values)


def random(replay: Replay, sizes: Sequence[int], seeds: int) -> Iterator[Outcome]:
    """Random search: all play their whole budget on all seeds, and the finalists race."""
    records: list[Record] = []
    for row in replay.order[: sizes[-1]]:
        records.append(replay.evaluate(replay.add(row), seeds, TASK.games))
        if len(records) in sizes:
            yield raced(replay, settings(len(records), seeds, "none"), records)


def tpe(replay: Replay, sizes: Sequence[int], seeds: int, lag: int = 1) -> Iterator[Outcome]:
    """Optuna's TPE: all play their whole budget on all seeds, and the finalists race.

    It is asked for trial i when it has been told of the trials 0 to i - `lag`.
    """
    sampler, records = TPE(replay), list[Record]()
    for _ in range(sizes[-1]):
        records.append(replay.evaluate(replay.add(sampler.ask()), seeds, TASK.games))
        if len(records) >= lag:
            sampler.tell(records[-lag])
        if len(records) in sizes:
            yield raced(replay, settings(len(records), seeds, "none"), records)


def asha(replay: Replay, sizes: Sequence[int], seeds: int) -> Iterator[Outcome]:
    """ASHA (Li et al., 2020, MLSys) as Ray Tune has it, by loss against random at two rungs, one trial after the other."""
    landscape, records = replay.landscape, list[Record]()
    points = rung_points(landscape.grid)
    judged: list[list[float]] = [[] for _ in points]
    for row in replay.order[: sizes[-1]]:
        games = TASK.games
        for rung, before in enumerate(judged):
            loss = float(landscape.loss[row, replay.seeds[Stream.SEARCH][:seeds], rung].mean())
            poor = bool(before) and loss > np.percentile(before, 100 / REDUCTION)
            before.append(loss)
            if poor:
                games = landscape.grid[points[rung]]
                break
        records.append(replay.evaluate(replay.add(row), seeds, games))
        if len(records) in sizes:
            yield raced(replay, settings(len(records), seeds, "asha"), records)


def race(replay: Replay, sizes: Sequence[int], seeds: int, select: bool = True) -> Iterator[Outcome]:
    """This program's default: rounds of the search, and (unless not `select`) the finalists race."""
    for size in sizes:
        one, options = replay.anew(), settings(size, seeds, "race")
        first = rounds.rounds(options)[0]
        records = [one.evaluate(one.add(row), first.seeds, first.games) for row in replay.order[:size]]
        yield _halved(one, options, records, select)


def race_with_tpe(replay: Replay, sizes: Sequence[int], seeds: int) -> Iterator[Outcome]:
    """The same, with configurations from Optuna's TPE, which is told of the first round in generations."""
    for size in sizes:
        one, options = replay.anew(), settings(size, seeds, "race")
        first = rounds.rounds(options)[0]
        sampler, records = TPE(one), list[Record]()
        while len(records) < size:
            indices = [one.add(sampler.ask()) for _ in range(min(-(-size // GENERATIONS), size - len(records)))]
            records += [one.evaluate(index, first.seeds, first.games) for index in indices]
            for record in records[indices[0] :]:
                sampler.tell(record)
        yield _halved(one, options, records, True)


def oracle(replay: Replay, sizes: Sequence[int], seeds: int) -> Iterator[Outcome]:
    """The best of so many random configurations: what a search would find that knew the truth."""
    for size in sizes:
        yield Outcome(size, 0, min(replay.order[:size], key=replay.landscape.objective.__getitem__))


def _halved(replay: Replay, options: Settings, records: list[Record], select: bool) -> Outcome:
    """The rounds after the first one, and the race of the finalists."""
    every = rounds.rounds(options)
    for number, this in enumerate(every[1:], 1):
        indices = rounds.entrants(every, number, records)
        records = [replay.evaluate(index, this.seeds, this.games, number) for index in indices]
    if select:
        return raced(replay, options, records)
    return Outcome(options.num_samples, replay.games, replay.best(records))


def raced(replay: Replay, options: Settings, records: Sequence[Record]) -> Outcome:
    """What these records come to by the race of the finalists; a search that goes on afterwards has not played it."""
    before = replay.games
    winner = replay.race(options, records)
    replay.games, spent = before, replay.games
    return Outcome(len(replay.rows), spent, winner, tuple(replay.rows))


class TPE:
    """Optuna's TPE (Bergstra et al., 2011, NeurIPS; multivariate, as is its default) on the rows of the table.

    A suggestion takes the nearest row that has not been tried, and Optuna is told that row: the same table, symmetry, bootstrap
    and replay, and the least distance by ranks of the numbers, summed. Where no such row is left, one with other choices.
    """

    def __init__(self, replay: Replay) -> None:
        self._replay, self._distributions = replay, distributions()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=replay.repetition))

    def ask(self) -> int:
        """The row to try next."""
        asked = self._study.ask(fixed_distributions=self._distributions)
        self._study.tell(asked, state=TrialState.FAIL)  # its result is told as another trial's, that of the row
        return self._replay.landscape.nearest(hyperparameters(asked.params), self._replay.rows)

    def tell(self, record: Record) -> None:
        """Have the study know a result."""
        params = {name: getattr(record.config, name) for name in self._distributions}
        self._study.add_trial(create_trial(params=params, distributions=self._distributions, value=record.mean_log))

"""Optuna's pruners on the same table, as their documentation has them used."""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

import optuna
from optuna.pruners import BasePruner
from optuna.trial import TrialState

from benchmarks.landscape.replay import Replay
from benchmarks.landscape.table import TASK
from benchmarks.landscape.tuners import Outcome
from tictactoe.core.seeds import Stream
from tictactoe.experiment.objective import UNITS

FIRST_RUNG = 1_000
"""Games after which Optuna's halving judges first, as this program's race does."""
WILCOXON_ASKED = (4, 6, 8, 12, 16, 24)
"""Seeds after which WilcoxonPruner is asked: a test takes longer than a game."""


def halving(
    replay: Replay, sizes: Sequence[int], seeds: int, pruner: Callable[[], BasePruner], factor: int
) -> Iterator[Outcome]:
    """Random configurations, all seeds side by side; the pruner hears of the objective at rungs, `factor` times apart."""
    grid, rungs = replay.landscape.grid, [FIRST_RUNG]
    while rungs[-1] * factor < TASK.games:
        rungs.append(rungs[-1] * factor)
    points = [*(grid[bisect_left(grid, rung)] for rung in rungs), TASK.games]

    def run(trial: optuna.Trial, index: int) -> float | None:
        before = replay.games
        for point in points:
            replay.games = before  # it goes on; it does not start over
            record = replay.evaluate(index, seeds, point)
            trial.report(record.mean_log, point)
            if point < TASK.games and trial.should_prune():
                return None
        return record.mean_log

    yield from _study(replay, sizes, pruner(), run)


def wilcoxon(replay: Replay, sizes: Sequence[int], seeds: int) -> Iterator[Outcome]:
    """Random configurations, the whole budget on one seed after the other, until Optuna's WilcoxonPruner has seen enough.

    Equal logarithms get a billionth apart, at random: of ties SciPy counts all permutations, which takes seconds.
    """
    landscape = replay.landscape
    with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
        pruner = optuna.pruners.WilcoxonPruner()

    def run(trial: optuna.Trial, index: int) -> float | None:
        since = landscape.since[replay.rows[index], replay.seeds[Stream.SEARCH][:seeds], -1]
        logs = landscape.units[since] / UNITS + 1e-9 * replay.rng.random(seeds)
        for number, value in enumerate(logs.tolist(), 1):
            replay.games += TASK.games
            trial.report(value, number)
            if number in WILCOXON_ASKED and number < seeds and trial.should_prune():
                return None
        return float(logs.mean())

    yield from _study(replay, sizes, pruner, run)


def _study(
    replay: Replay, sizes: Sequence[int], pruner: BasePruner, run: Callable[[optuna.Trial, int], float | None]
) -> Iterator[Outcome]:
    """A study of random configurations; its best trial wins. `run` returns None for a trial that is pruned."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(study_name=str(replay.repetition), pruner=pruner)  # Hyperband draws brackets by the name
    for row in replay.order[: sizes[-1]]:
        trial = study.ask()
        value = run(trial, replay.add(row))
        study.tell(trial, value, state=TrialState.PRUNED if value is None else TrialState.COMPLETE)
        if len(replay.rows) in sizes:
            yield Outcome(len(replay.rows), replay.games, replay.rows[study.best_trial.number])

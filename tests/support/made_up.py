"""Results of a search without Ray, for tests of what shows them: real learners, or a landscape that is made up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.support import records
from tictactoe.core.evaluation import check_grid
from tictactoe.core.game import Board
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.core.seeds import Stream
from tictactoe.experiment import journal
from tictactoe.experiment import summary as summaries
from tictactoe.experiment.objective import bounds, mean_log, par10
from tictactoe.experiment.record import CurvePoint, Failure, GamesToOptimal, Record, Task, part
from tictactoe.experiment.replicates import Replicates, median
from tictactoe.experiment.results import Outcome, compile_results
from tictactoe.experiment.rounds import Round, entrants, rounds
from tictactoe.experiment.selection import select
from tictactoe.experiment.space import distributions, sample
from tictactoe.experiment.summary import Cost, Summary, Unfinished
from tictactoe.settings import Settings

GOOD = Hyperparameters(alpha_start=0.9, alpha_end=0.9, q_init=0.1, replay="backward")
"""Optimal play on 3x3x3 within 1,000 games."""
COST = Cost(
    learner_cpu_s=1.0,
    learner_share=0.75,
    games=1_000_000,
    games_per_cpu_s=1e6,
    attempts=1,
    wall_s=40.2,
    startup_s=6.7,
)


CURVE = (CurvePoint(3000, 2, (0.0, 0.0, 0.0), (0.01, 0.02, 0.03), 0.02),)


def record(index: int, **values: Any) -> Record:
    """The record of a trial with a learning curve, in which all that `values` does not name is plausible."""
    plausible = {"config": GOOD, "learner_cpu_s": 1.0, "started_s": 0.0, "ended_s": 2.0, "history": CURVE}
    return replace(records.record(index, (400, 600), 3000, **plausible), **values)


class Resampled:
    """What stands for seeds that nobody runs: those of the search again, drawn with replacement."""

    def run(self, stream: Stream, records: Sequence[Record], first: int, last: int) -> list[GamesToOptimal]:
        def one(record: Record) -> GamesToOptimal:
            generator = np.random.default_rng((int(stream), record.index, first))
            drawn = generator.integers(len(record.games_to_optimal), size=last - first)
            return tuple(record.games_to_optimal[seed] for seed in drawn)

        return [one(record) for record in records]

    def learner_cpu_s(self, stream: Stream) -> float:
        return {Stream.FRESH: 2.0, Stream.CONFIRMATION: 0.5}[stream]


def results(
    folder: Path,
    board: str = "3x3x3",
    trials: int = 24,
    seeds: int = 4,
    games: int = 3000,
    searched: Sequence[str] = tuple(distributions()),
    scheduler: str = "race",
) -> QLearner:
    """Write what a finished search leaves, of real learners. Returns the one behind policy.json.

    Trials differ in the hyperparameters `searched`; each is drawn, and takes its time in a report.
    """
    settings = Settings(board=board, num_samples=trials, seeds=seeds, games=games, seed=0, scheduler=scheduler)
    others = [replace(GOOD, **{name: getattr(drawn, name) for name in searched}) for drawn in sample(trials - 1, 0)]
    start = time.monotonic()

    def run(index: int, config: Hyperparameters, number: int, of: Round) -> Record:
        task = Task(board, of.seeds, games, seed=0, cap=None if of.games == games else of.games)
        replicates, started = Replicates(task, config), time.monotonic() - start
        replicates.advance(math.inf, of.games)
        times = {"started_s": started, "ended_s": time.monotonic() - start, "worker": 100 + index % 2}
        known: dict[str, Any] = {"round": number, "stopped": of.games < games, "config": config}
        return record(index, **vars(replicates.progress()), **times, **known)

    return finish(folder, settings, [GOOD, *others], run)


def landscape(folder: Path, trials: int = 256, **options: Any) -> QLearner:
    """Write what a search of the default space leaves on a landscape that is made up.

    There a table of afterstates and its symmetry decide, a high learning rate helps, and nothing else matters. Trials differ in
    all that the space holds.
    """
    settings = Settings(num_samples=trials, **options)
    grid, clock = check_grid(Board.parse(settings.board), settings.games), [0.0, 0.0]

    def run(index: int, config: Hyperparameters, number: int, of: Round) -> Record:
        plain = (
            math.log(450) + 2.0 * (config.table != "afterstate") + 1.5 * (not config.symmetry) + 2 * abs(config.alpha_end - 0.8)
        )
        noise = np.random.default_rng(7).normal(size=of.seeds) + np.random.default_rng(index).normal(size=of.seeds)
        reached = [next((point for point in grid if point >= games), None) for games in np.exp(plain + 0.3 * noise)]
        passed = [point for point in grid if point <= of.games]
        games = tuple(None if point is None or point > of.games else point for point in reached)
        least = bounds(games, of.games, grid)
        curve = []
        for point in passed:
            optimal = sum(at is not None and at <= point for at in games)
            left = math.exp(-point / math.exp(plain))
            curve.append(
                CurvePoint(point, optimal, (0.0, 1.5 * left, 2 * left), (0.1 * left, 0.2 * left, 0.3 * left), 0.2 * left)
            )
        began, clock[index % 2] = clock[index % 2], clock[index % 2] + of.seeds * of.games / 8e5 + 0.01
        return replace(
            records.record(index, games, settings.games),
            config=config,
            mean_log=mean_log(least),
            par10=par10(least),
            median=median(games),
            loss_vs_random=curve[-1].mean_loss,
            games=of.games,
            played=of.games * of.seeds,
            learner_cpu_s=of.seeds * of.games / 1e6,
            history=tuple(curve),
            started_s=began,
            ended_s=clock[index % 2],
            worker=100 + index % 2,
            stopped=of.games < settings.games,
            round=number,
        )

    return finish(folder, settings, sample(trials, settings.seed), run)


def finish(
    folder: Path,
    settings: Settings,
    configs: Sequence[Hyperparameters],
    run: Callable[[int, Hyperparameters, int, Round], Record],
) -> QLearner:
    """Write what a search leaves whose trials `run` returns: by index, configuration, number of the round, and round."""
    folder.mkdir(parents=True, exist_ok=True)
    summed, made = [], list[Record]()
    for number, one in enumerate(rounds(settings)):
        made = [run(index, configs[index], number, one) for index in entrants(rounds(settings), number, made)]
        summed.append(records.round_summary(made))
        for entry in made:
            journal.trials(folder).append(entry)
    latest = journal.read_trials(folder)[0]
    selection = select(settings, latest, COST.games, Resampled(), lambda line: None)
    assert selection is not None
    summary, learner = compile_results(folder, settings, Outcome(latest, [], False, COST, tuple(summed)), selection, COST)
    summaries.write(folder, summary)
    return learner


def change(folder: Path, **values: Any) -> Summary:
    """Set fields of summary.json. Returns all of it."""
    summary = replace(summaries.finished(folder), **values)
    summaries.write(folder, summary)
    return summary


def stop(folder: Path, number: int) -> None:
    """Make it that a scheduler stopped so many of the worst trials, after the first point of their learning curve."""
    ranked = sorted(journal.read_trials(folder)[0], key=lambda record: record.rank)
    for record in ranked[len(ranked) - number :]:
        history = record.history[:1]
        journal.trials(folder).append(replace(record, stopped=True, games=history[0].games, history=history))


def fail(folder: Path, errors: dict[int, str]) -> Summary:
    """Add trials that failed, by index, with their errors. Returns all of summary.json."""
    for index, error in errors.items():
        journal.trials(folder).append(Failure(index=index, attempt=1, config=GOOD, error=error))
    summary = summaries.finished(folder)
    return change(folder, num_trials=summary.num_trials + len(errors), num_errors=len(errors), errors=errors)


def interrupt(folder: Path) -> None:
    """Make it that the search was interrupted."""
    summaries.write(folder, replace(part(summaries.finished(folder), Unfinished), status="interrupted"))

"""Results of a small search without Ray, for tests of what shows them: real learners and checks, finalists made up."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support import records
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.experiment import journal
from tictactoe.experiment import summary as summaries
from tictactoe.experiment.record import CurvePoint, Failure, Record, Task, part
from tictactoe.experiment.replicates import Replicates
from tictactoe.experiment.results import Outcome, compile_results
from tictactoe.experiment.selection import Selection
from tictactoe.experiment.space import distributions, sample
from tictactoe.experiment.summary import Cost, Finalist, Fresh, Summary, Unfinished
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


def results(
    folder: Path,
    board: str = "3x3x3",
    trials: int = 24,
    seeds: int = 4,
    games: int = 3000,
    searched: Sequence[str] = tuple(distributions()),
) -> QLearner:
    """Write what a finished search leaves, as if nothing had run on fresh seeds. Returns the learner behind policy.json.

    Trials differ in the hyperparameters `searched`; each is drawn, and takes its time in a report.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings(board=board, num_samples=trials, seeds=seeds, games=games, seed=0)
    start = time.monotonic()
    made = []
    others = [replace(GOOD, **{name: getattr(drawn, name) for name in searched}) for drawn in sample(trials - 1, 0)]
    for index, hyperparameters in enumerate([GOOD, *others]):
        replicates, started = Replicates(Task(board, seeds, games, seed=0), hyperparameters), time.monotonic() - start
        replicates.advance(math.inf, games)
        progress = replicates.progress()
        times = {"started_s": started, "ended_s": time.monotonic() - start}
        made.append(record(index, **vars(progress), **times, config=hyperparameters, worker=100 + index % 2))
        journal.trials(folder).append(made[-1])
    best = min(made, key=lambda record: record.rank)
    nothing_run = Selection(best.index, (), {}, 0, 0.0, 0)
    summary, learner = compile_results(folder, settings, Outcome(made, [], truncated=False, cost=COST), nothing_run, COST)
    summaries.write(folder, summary)
    return learner


def change(folder: Path, **values: Any) -> Summary:
    """Set fields of summary.json. Returns all of it."""
    summary = replace(summaries.finished(folder), **values)
    summaries.write(folder, summary)
    return summary


def select(folder: Path) -> Summary:
    """Add what a selection on fresh seeds says: four finalists, two of them tied, one hardly ever solved. Returns all."""
    whole = [record for record in journal.read_trials(folder)[0] if not record.stopped]
    finalists = tuple(
        Finalist(
            index=record.index,
            config=record.config,
            search_par10=record.par10,
            par10=1.25 * record.par10,
            median=444.0 + place if place < 3 else None,
            interval=(400.0 + place, 500.0 + place if place < 3 else None),
            confidence=0.9375,
            seeds=64,
            tied=place < 2,
        )
        for place, record in enumerate(sorted(whole, key=lambda record: record.rank)[:4])
    )
    summary = summaries.finished(folder)
    selection = replace(
        summary.selection,
        method="races <on> fresh seeds",
        rounds=3,
        learner_cpu_s=3.2,
        games=768_000,
        gap=1.25,
        finalists=finalists,
    )
    return change(folder, selection=selection, best=replace(summary.best, fresh=part(finalists[0], Fresh)))


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

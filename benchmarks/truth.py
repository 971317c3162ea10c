"""What default searches tell of their winners, beside what is true of them on seeds that nobody has used.

The truth is the winner's on further seeds of the confirmation's stream. The last two columns tell whether the intervals that
were told hold it.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, inf
from multiprocessing import Pool
from statistics import fmean
from typing import Any

from benchmarks.common import arguments, search, show, write
from benchmarks.landscape.table import LATE
from tictactoe.core.evaluation import check_grid
from tictactoe.core.game import Board
from tictactoe.core.learner import Hyperparameters
from tictactoe.core.seeds import Stream
from tictactoe.experiment.objective import bounds, geometric_mean, mean_log, par10
from tictactoe.experiment.record import Task
from tictactoe.experiment.replicates import median
from tictactoe.experiment.selection import CONFIRMATION
from tictactoe.tuning.block import play

BOARD, BUDGET = "3x3x3", 50_000
"""Of the default search."""
BLOCK = 20
"""Replicates of a task."""


def truth(seed: int, config: Hyperparameters, replicates: int, pool: Any) -> list[int | None]:
    """Games to optimal of a configuration on seeds of a search's confirmation that it does not use."""
    tasks = _blocks(seed, config, CONFIRMATION, CONFIRMATION + replicates)
    return [games for games_to_optimal, _ in pool.starmap(play, tasks, chunksize=1) for games in games_to_optimal]


def _blocks(seed: int, config: Hyperparameters, first: int, last: int) -> Iterator[tuple[Task, Hyperparameters, str]]:
    for start in range(first, last, BLOCK):
        task = Task(BOARD, min(BLOCK, last - start), BUDGET, seed, Stream.CONFIRMATION, start, curve=False)
        yield task, config, "/dev/null/none"  # too short to be saved


def row(seed: int, run: dict[str, Any], games: list[int | None]) -> dict[str, Any]:
    """What a search has told of its winner, and what is true."""
    told, values = run["summary"]["best"]["confirmed"], bounds(games, BUDGET, check_grid(Board.parse(BOARD), BUDGET))
    low, high = told["interval"]
    middle = median(games)
    true = mean_log(values)
    return {
        "seed": seed,
        "winner": run["summary"]["best"]["index"],
        "median": f"{told['median']:,.0f} / {middle:,.0f}",
        "geometric mean": f"{geometric_mean(told['mean_log']):,.0f} / {geometric_mean(true):,.0f}",
        "PAR-10": f"{told['par10']:,.0f} (≤ {told['par10_at_most']:,.0f}) / {par10(values):,.0f}",
        "late or unsolved %": 100 * fmean(value > LATE for value in values),
        "median held": low <= (middle or inf) <= (high or inf),
        "mean held": told["mean_log_interval"][0] <= true <= told["mean_log_interval"][1],
        "told - true": told["mean_log"] - true,
        "true": true,
    }


def main() -> None:
    options = arguments(__doc__, searches=10, replicates=1_000, processes=2)
    rows = []
    for seed in range(options.searches):
        run = search("--seed", str(seed), WANDB_MODE="disabled")
        with Pool(options.processes) as pool:
            config = Hyperparameters(**run["summary"]["best"]["config"])
            rows.append(row(seed, run, truth(seed, config, options.replicates, pool)))
    summary = {
        "geometric mean, true": exp(fmean(one["true"] for one in rows)),
        "late or unsolved %, true": fmean(one["late or unsolved %"] for one in rows),
        "told over true, on average": exp(fmean(one["told - true"] for one in rows)),
        "off by, on average": exp(fmean(abs(one["told - true"]) for one in rows)),
        "medians held": sum(one["median held"] for one in rows),
        "means held": sum(one["mean held"] for one in rows),
    }
    shown = [{name: value for name, value in one.items() if name not in ("told - true", "true")} for one in rows]
    title = f"Winners of {options.searches} default searches: told / true on {options.replicates:,} further seeds"
    write(options.json, show(title, shown), show("All of them", [summary]))


if __name__ == "__main__":
    main()

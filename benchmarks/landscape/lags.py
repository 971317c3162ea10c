"""What Optuna's lag costs and gains: how good the winner is, and how many trials run at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from heapq import heapreplace
from multiprocessing import Pool
from typing import Any

from rich.progress import track

from benchmarks.landscape import tuners
from benchmarks.landscape.contestants import Contest
from benchmarks.landscape.table import TASK, Landscape
from benchmarks.landscape.tuners import Outcome, Tuner
from tictactoe.core.hyperparameters import Hyperparameters
from tictactoe.experiment.replicates import Replicates

LAGS = {f"Optuna TPE, lag {lag}": lag for lag in (1, 8, 16, 32)}
"""A lag by the name of its tuner."""
SIZES = (64, 128, 256)
SLOTS = (8, 16, 32, 64)
TIMED_SEEDS = 2
"""Replicates of a configuration that are timed; a trial with more of them takes as much longer."""

CONTEST = Contest(
    "Optuna's lag",
    (
        *(Tuner(name, partial(tuners.tpe, lag=lag), SIZES) for name, lag in LAGS.items()),
        Tuner("random", tuners.random, SIZES),
    ),
)


def lengths(landscape: Landscape, processes: int) -> list[float]:
    """What the whole budget of each configuration of the table takes, of a few seeds: seconds of processor time."""
    known = landscape.configurations
    with Pool(processes, _cpu_s, known[:1]) as pool:  # once before, which compiles or loads
        return list(track(pool.imap(_cpu_s, known), "timing", len(known)))


def row(name: str, outcomes: Sequence[Outcome], lengths: Sequence[float]) -> dict[str, Any]:
    """How much of so many slots is busy, %: means over repetitions of one tuner."""
    result: dict[str, Any] = {"tuner": name}
    for slots in SLOTS:
        shares = [busy([lengths[tried] for tried in outcome.tried], slots, LAGS.get(name)) for outcome in outcomes]
        result[f"{slots} slots"] = 100 * sum(shares) / len(shares)
    return result


def busy(lengths: Sequence[float], slots: int, lag: int | None) -> float:
    """The share of the slots' seconds that trials of such lengths fill, from the first start to the last end.

    They start in their order: each when there is a slot and, with a lag, all trials at least so many before it have ended.
    Nothing but trials takes time.
    """
    free, ends, known = [0.0] * slots, list[float](), 0.0
    for index, length in enumerate(lengths):
        if lag is not None and index >= lag:
            known = max(known, ends[index - lag])
        ends.append(max(free[0], known) + length)
        heapreplace(free, ends[-1])
    return sum(lengths) / (slots * max(ends))


def _cpu_s(configuration: Hyperparameters) -> float:
    replicates = Replicates(replace(TASK, seeds=TIMED_SEEDS), configuration)
    replicates.advance(math.inf, TASK.games)
    return replicates.learner_cpu_s

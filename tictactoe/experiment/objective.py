"""The objective: what the search minimises, what configurations are compared by, and what is told of the winner.

It is the mean, over replicates, of the logarithm of games to optimal. A replicate that is unsolved after its budget counts
as 10 budgets. The exponential of it is the geometric mean of games to optimal, which is what people are shown.

Why this and not PAR-10 (mean games to optimal with the same penalty; Hutter et al., 2009, JAIR 36:267-306), which is reported
too: games to optimal differ by factors, not by differences, and have a long tail. Of PAR-10 nearly all is penalty (94 % over
random configurations of the default board), so it is decided by a few failures, and two halves of the seeds agree on it less
(rank correlation .79) than on the mean logarithm (.94).

What a failure costs: with a budget of 50,000 games and an optimum of about 450, log(500,000 / 450) is 7. So one unsolved
replicate of 100 costs as much as being 7 % slower on all. Doubling the budget adds 0.7 times the share unsolved.

A replicate that has not played its whole budget has a lower bound: if it plays optimally it cannot be optimal for good earlier
than it says now, and if it does not it cannot be so before the next check. So the objective of a trial that was stopped, or
still runs, is at most what it will be ("adaptive capping" in ParamILS: Hutter et al., 2009).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from statistics import fmean

PENALTY = 10
"""An unsolved replicate counts as so many budgets."""
UNITS = 10_000
"""Logarithms are rounded to whole multiples of 1 / 10,000: below that, processors may differ. Sums of them are exact."""


def bounds(games_to_optimal: Sequence[int | None], played: int, grid: Sequence[int]) -> list[int]:
    """Games to optimal of replicates that have been checked on `grid` up to `played` games, or what they are at least.

    The grid ends with the budget. After all of it these are no bounds, but the values that count.
    """
    later = bisect_right(grid, played)
    unsolved = grid[later] if later < len(grid) else PENALTY * grid[-1]
    return [unsolved if games is None else games for games in games_to_optimal]


def log_units(games: Sequence[int]) -> list[int]:
    """The logarithm of each number of games, in whole 1 / `UNITS`."""
    return [round(UNITS * math.log(value)) for value in games]


def mean_log(games: Sequence[int]) -> float:
    """The objective, from what `bounds` returns."""
    return sum(log_units(games)) / (UNITS * len(games))


def at_most(games_to_optimal: Sequence[int | None], budget: int) -> float:
    """The objective if no unsolved replicate were ever solved: what a searcher takes a stopped trial for."""
    return mean_log(bounds(games_to_optimal, budget, [budget]))


def par10(games: Sequence[int]) -> float:
    """Penalised average: mean games to optimal, from what `bounds` returns."""
    return fmean(games)


def geometric_mean(objective: float) -> float:
    """The objective as people are shown it: a number of games."""
    return math.exp(objective)

"""Which configuration is best, and which cannot be told from it: the statistics of the selection, without Ray.

Configurations are compared by the logarithm of their games to optimal, an unsolved replicate counting as 10
budgets, on common seeds. They race (Maron & Moore, 1994, NeurIPS, "Hoeffding races"; F-Race of Birattari et al.,
2002, GECCO): after each of a few looks, fixed beforehand, those are dropped that are significantly worse than the
leader, and the others get more seeds.

The test is a paired bootstrap (Efron & Tibshirani, 1993) in its form for a null hypothesis: the wild bootstrap with
random signs (Liu, 1988, Annals of Statistics 16:1696; Davidson & Flachaire, 2008, J. of Econometrics 146:162).
If two configurations are equally good, the difference on a seed is as likely to have one sign as the other; the
p-value is the share of sign patterns that give as large a mean. That is also Fisher's randomisation test: exact
at any number of seeds for equally good configurations, where resampling the differences themselves finds
differences too often on few seeds and on values as coarse as a grid of checks. A p-value is never below
2**-seeds.

The error rate, 5 %, is divided by the number of looks, so that looking again costs nothing, and by the number of
comparisons with one finalist (Bonferroni). The best finalist is dropped only if it seems significantly worse than
some other one, so it is among the last ones left with 95 % probability, whichever leads, and whenever the race
ends. What no test can see is a failure rarer than about 3 / seeds.

Intervals are of the median, from order statistics (David & Nagaraja, 2003, section 7.1): no assumption, exact for
continuous values, too wide rather than too narrow for others. They hold at 95 % for all finalists and looks at
once, or at the lower rate that comes with them where there are too few seeds for that; and so for the winner too,
though it was picked because it looked best on these seeds.

Every sum is one of whole numbers below 2**53, exact in any order; every processor computes the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Games = list[int | None]
"""Games to optimal by replicate, None where unsolved."""

ERROR = 0.05
"""How often the best, or an interval, may be missed, all comparisons and looks together."""
DRAWS = 19_999
"""Random sign patterns of a test, where there are more in all: its p-values are then multiples of 1 / 20,000."""
UNITS = 10_000
"""Logarithms are rounded to whole multiples of 1 / 10,000: below that, processors may differ."""
_ROWS = 2_000  # sign patterns at a time


@dataclass(frozen=True)
class Race:
    """How a race ended. Entrants are numbered as they were given."""

    games: list[Games]
    """What each entrant ran, by entrant."""
    order: list[int]
    """Entrants, best first; those dropped after those left."""
    tied: set[int]
    """Those that cannot be told from the best, which is one of them."""
    rounds: int


def log_games(games: Sequence[int | None], budget: int) -> np.ndarray:
    """float64: logarithms of games to optimal, in whole 1 / `UNITS`."""
    return np.array([round(UNITS * math.log(10 * budget if value is None else value)) for value in games], dtype=np.float64)


def p_values(differences: np.ndarray, generator: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """For each column of `differences` (seeds x comparisons, whole numbers): p-value of a mean of at most 0.

    The share of sign patterns that reach the mean seen: of all of them where they are no more than `draws`, else of
    that many random ones, with the one seen counted too (Phipson & Smyth, 2010).
    """
    seeds, comparisons = differences.shape
    seen = differences.sum(axis=0)
    if 2**seeds <= draws:
        patterns = 1.0 - 2.0 * (np.arange(2**seeds)[:, np.newaxis] >> np.arange(seeds) & 1)
        shares: np.ndarray = (patterns @ differences >= seen).sum(axis=0) / 2**seeds
        return shares
    reached: np.ndarray = np.ones(comparisons, dtype=np.int64)
    for start in range(0, draws, _ROWS):
        signs = 1.0 - 2.0 * generator.integers(0, 2, size=(min(_ROWS, draws - start), seeds), dtype=np.int8)
        reached += (signs @ differences >= seen).sum(axis=0)
    return reached / (draws + 1)


def race(
    entrants: int,
    looks: Sequence[int],
    allowed: int,
    budget: int,
    run: Callable[[list[int], int, int], Sequence[Sequence[int | None]] | None],
    generators: Callable[[int], np.random.Generator],
    *,
    error: float = ERROR,
    draws: int = DRAWS,
) -> Race | None:
    """Race entrants, better ones first where equal, over at most `allowed` replicates together.

    `looks` are the seeds of each entrant at which to look. `run(entrants, first, last)` gives the games to optimal
    of these entrants on the seeds from `first` to before `last`, None to give up; then so does the race.
    `generators(number)` gives the generator of a round.
    """
    games: list[Games] = [[] for _ in range(entrants)]
    racing, dropped = list(range(entrants)), list[int]()
    seeds = rounds = 0
    level = error / len(looks) / max(1, entrants - 1)
    for look in looks:
        last = min(look, seeds + allowed // len(racing))
        if last <= seeds:
            break
        results = run(racing, seeds, last)
        if results is None:
            return None
        for entrant, more in zip(racing, results, strict=True):
            games[entrant] += more
        allowed -= (last - seeds) * len(racing)
        seeds, rounds = last, rounds + 1
        values = np.stack([log_games(games[entrant], budget) for entrant in racing], axis=1)
        values = values[:, ranks := np.argsort(values.sum(axis=0), kind="stable")]
        leader, *others = (racing[rank] for rank in ranks)
        worse = p_values(values[:, 1:] - values[:, :1], generators(rounds), draws) <= level
        dropped = [entrant for entrant, is_worse in zip(others, worse, strict=True) if is_worse] + dropped
        racing = [leader, *(entrant for entrant, is_worse in zip(others, worse, strict=True) if not is_worse)]
        if len(racing) == 1:
            break
    return Race(games, racing + dropped, set(racing), rounds)


def median_interval(games: Sequence[int | None], error: float) -> tuple[float, float, float]:
    """Interval of the median games to optimal that misses it at a rate of at most `error`, and the rate.

    With too few replicates for that: their whole range, with its rate, which is larger.
    """
    ordered = sorted(math.inf if value is None else float(value) for value in games)
    size = len(ordered)
    cut, beyond = 0, 1  # places cut off at each end; of 2**size ways to fall about the median, those that leave it out there
    while 2 * (beyond + math.comb(size, cut + 1)) <= error * 2**size:
        cut += 1
        beyond += math.comb(size, cut)
    return ordered[cut], ordered[-1 - cut], 2 * beyond / 2**size

"""The rounds of a search: which configurations play on how many seeds, and how many games.

Successive halving (Jamieson & Talwalkar, 2016, AISTATS) over seeds and games at once, with the caps of ParamILS (Hutter et
al., 2009, JAIR 36:267-306). All configurations play a few games on a few seeds. The best of them play more games on more
seeds, and so on; the last ones are left to the race of the finalists, who play their whole budget (`selection`). Each is
judged by the objective on all seeds that it has run. That is a lower bound as long as replicates have not played their whole
budget (see `objective`): a configuration that is late on a seed is known to be late, whatever comes, and costs no more games.

A round is a barrier: who goes on is decided when all of it is told, and ties go to the lower loss against random, then to the
lower index. So the decision is the same whoever ran what, when and where. A trial that goes on starts over from its first
game: that is 7 % of the default search's games, and no state of hundreds of trials has to be kept or moved.

The numbers below are from simulation on 512 configurations of the default space, 200 seeds each (`python -m
benchmarks.landscape`). Within wide limits they hardly matter, since the race of the finalists mends what the rounds have
missed: with one round more, half or twice the seeds, or 32 configurations in the last round the winner is as good. With 4 in
the last round, fewer than there are finalists, it is 1 % worse. The whole budget in the last round makes the search's games
2.4 times as many, for nothing. Without a race of the finalists seeds would matter: with fewer, fast ones win that often fail.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tictactoe.core.evaluation import check_grid
from tictactoe.core.game import Board
from tictactoe.experiment.record import Failure, Record, latest
from tictactoe.settings import Settings

LAST, FEW = 16, 8
"""Configurations of the last round: of more than `LAST` a quarter, but at most that many, twice as many as finalists, and at
least `FEW`, as many as those."""
DROP = 6.0
"""One of so many configurations goes on to the next round, as nearly as a whole number of rounds allows."""
FIRST_SEEDS = 4
"""Of the first round. They grow in even ratios: noise has to fall as the field gets closer together."""
FIRST_SHARE, LAST_SHARE = 0.02, 0.25
"""Of the budget, what the first and the last round play; what lies between grows in even ratios. The first is twice what the
best configurations need on the default board."""
FIRST_CHECKS, LAST_CHECKS = 2, 10
"""But no less than so many times the games before the first check: on large boards nobody plays optimally sooner."""


@dataclass(frozen=True)
class Round:
    """What each configuration of a round runs, from its first game."""

    trials: int
    """Configurations at most; fewer where some have failed."""
    seeds: int
    """The search's seeds from the first on."""
    games: int
    """Games at which it ends, a point of the grid of checks."""
    curve: bool = True
    """Whether learning curves are kept: in the last round alone. They would take more than half of the first one's time."""


def races(settings: Settings) -> bool:
    """Whether a search has several rounds; else there is one, of everybody and everything, as in `--scheduler none`."""
    return settings.scheduler == "race" and settings.num_samples > LAST


def lags(settings: Settings) -> bool:
    """Whether Optuna suggests trials one by one, `settings.lag` behind their results; in a race it suggests in generations."""
    return settings.search == "optuna" and not races(settings)


def rounds(settings: Settings) -> tuple[Round, ...]:
    """The rounds of a search, in their order."""
    number, budget = settings.num_samples, settings.games
    if not races(settings):
        return (Round(number, settings.seeds, budget),)
    last = max(FEW, min(LAST, number // 4))
    steps = max(1, round(math.log(number / last, DROP)))
    grid = check_grid(Board.parse(settings.board), budget)
    first_games = max(FIRST_SHARE * budget, FIRST_CHECKS * grid[0])
    last_games = max(LAST_SHARE * budget, LAST_CHECKS * grid[0])
    first_seeds = min(FIRST_SEEDS, settings.seeds)

    def between(start: float, end: float, step: int) -> float:
        return float(start * (end / start) ** (step / steps))

    return tuple(
        Round(
            round(between(number, last, step)),
            round(between(first_seeds, settings.seeds, step)),
            grid[bisect_left(grid, min(budget, between(first_games, last_games, step)))],
            curve=step == steps,
        )
        for step in range(steps + 1)
    )


def entrants(all_rounds: Sequence[Round], number: int, before: Iterable[Record]) -> list[int]:
    """The indices that run round `number`, counted from 0, ascending: all in the first one, then the best of the one before.

    `before` are the records of that one.
    """
    if number == 0:
        return list(range(all_rounds[0].trials))
    best = sorted(before, key=lambda record: record.rank)[: all_rounds[number].trials]
    return sorted(record.index for record in best)


@dataclass(frozen=True)
class Standing:
    """How far a search is."""

    records: list[Record]
    """Those that count, of all rounds: a trial that was run again may have pushed others out of later rounds."""
    failures: list[Failure]
    number: int
    """The first round that is not over."""
    missing: list[int]
    """Who has still to run it; empty where the search is over."""

    @property
    def latest(self) -> tuple[list[Record], list[Failure]]:
        """Each trial by its latest round, finished or failed, in index order."""
        return latest([*self.records, *self.failures])


def standing(all_rounds: Sequence[Round], records: Sequence[Record], failures: Sequence[Failure]) -> Standing:
    """How far a search is whose trials have come to these ends, in whatever rounds."""
    count, failed, before = list[Record](), list[Failure](), list[Record]()
    for number in range(len(all_rounds)):
        wanted = entrants(all_rounds, number, before)
        allowed = set(wanted)
        before = [record for record in records if record.round == number and record.index in allowed]
        count += before
        failed += (own := [failure for failure in failures if failure.round == number and failure.index in allowed])
        ended = {record.index for record in before} | {failure.index for failure in own}
        if missing := [index for index in wanted if index not in ended]:
            return Standing(count, failed, number, missing)
    return Standing(count, failed, len(all_rounds), [])

"""The winner of a search, on seeds the search never saw.

The best of many noisy scores looks better than it is (the optimiser's curse: Smith & Winkler, 2006, Management
Science 52:311; in model selection: Cawley & Talbot, 2010, JMLR 11:2079), and the best score need not be the best
configuration's. So the finalists run again on fresh seeds, whose stream is disjoint from the search's
(`core.seeds`), and race there for the win; `racing` tells how they are compared, and what can be said of those
that are left. Scores of the search are not used again, except to put equal ones in order.

Finalists are the 8 best by PAR-10, and up to 16 in all every other trial that a paired test on the search's own
replicates, corrected for the number of trials, cannot tell from the best. Only trials that used the whole budget
take part; where there are none, nothing is run and the search's own best wins.

What it costs is decided in games, never in time, so that it is the same everywhere:

- After a search of 1,000 replicates or more (of their whole budget: stopped ones count in part), all finalists
  together play at most 11 % of the search's games. A game's learner time differs by less than a factor of two among
  configurations, by a third between finalists and the mean, so this stays below 15 % of its time. The race looks
  after 12, 24, 48 and 96 seeds of each finalist, as far as those games may reach. Where they give not even 8 seeds
  to each of 16 finalists there are fewer, but 8.
- After a smaller one each finalist gets 8 seeds, and there is one look, at the end; there are 13 finalists at most,
  since the lowest p-value on 8 seeds could tell none of more apart. But all of them together play no
  more than the search did, or 20 million games where that is more. On the default board that hardly ever binds. On
  4x4x4, with one seed and three million games for each of 8 trials, it does: one fresh seed a finalist, from which
  nothing can be told, and so all are tied and the intervals have no end. Asking the search for more seeds brings
  more here too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tictactoe.core.evaluation import check_grid
from tictactoe.core.game import Board
from tictactoe.core.seeds import Stream, sequence
from tictactoe.experiment.racing import ERROR, Race, log_games, median_interval, p_values, race
from tictactoe.experiment.record import GamesToOptimal, Record, part
from tictactoe.experiment.replicates import median, par10
from tictactoe.experiment.summary import Finalist, Fresh, SelectionSummary
from tictactoe.settings import Settings
from tictactoe.text import count

LEAST_FINALISTS, MOST_FINALISTS = 8, 16
LARGE = 1_000
"""Replicates from which a search's selection costs a share of it."""
SHARE = 0.11
"""That share, of its games."""
LOOKS = (12, 24, 48, 96)
"""Seeds of each finalist after which the race looks, after a large search."""
SMALL_SEEDS = 8
"""Seeds of each finalist after a smaller search."""
SMALL_GAMES = 20_000_000
"""What its finalists may play together even if the search itself played less: some seconds on the default board."""
METHOD = (
    "race by a paired wild bootstrap on log games to optimal over common fresh seeds, its 5 % error divided among "
    "comparisons and rounds; intervals of the median by order statistics"
)


@dataclass(frozen=True)
class Plan:
    """Who races, and how far."""

    finalists: list[Record]
    """Their records, best first by the search."""
    looks: tuple[int, ...]
    """Seeds of each finalist at which the race looks."""
    allowed: int
    """Replicates of all finalists together."""


@dataclass(frozen=True)
class Selection:
    """What the finalists came to on fresh seeds."""

    winner: int
    """The winner's index."""
    finalists: tuple[Finalist, ...]
    """Best first."""
    games_to_optimal: dict[int, GamesToOptimal]
    """By finalist's index, on the fresh seeds from the first on."""
    rounds: int
    learner_cpu_s: float
    games: int
    """Played by all finalists together."""

    @property
    def fresh(self) -> Fresh | None:
        """The winner's fresh numbers, None where nothing was run."""
        return part(self.finalists[0], Fresh) if self.finalists else None

    def summary(self) -> SelectionSummary:
        """`selection` in summary.json."""
        first = self.finalists[0] if self.finalists else None
        return SelectionSummary(
            method=METHOD,
            rounds=self.rounds,
            learner_cpu_s=self.learner_cpu_s,
            games=self.games,
            gap=first.par10 / first.search_par10 if first else None,
            finalists=self.finalists,
        )


class FreshReplicates(Protocol):
    """What runs finalists on fresh seeds; below, each goes by its place among them."""

    learner_cpu_s: float
    """Of all replicates that have been run, in this attempt and earlier ones."""

    def run(self, entrants: list[int], first: int, last: int) -> list[GamesToOptimal] | None:
        """Games to optimal of finalists on the fresh seeds from `first` to before `last`; None when interrupted."""


def select(
    settings: Settings, records: Sequence[Record], planned: Plan, replicates: FreshReplicates, say: Callable[[str], None]
) -> Selection | None:
    """Race the finalists of a plan; None when interrupted. `say` gets a line a round."""
    if not planned.finalists:
        return Selection(min(records, key=lambda record: record.rank).index, (), {}, 0, 0.0, 0)

    def run(entrants: list[int], first: int, last: int) -> list[GamesToOptimal] | None:
        say(f"selection: {count(len(entrants), 'finalist')} on fresh seeds {first + 1} to {last}")
        return replicates.run(entrants, first, last)

    ended = race(
        len(planned.finalists), planned.looks, planned.allowed, settings.games, run, lambda n: generator(settings.seed, n)
    )
    return None if ended is None else _selection(settings, planned, ended, replicates.learner_cpu_s)


def plan(settings: Settings, records: Sequence[Record]) -> Plan:
    """Who races, and how far; see the top of this file."""
    whole = sorted((record for record in records if not record.stopped), key=lambda record: record.rank)
    played = sum(record.played for record in records)
    large = played >= LARGE * settings.games
    if large:
        allowed = int(SHARE * played) // settings.games
        finalists = _finalists(settings, whole, _most(lambda number: allowed // number))
        looks = tuple(look for look in LOOKS if look * len(finalists) <= 2 * allowed) or LOOKS[:1]
    else:
        finalists, looks = _finalists(settings, whole, _most(lambda number: SMALL_SEEDS)), (SMALL_SEEDS,)
        allowed = min(SMALL_SEEDS * len(finalists), max(played, SMALL_GAMES) // settings.games)
    return Plan(finalists, looks, allowed)


def _most(seeds_of: Callable[[int], int]) -> int:
    """The most finalists of whom `seeds_of(number)` seeds could still tell the worst: p-values are at least 2**-seeds."""
    for number in range(MOST_FINALISTS, LEAST_FINALISTS, -1):
        seeds = seeds_of(number)
        if seeds >= SMALL_SEEDS and 2.0**-seeds <= ERROR / (number - 1):
            return number
    return LEAST_FINALISTS


def generator(seed: int, number: int) -> np.random.Generator:
    """The random signs of test `number` (0: who becomes a finalist), a stream that no replicate uses."""
    return np.random.Generator(np.random.PCG64(sequence(seed, Stream.SIGNS, number)))


def _finalists(settings: Settings, ranked: list[Record], most: int) -> list[Record]:
    """The first 8 of `ranked`, and those after them that cannot be told from the first, up to `most` in all."""
    finalists, others = ranked[:LEAST_FINALISTS], ranked[LEAST_FINALISTS:]
    while others and len(finalists) < most:
        some, others = others[:64], others[64:]
        values = np.stack([log_games(record.games_to_optimal, settings.games) for record in [ranked[0], *some]], axis=1)
        worse = p_values(values[:, 1:] - values[:, :1], generator(settings.seed, 0)) <= ERROR / (len(ranked) - 1)
        finalists += [record for record, is_worse in zip(some, worse, strict=True) if not is_worse]
    return finalists[:most]


def _selection(settings: Settings, planned: Plan, ended: Race, learner_cpu_s: float) -> Selection:
    comparisons = len(planned.finalists) * len(planned.looks)
    first_check = check_grid(Board.parse(settings.board), settings.games)[0]
    finalists = []
    for entrant in ended.order:
        record, games = planned.finalists[entrant], ended.games[entrant]
        low, high, rate = median_interval(games, ERROR / comparisons)
        if rate > ERROR:  # fewer than 6 seeds: anything is possible
            low, high, rate = first_check, math.inf, 0.0
        finalists.append(
            Finalist(
                index=record.index,
                config=record.config,
                search_par10=record.par10,
                par10=par10(games, settings.games),
                median=median(games),
                interval=(_finite(low), _finite(high)),
                confidence=round(max(0.0, 1 - max(ERROR, rate * comparisons)), 6),
                seeds=len(games),
                tied=entrant in ended.tied,
            )
        )
    by_index = {planned.finalists[entrant].index: tuple(games) for entrant, games in enumerate(ended.games)}
    played = settings.games * sum(map(len, ended.games))
    return Selection(finalists[0].index, tuple(finalists), dict(sorted(by_index.items())), ended.rounds, learner_cpu_s, played)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

"""The winner, and what is true of it: the finalists race on seeds of their own, and the winner is confirmed on others.

The best of many noisy scores looks better than it is (the optimiser's curse: Smith & Winkler, 2006, Management Science
52:311; in model selection: Cawley & Talbot, 2010, JMLR 11:2079), and the best score need not be the best configuration's. So
there are three streams of seeds (`core.seeds`). Those of the search choose the finalists. On fresh ones the finalists race:
after each look the better half goes on, by the objective on all seeds that each has run, the search's too, since whatever
is known should decide. The last one is the winner. The seeds of the confirmation choose nothing: what is told of the
winner as its worth comes from there, and so it is neither too low nor too high on average.

A finalist "cannot be told from the winner" unless its mean on the fresh seeds is certainly above the winner's: a lower bound
of the one, which fails at a rate of 2.5 %, and an upper bound of the other from the confirmation, which does too. Were the
best configuration left out, one of these two bounds would have failed, whichever configuration that is, whichever has won,
and whatever the race has dropped it for; so it is among those named at 95 %. `confidence` says where the bounds are from.
With some hundred seeds nobody can know of failures rarer than one in some hundred; the bounds, and so the verdict, reckon
with them.

What it costs is decided in games, never in time, so that it is the same everywhere. Looks and replicates below are those of
the default board. Where a budget is so large that they would cost much beside the search, and more than some seconds, there
are fewer of them, but at least one of each.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tictactoe.core.evaluation import check_grid
from tictactoe.core.game import Board
from tictactoe.core.seeds import Stream
from tictactoe.experiment import confidence
from tictactoe.experiment.objective import PENALTY, UNITS, bounds, log_units, mean_log, par10
from tictactoe.experiment.record import GamesToOptimal, Record
from tictactoe.experiment.replicates import median
from tictactoe.experiment.summary import Confirmed, Finalist, Fresh, SelectionSummary
from tictactoe.settings import Settings
from tictactoe.text import count

FINALISTS = 8
LOOKS = {8: 32, 4: 96, 2: 224}
"""Fresh seeds of each after which so many finalists, or more than half as many, are compared. All looks cost the same."""
CONFIRMATION = 200
"""Replicates of the winner. Where all are solved, at least 98.5 % of seeds are, 95 % sure."""
RACE_GAMES, CONFIRMATION_GAMES = 40_000_000, 10_000_000
"""What they may play even if the search itself played little: some seconds on the default board."""
RACE_SHARE, CONFIRMATION_SHARE = 0.5, 0.25
"""What they may play of the search's games where that is more."""
ERROR = 0.05
"""How often an interval may miss what it is of, or the best finalist be taken for worse than the winner."""
METHOD = (
    "halving on fresh seeds, by the mean logarithm of games to optimal on all seeds run; not told from the winner unless a "
    "lower bound of a finalist's mean lies above an upper bound of the winner's in the confirmation, both by betting"
)


@dataclass(frozen=True)
class Selection:
    """The winner, the race that it has won, and its confirmation."""

    winner: Record
    finalists: tuple[Finalist, ...]
    """Best first; empty where there was but one."""
    fresh: dict[int, GamesToOptimal]
    """By finalist's index, on the fresh seeds from the first on."""
    confirmation: GamesToOptimal
    """The winner's."""
    confirmed: Confirmed
    summary: SelectionSummary


class Replays(Protocol):
    """What runs configurations of the search for their whole budget on other seeds than the search's."""

    def run(self, stream: Stream, records: Sequence[Record], first: int, last: int) -> list[GamesToOptimal] | None:
        """Games to optimal of each on the seeds from `first` to before `last` of a stream; None when interrupted."""

    def learner_cpu_s(self, stream: Stream) -> float:
        """Of all its replicates that have been run, in this attempt and earlier ones."""


@dataclass
class _Entrant:
    """A finalist in the race."""

    record: Record
    pooled: list[int]
    """Logarithms, in whole 1 / `UNITS`, on all seeds that it has run."""
    fresh: list[int | None]
    means: list[float]
    """The objective after the search, and after each look on all seeds run."""

    @property
    def rank(self) -> tuple[float, int]:
        return self.means[-1], self.record.index

    def take(self, games: Sequence[int | None], grid: Sequence[int]) -> None:
        self.fresh += games
        self.pooled += _units(games, grid)
        self.means.append(sum(self.pooled) / (UNITS * len(self.pooled)))


def finalists(records: Sequence[Record]) -> list[Record]:
    """Whose records are the best, best first: those of the last round, and others where they are few."""
    return sorted(records, key=lambda record: record.rank)[:FINALISTS]


def looks(settings: Settings, played: int) -> dict[int, int]:
    """`LOOKS`, or fewer seeds where they would cost too much after a search that has played so many games."""
    left, seeds, affordable = int(max(RACE_GAMES, RACE_SHARE * played)) // settings.games, 0, dict[int, int]()
    for number, (entrants, most) in enumerate(LOOKS.items()):
        more = min(most - seeds, max(0 if seeds else 1, left // (len(LOOKS) - number) // entrants))
        left -= more * entrants
        affordable[entrants] = seeds = seeds + more
    return affordable


def confirmation(settings: Settings, played: int) -> int:
    """Replicates of the winner after a search that has played so many games."""
    return max(1, min(CONFIRMATION, int(max(CONFIRMATION_GAMES, CONFIRMATION_SHARE * played)) // settings.games))


def select(
    settings: Settings, records: Sequence[Record], played: int, replays: Replays, say: Callable[[str], None]
) -> Selection | None:
    """Race the finalists of a search that has played so many games, and confirm the winner; None when interrupted.

    `records` has each trial once, by its latest round. `say` gets a line a look.
    """
    grid = check_grid(Board.parse(settings.board), settings.games)
    entrants = [
        _Entrant(record, log_units(bounds(record.games_to_optimal, record.games, grid)), [], [record.mean_log])
        for record in finalists(records)
    ]
    most = max(entrant.record.games for entrant in entrants)
    for entrant in entrants:
        if entrant.record.games < most:  # its bounds are lower because it was stopped earlier
            entrant.pooled.clear()
    racing, dropped, number = entrants, list[_Entrant](), 0
    at = looks(settings, played)
    while len(racing) > 1:
        seeds = next(seeds for half, seeds in reversed(at.items()) if len(racing) <= half)
        if (first := len(racing[0].fresh)) < seeds:
            number += 1
            say(f"race: {count(len(racing), 'finalist')} on fresh seeds {first + 1} to {seeds}")
            games = replays.run(Stream.FRESH, [entrant.record for entrant in racing], first, seeds)
            if games is None:
                return None
            for entrant, more in zip(racing, games, strict=True):
                entrant.take(more, grid)
        racing = sorted(racing, key=lambda entrant: entrant.rank)
        half = len(racing) - len(racing) // 2
        racing, dropped = racing[:half], racing[half:] + dropped
    winner, size = racing[0].record, confirmation(settings, played)
    say(f"confirmation: the winner on {count(size, 'other seed')}")
    confirmed = replays.run(Stream.CONFIRMATION, [winner], 0, size)
    if confirmed is None:
        return None
    return _selection(settings, [*racing, *dropped], number, confirmed[0], grid, replays)


def _selection(
    settings: Settings, order: list[_Entrant], rounds: int, confirmation: GamesToOptimal, grid: Sequence[int], replays: Replays
) -> Selection:
    confirmed = _confirmed(confirmation, grid, replays.learner_cpu_s(Stream.CONFIRMATION))
    raced = order if rounds else []
    ranked = tuple(_finalist(entrant, grid, confirmed.mean_log_interval[1], entrant is order[0]) for entrant in raced)
    fresh = {entrant.record.index: tuple(entrant.fresh) for entrant in raced}
    summary = SelectionSummary(
        method=METHOD,
        rounds=rounds,
        learner_cpu_s=replays.learner_cpu_s(Stream.FRESH),
        games=settings.games * sum(map(len, fresh.values())),
        gap=math.exp(confirmed.mean_log - order[0].record.mean_log),
        finalists=ranked,
    )
    return Selection(order[0].record, ranked, dict(sorted(fresh.items())), confirmation, confirmed, summary)


def _finalist(entrant: _Entrant, grid: Sequence[int], winner_at_most: float, won: bool) -> Finalist:
    record = entrant.record
    at_least = confidence.mean_at_least(_logs(entrant.fresh, grid), _range(grid)[0], ERROR / 2)
    return Finalist(
        **vars(_fresh(entrant.fresh, grid)),
        index=record.index,
        config=record.config,
        search_mean_log=record.mean_log,
        at_least=round(at_least, 6),
        means=tuple(entrant.means),
        tied=won or at_least <= winner_at_most,
    )


def _fresh(games: Sequence[int | None], grid: Sequence[int]) -> Fresh:
    """What some replicates, at least one, say of a configuration."""
    values = bounds(games, grid[-1], grid)
    ordered = sorted(math.inf if value is None else float(value) for value in games)
    low, high, rate = confidence.median_interval(ordered, ERROR)
    # A replicate that is optimal at a check became so after the check before it.
    before = grid[max(0, bisect_left(grid, ordered[low]) - 1)] if rate <= ERROR and ordered[low] > grid[0] else 0
    return Fresh(
        mean_log=mean_log(values),
        par10=par10(values),
        median=median(games),
        interval=(before, _finite(ordered[high] if rate <= ERROR else math.inf)),
        solved=sum(value is not None for value in games),
        seeds=len(games),
    )


def _confirmed(games: GamesToOptimal, grid: Sequence[int], learner_cpu_s: float) -> Confirmed:
    """The winner's worth, and what cannot be known of it from so few seeds."""
    fresh, budget = _fresh(games, grid), grid[-1]
    logs, (least, most) = _logs(games, grid), _range(grid)
    solved_at_least = confidence.share_at_least(fresh.solved, fresh.seeds, ERROR)
    solved = [value for value in games if value is not None]
    # As if so many more had failed as may fail.
    of_solved = sum(solved) / len(solved) if solved else 0.0
    return Confirmed(
        **vars(fresh),
        mean_log_interval=(
            round(confidence.mean_at_least(logs, least, ERROR / 2), 6),
            round(confidence.mean_at_most(logs, most, ERROR / 2), 6),
        ),
        solved_at_least=round(solved_at_least, 6),
        par10_at_most=round(solved_at_least * of_solved + (1 - solved_at_least) * PENALTY * budget, 6),
        games=budget * len(games),
        learner_cpu_s=learner_cpu_s,
    )


def _units(games: Sequence[int | None], grid: Sequence[int]) -> list[int]:
    """Logarithms of games to optimal, in whole 1 / `UNITS`, of replicates that have played their whole budget."""
    return log_units(bounds(games, grid[-1], grid))


def _logs(games: Sequence[int | None], grid: Sequence[int]) -> list[float]:
    return [units / UNITS for units in _units(games, grid)]


def _range(grid: Sequence[int]) -> tuple[float, float]:
    """The least and the greatest logarithm there can be, rounded as all are."""
    least, most = _logs((grid[0], None), grid)
    return least, most


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

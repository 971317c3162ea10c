"""Games to optimal as searches find them, drawn from distributions whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import norm

from tictactoe.core.evaluation import check_grid
from tictactoe.core.game import Board
from tictactoe.experiment.objective import UNITS, bounds, log_units

BUDGET = 50_000
LATE = 5_000
GRID = check_grid(Board.parse("3x3x3"), BUDGET)
LOGS = np.array(log_units(bounds([*GRID, None], BUDGET, GRID))) / UNITS
"""Logarithm of games to optimal at each place: a point of the grid, or, after the last one, unsolved."""


@dataclass(frozen=True)
class Law:
    """How games to optimal of a configuration are distributed: log-normally, seen at the next check; some late, some never."""

    centre: float = 450.0
    """Median of those that are neither."""
    sd: float = 0.5
    """Of their logarithm."""
    unsolved: float = 0.0
    """Share of seeds."""
    late: float = 0.015
    """Share of the others that need from `LATE` games to the budget, evenly by the logarithm."""

    @cached_property
    def shares(self) -> np.ndarray:
        """Probability of each place, float64."""
        body = norm.cdf(np.log(np.array(GRID) / self.centre) / self.sd)
        late = np.clip(np.log(np.array(GRID) / LATE) / np.log(BUDGET / LATE), 0.0, 1.0)
        by = (1 - self.unsolved) * ((1 - self.late) * body + self.late * late)
        return np.diff(by, prepend=0.0, append=1.0)

    @property
    def mean(self) -> float:
        """The objective of all seeds."""
        return float(self.shares @ LOGS)

    def places(self, uniform: np.ndarray) -> np.ndarray:
        """The places that uniform numbers stand for; who shares the numbers shares the luck."""
        return np.searchsorted(np.cumsum(self.shares)[:-1], uniform, side="right")


def games(places: np.ndarray) -> tuple[int | None, ...]:
    """Games to optimal at these places."""
    return tuple(GRID[place] if place < len(GRID) else None for place in places.tolist())

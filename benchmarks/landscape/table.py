"""The table: configurations of the default space x seeds, and whether each replicate plays optimally at each check.

What a search would see of any replicate at any time is looked up in it. So a search costs nothing, and its winner's regret is
exact: the table is all that there is ("tabular benchmark": Klein & Hutter, 2019, arXiv:1905.04970).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.metadata import version
from math import inf
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from tictactoe import files
from tictactoe.core.evaluation import check, check_grid
from tictactoe.core.game import Board
from tictactoe.core.hyperparameters import Hyperparameters
from tictactoe.core.seeds import Stream
from tictactoe.errors import UserError
from tictactoe.experiment.objective import PENALTY, UNITS, log_units
from tictactoe.experiment.record import GamesToOptimal, Task
from tictactoe.experiment.replicates import Replicates, rungs
from tictactoe.experiment.space import sample

PATH = Path(__file__).with_name("table.npz")
CONFIGURATIONS, SEEDS = 512, 200
TASK = Task("3x3x3", SEEDS, 50_000, seed=2**40, stream=Stream.SEARCH)
"""What each configuration runs. No search has this seed by accident."""
LOSS_UNITS = 10_000
"""Loss against random is kept in whole 1 / 10,000."""
LATE = 5_000
"""Games after which a replicate that plays optimally for good does so late: ten times what the best ones need."""


@dataclass(frozen=True)
class Landscape:
    """The table, and the truth that follows from it."""

    configurations: list[Hyperparameters]
    grid: list[int]
    optimal: np.ndarray
    """Whether a replicate plays optimally, bool (configurations, seeds, points of the grid)."""
    loss: np.ndarray
    """Probability of losing to a random opponent at the `rung_points`, float (configurations, seeds, rungs)."""

    @cached_property
    def since(self) -> np.ndarray:
        """Point since which a replicate has been optimal, as known at each point; the point after it where it is not. uint8."""
        since = np.empty(self.optimal.shape, np.uint8)
        before = np.zeros(self.optimal.shape[:2], np.uint8)
        for point in range(len(self.grid)):
            since[:, :, point] = before = np.where(self.optimal[:, :, point], before, point + 1)
        return since

    @cached_property
    def units(self) -> np.ndarray:
        """Logarithms, in whole 1 / `UNITS`, of games to optimal by what `since` holds, int64."""
        return np.array(log_units(self.values.tolist()))

    @cached_property
    def values(self) -> np.ndarray:
        """Games to optimal by what `since` holds, int64: those of the points, and last those of an unsolved replicate."""
        return np.array([*self.grid, PENALTY * self.grid[-1]])

    @cached_property
    def objective(self) -> np.ndarray:
        """The true objective of each configuration: mean logarithm over all seeds of the table."""
        means: np.ndarray = self.units[self.since[:, :, -1]].mean(axis=1) / UNITS
        return means

    @cached_property
    def par10(self) -> np.ndarray:
        """The true PAR-10 of each configuration."""
        means: np.ndarray = self.values[self.since[:, :, -1]].mean(axis=1)
        return means

    @cached_property
    def late(self) -> np.ndarray:
        """The true share of each configuration's replicates that are late or unsolved."""
        shares: np.ndarray = (self.values[self.since[:, :, -1]] > LATE).mean(axis=1)
        return shares

    @cached_property
    def _numbers(self) -> dict[str, np.ndarray]:
        """The configurations' hyperparameters that are numbers, in order."""
        return {name: np.sort(values) for name, values in self._columns.items() if values.dtype == np.float64}

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        dicts = [configuration.as_dict() for configuration in self.configurations]
        return {name: np.array([values[name] for values in dicts]) for name in dicts[0]}

    def nearest(self, wanted: Hyperparameters, tried: Sequence[int]) -> int:
        """The row most like a configuration, of those not tried: the same choices, and the least distance of ranks."""
        distance = np.zeros(len(self.configurations))
        for name, values in self._columns.items():
            value = getattr(wanted, name)
            if name in self._numbers:
                ranks = np.searchsorted(self._numbers[name], [value, *values])
                distance += abs(ranks[1:] - ranks[0]) / len(values)
            else:
                distance += len(self._columns) * (values != value)
        distance[list(tried)] = np.inf
        return int(distance.argmin())

    def games_to_optimal(self, row: int, seeds: np.ndarray, point: int) -> GamesToOptimal:
        """What a trial would report of these replicates at a point of the grid."""
        return tuple(self.grid[since] if since <= point else None for since in self.since[row, seeds, point].tolist())


def rung_points(grid: list[int]) -> list[int]:
    """The first points of a grid at or after ASHA's rungs, as numbers of points."""
    return [next(number for number, games in enumerate(grid) if games >= rung) for rung in rungs(grid[-1])]


def compute(hyperparameters: Hyperparameters, seeds: int = SEEDS) -> tuple[np.ndarray, np.ndarray]:
    """One configuration of the table: whether optimal, bool (seeds, points), and losses, uint16 (seeds, rungs)."""
    replicates = Replicates(replace(TASK, seeds=seeds), hyperparameters)
    optimal = np.empty((seeds, len(replicates.grid)), np.bool_)
    losses = []
    for number, point in enumerate(replicates.grid):
        replicates.advance(inf, point)
        optimal[:, number] = [games is not None for games in replicates.games_to_optimal]
        if number in rung_points(replicates.grid):
            losses.append([check(learner).loss_vs_random for learner in replicates.learners])
    return optimal, np.round(LOSS_UNITS * np.array(losses).T).astype(np.uint16)


def make(processes: int) -> None:
    """Compute the table and write it."""
    with Pool(processes) as pool:
        work = pool.imap(compute, sample(CONFIGURATIONS, TASK.seed))
        rows = list(track(work, "tabulating", CONFIGURATIONS))
    optimal, losses = zip(*rows, strict=True)
    save(np.stack(optimal), np.stack(losses))


def save(optimal: np.ndarray, losses: np.ndarray) -> None:
    """Write the table of the first configurations."""
    about = _about(len(optimal)) | {"versions": {package: version(package) for package in ("numpy", "numba")}}
    with files.atomic(PATH) as file:
        np.savez_compressed(
            file,
            about=np.array(json.dumps(about)),
            # Neighbouring replicates are more alike than neighbouring points: half the size.
            optimal=np.packbits(optimal.transpose(0, 2, 1)),
            losses=losses,
        )


@cache
def load() -> Landscape:
    """The shipped table. Raises UserError where it is of another space, grid or task than the program's now."""
    with np.load(PATH) as saved:
        about, packed, losses = json.loads(str(saved["about"])), saved["optimal"], saved["losses"]
    number = len(losses)
    changed = [name for name, value in _about(number).items() if about.get(name) != value]
    if changed:
        raise UserError(f"{PATH}: its {' and '.join(changed)} are not the program's any more; make it anew, see --help")
    shape = number, len(about["grid"]), SEEDS
    optimal = np.unpackbits(packed, count=number * shape[1] * SEEDS).reshape(shape).transpose(0, 2, 1).astype(np.bool_)
    return Landscape(sample(number, TASK.seed), about["grid"], optimal, losses / LOSS_UNITS)


def _about(number: int) -> dict[str, Any]:
    """What a table of so many configurations must agree in, as JSON types."""
    configurations = json.dumps([configuration.as_dict() for configuration in sample(number, TASK.seed)])
    return {
        "board": TASK.board,
        "seed": TASK.seed,
        "seeds": TASK.seeds,
        "grid": check_grid(Board.parse(TASK.board), TASK.games),
        "configurations": hashlib.sha256(configurations.encode()).hexdigest(),
    }

"""What memory a search needs, and what there is for it."""

from __future__ import annotations

import math
from bisect import bisect
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from tictactoe.core.game import Board
from tictactoe.core.hyperparameters import Hyperparameters
from tictactoe.process.cgroup import CGROUP, MIB, memory_limits

# Measured on 3x3x3, whose arrays are next to nothing; `python -m benchmarks.memory` holds the whole estimate against searches.
PROGRAM_MIB = 760
"""Ray, its dashboard and the program."""
WORKER_MIB = 500
"""Ray on a worker, and what looks after it."""
TRIAL_MIB = 165
"""A trial's process."""
HELD, BUILT = 2.0, 3.0
"""Memory that a graph keeps, and takes while it is built, over that of its arrays: the allocator gives back only some."""
POLICY_BYTES = 30
"""What the winner's policy and the report take at the end, over the number of positions."""
SMALL_MIB = 50
"""Less memory of others in a control group is none: the shell that has started us, and what cannot be told from our own."""


class Room(NamedTuple):
    """The memory that a search may take, in MiB."""

    mib: int
    limit: int | None
    """The limit that says so, None where the machine has no more available."""

    def __str__(self) -> str:
        if self.limit is None:
            return f"available {self.mib:,} MiB"
        return f"limit {self.limit:,} MiB" + (f", of which others have taken {self.limit - self.mib:,}" if self.others else "")

    @property
    def others(self) -> bool:
        """Whether other programs have a part in it."""
        return self.mib != self.limit


@dataclass(frozen=True)
class Need:
    """The memory that a search needs, in MiB."""

    program: float
    """Ray, its dashboard and the program; on a worker, Ray and what looks after it."""
    trial: float
    """Each trial at a time on top."""
    end: float
    """The program at the end, where there are no trials any more."""

    def of(self, trials: int) -> int:
        """With so many trials at a time."""
        return math.ceil(max(self.program + trials * self.trial, self.end))

    def trials(self, mib: int) -> int:
        """How many trials at a time so much memory is enough for; 0 where it is not even for one."""
        return max(0, int((mib - self.program) // self.trial)) if mib >= self.end else 0


class Size(NamedTuple):
    """How large a board's game graph is."""

    positions: float
    moves: float

    @property
    def graph(self) -> float:
        """Bytes of a `Graph`: a code and an outcome for each position, a child for each move."""
        return 5 * self.positions + 4 * self.moves

    @property
    def check(self) -> float:
        """Bytes that a check takes: whether each move is greedy, and what each position is worth from either seat."""
        return self.moves + 16 * self.positions

    def entries(self, table: str) -> float:
        """Bytes of the numbers of the moves' entries, where they are not the children's."""
        return 0 if table == "afterstate" else 4 * self.moves

    def table(self, table: str) -> float:
        """Bytes of one replicate's table."""
        return 8 * (self.positions if table == "afterstate" else self.moves)


def room(cgroup: Path = CGROUP) -> Room:
    """The least of what the machine and each control group with a limit has for this process and those that it starts."""
    memory = psutil.Process().memory_info()
    own = (memory.rss - memory.shared) // MIB
    rooms = [Room(psutil.virtual_memory().available // MIB + own, None)]
    for limit, taken in memory_limits(cgroup):
        others = taken - own
        rooms.append(Room(limit - (others if others > SMALL_MIB else 0), limit))
    return min(rooms, key=lambda room: room.mib)


def need(board: Board, seeds: int) -> Need:
    """What a search needs, with the largest table that the search space holds."""
    tables, symmetries = _choices(board, "table"), _choices(board, "symmetry")
    # The grid of checks is made from the symmetric graph in any case.
    sizes = {symmetric: size(board, symmetric) for symmetric in {True, *symmetries}}
    driver = HELD * sizes[True].graph
    graphs = sum(sizes[s].graph for s in sizes) + sum(sizes[s].entries(t) for s in symmetries for t in tables)
    table = max(sizes[s].table(t) for s in symmetries for t in tables)
    beside = max(table, *(sizes[s].check for s in symmetries))  # when a saved table is restored, and when one is checked
    trial = max(BUILT * graphs, HELD * graphs + seeds * table + beside)
    end = HELD * graphs + table + POLICY_BYTES * size(board, False).positions
    return Need(PROGRAM_MIB + driver / MIB, TRIAL_MIB + trial / MIB, PROGRAM_MIB + end / MIB)


def worker_need(board: Board, seeds: int) -> Need:
    """What a worker needs, which runs trials of a search on another machine."""
    return Need(WORKER_MIB, need(board, seeds).trial, WORKER_MIB)


def most_seeds(board: Board, seeds: int, mib: int) -> int:
    """The most seeds, up to so many, with which so much memory is enough for one trial at a time; 0 where it never is."""
    return bisect(range(1, seeds + 1), False, key=lambda number: not need(board, number).trials(mib))


@lru_cache(maxsize=4)
def size(board: Board, symmetric: bool) -> Size:
    """How large a board's graph is, without building it: exact, or a little too small where it is symmetric.

    In a position either no side has a line, or the one that moved last has, and had none before.
    """
    sets = np.arange(1 << board.cells)
    marks, lineless, won = np.bitwise_count(sets), ~board.wins, np.zeros_like(board.wins)
    for cell in range(board.cells):
        won |= board.wins & (sets >> cell & 1 == 1) & lineless[sets & ~(1 << cell)]
    positions = moves = 0
    for ply in range(board.cells + 1):
        others = (lineless & (marks == ply // 2)).astype(np.int64)  # sets that the other side may have
        for cell in range(board.cells):  # then for each set: how many of these lie in it
            halves = others.reshape(-1, 2, 1 << cell)
            halves[:, 1] += halves[:, 0]
        beside, last = others[::-1], marks == ply - ply // 2  # those beside a set of the side that moved last
        ongoing = int(beside[last & lineless].sum())
        positions += ongoing + int(beside[last & won].sum())
        moves += ongoing * (board.cells - ply)
    images = len(board.maps(symmetric))
    return Size(positions / images, moves / images)


def _choices(board: Board, name: str) -> tuple[Any, ...]:
    """The values that the search space of a board holds for a hyperparameter that is no number."""
    from tictactoe.experiment import space  # Optuna takes its time, and only searches need it

    entry = space.of(str(board)).get(name, getattr(Hyperparameters, name))
    return tuple(getattr(entry, "choices", (entry,)))

"""m,n,k games (tic-tac-toe and its larger relatives), exactly.

X moves first, players alternate, k own marks in a row (horizontal, vertical or diagonal) win, a full
board is a draw. Cells are numbered row by row from 0. A position is an integer in base 3: digit i is 0
for an empty cell i, 1 for X, 2 for O; the side to move follows from the number of marks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numba
import numpy as np

MAX_CELLS = 16
LANES = 8  # a board has at most 8 symmetries; fewer are padded, so that loops over them have one length
MARKS = ".XO"


@dataclass(frozen=True)
class Board:
    """The rules of one m,n,k game.

    Raises ValueError for sizes outside 1..16 cells, or a `k` that no line of the board can hold.
    """

    rows: int = 3
    columns: int = 3
    k: int = 3

    def __post_init__(self) -> None:
        if min(self.rows, self.columns, self.k) < 1:
            raise ValueError(f"board {self}: rows, columns and k must be at least 1")
        if self.cells > MAX_CELLS:
            raise ValueError(f"board {self} has {self.cells} cells; at most {MAX_CELLS} are supported")
        if self.k > max(self.rows, self.columns):
            raise ValueError(f"board {self}: {self.k} in a row fits neither side; use k <= {max(self.rows, self.columns)}")

    @classmethod
    def parse(cls, text: str) -> Board:
        """Read "RxCxK" (rows, columns, marks in a row to win), for example "3x3x3"."""
        match = re.fullmatch(r"([0-9]{1,3})x([0-9]{1,3})x([0-9]{1,3})", text.strip(), flags=re.ASCII)
        if match is None:
            raise ValueError(f"board {text!r} is not ROWSxCOLUMNSxK; write for example 3x3x3 or 4x4x4")
        return cls(*map(int, match.groups()))

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}x{self.k}"

    @property
    def cells(self) -> int:
        return self.rows * self.columns

    @cached_property
    def lines(self) -> tuple[tuple[int, ...], ...]:
        """The winning lines, each as its k cells in ascending order."""
        found = set()
        for row in range(self.rows):
            for column in range(self.columns):
                for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
                    last_row, last_column = row + down * (self.k - 1), column + right * (self.k - 1)
                    if 0 <= last_row < self.rows and 0 <= last_column < self.columns:
                        line = [(row + down * i) * self.columns + column + right * i for i in range(self.k)]
                        found.add(tuple(sorted(line)))
        return tuple(sorted(found))

    @cached_property
    def wins(self) -> np.ndarray:
        """Bit set over sets of cells: bit `m & 63` of word `m >> 6` is 1 when cell set `m` holds a line.

        uint64, 2**cells bits.
        """
        sets = np.arange(1 << self.cells, dtype=np.uint32)
        won = np.zeros(len(sets), dtype=bool)
        for line in self.lines:
            mask = sum(1 << cell for cell in line)
            won |= (sets & mask) == mask
        return pack_bits(won)

    @cached_property
    def symmetries(self) -> np.ndarray:
        """The board's symmetries as cell permutations, int32 (8, cells) for a square board, else (4, cells).

        Row s maps cell i to cell `symmetries[s, i]`; row 0 is the identity.
        """
        grid = np.arange(self.cells).reshape(self.rows, self.columns)
        images = [grid, grid[::-1], grid[:, ::-1], grid[::-1, ::-1]]
        if self.rows == self.columns:
            images += [image.T for image in images]
        return np.array([image.ravel() for image in images], dtype=np.int32)

    @cached_property
    def powers(self) -> np.ndarray:
        """3**i for each cell i, int32 (cells,): a mark of digit d on cell i adds d * powers[i]."""
        return 3 ** np.arange(self.cells, dtype=np.int32)

    def lanes(self, symmetric: bool) -> np.ndarray:
        """`symmetries` (or the identity alone) repeated to 8 rows, int32 (8, cells)."""
        group = self.symmetries if symmetric else self.symmetries[:1]
        return np.ascontiguousarray(np.resize(group, (LANES, self.cells)))

    def encode(self, text: str) -> int:
        """Position of a board written as `cells` characters out of `.XO`, row by row."""
        if len(text) != self.cells or set(text) - set(MARKS):
            raise ValueError(f"{text!r} is not a position of board {self}: {self.cells} characters out of . X O")
        return sum(MARKS.index(mark) * 3**cell for cell, mark in enumerate(text))

    def decode(self, code: int) -> str:
        """Inverse of `encode`."""
        return "".join(MARKS[code // 3**cell % 3] for cell in range(self.cells))

    def decode_all(self, codes: np.ndarray) -> list[str]:
        """`decode` of many positions at once."""
        digits = codes[:, np.newaxis] // self.powers % 3
        letters = np.frombuffer(MARKS.encode(), dtype=np.uint8)[digits]
        return [row.decode() for row in np.ascontiguousarray(letters).view(f"S{self.cells}").ravel().tolist()]

    def masks(self, code: int) -> tuple[int, int]:
        """The sets of X's and O's cells of a position, as bit masks."""
        text = self.decode(code)
        return tuple(sum(1 << cell for cell, mark in enumerate(text) if mark == side) for side in "XO")  # type: ignore[return-value]

    def outcome(self, code: int) -> int | None:
        """+1 if X has won, -1 if O has won, 0 for a draw, None while the game goes on."""
        x, o = self.masks(code)
        for mask, value in ((x, 1), (o, -1)):
            if self.wins[mask >> 6] >> np.uint64(mask & 63) & np.uint64(1):
                return value
        return 0 if x | o == (1 << self.cells) - 1 else None

    def legal_moves(self, code: int) -> list[int]:
        """Empty cells of a position in which the game goes on, else an empty list."""
        if self.outcome(code) is not None:
            return []
        return [cell for cell in range(self.cells) if code // 3**cell % 3 == 0]

    def to_move(self, code: int) -> int:
        """0 when X is to move, 1 when O is."""
        return sum(code // 3**cell % 3 != 0 for cell in range(self.cells)) % 2

    def play(self, code: int, move: int) -> int:
        """The position after the side to move marks cell `move`."""
        return code + (1 + self.to_move(code)) * 3**move

    def canonical(self, code: int) -> tuple[int, int]:
        """The smallest image of a position under the symmetries, and the first symmetry that gives it."""
        digits = np.array([code // 3**cell % 3 for cell in range(self.cells)], dtype=np.int64)
        images = (digits * 3 ** self.symmetries.astype(np.int64)).sum(axis=1)
        best = int(images.argmin())
        return int(images[best]), best


class Graph(NamedTuple):
    """Every reachable position of a board, or one per orbit of its symmetries, ordered by number of marks.

    Moves of node n are edges `first[n]` to `first[n + 1]`, one for each empty cell in ascending order, none
    if the game is over. In an orbit graph several edges of a node may lead to the same child.
    """

    codes: np.ndarray  # int32 (nodes,): the position, ascending within the same number of marks
    marks: np.ndarray  # int8 (nodes,): number of marks on the board; X is to move when it is even
    outcome: np.ndarray  # int8 (nodes,): +1 X has won, -1 O has won, 0 draw or not over
    first: np.ndarray  # int32 (nodes + 1,)
    child: np.ndarray  # int32 (edges,): the node that the edge leads to

    @property
    def nodes(self) -> int:
        return len(self.codes)

    @property
    def edges(self) -> int:
        return len(self.child)

    def count_games(self) -> int:
        """Number of different games (move sequences) from the empty board to an end."""
        ways = [0] * self.nodes
        for node in range(self.nodes - 1, -1, -1):
            children = self.child[self.first[node] : self.first[node + 1]]
            ways[node] = sum(ways[child] for child in children) if len(children) else 1
        return ways[0]


@lru_cache(maxsize=4)
def graph(board: Board, symmetric: bool) -> Graph:
    """The game graph of a board: all reachable positions, or their orbits when `symmetric`."""
    images = 3 ** board.lanes(symmetric).astype(np.int32)
    level = np.zeros(1, dtype=np.int32)
    codes, outcomes, children, degrees = [], [], [], []
    total = 1
    for marks in range(board.cells + 1):
        outcome, over = outcomes_of(level, board.cells, board.wins)
        following = np.empty((np.count_nonzero(~over), board.cells - marks), dtype=np.int32)
        children_of(level[~over], 1 + marks % 2, images, following)
        codes.append(level)
        outcomes.append(outcome)
        degrees.append(np.where(over, 0, board.cells - marks).astype(np.int32))
        level = np.unique(following)
        children.append((np.searchsorted(level, following.ravel()) + total).astype(np.int32))
        total += len(level)
        if not len(level):
            break
    sizes = [len(level) for level in codes]
    return Graph(
        codes=np.concatenate(codes),
        marks=np.repeat(np.arange(len(sizes), dtype=np.int8), sizes),
        outcome=np.concatenate(outcomes),
        first=np.concatenate([[0], np.cumsum(np.concatenate(degrees))]).astype(np.int32),
        child=np.concatenate(children),
    )


def pack_bits(flags: np.ndarray) -> np.ndarray:
    """Booleans as a bit set in uint64 words, the first one in the lowest bit of word 0."""
    padded = np.zeros(-(-len(flags) // 64) * 64, dtype=np.uint8)
    padded[: len(flags)] = flags
    return np.packbits(padded, bitorder="little").view("<u8").astype(np.uint64)


@numba.njit(inline="always")
def is_win(wins, mask):
    """Whether the set of cells `mask` holds a line (`wins` is `Board.wins`)."""
    return (wins[mask >> 6] >> np.uint64(mask & 63)) & np.uint64(1) != np.uint64(0)


@numba.njit(cache=True)
def outcomes_of(codes, cells, wins):
    """Outcome (+1, -1, 0) of each position, and whether its game is over."""
    outcome = np.zeros(len(codes), dtype=np.int8)
    over = np.zeros(len(codes), dtype=np.bool_)
    full = (1 << cells) - 1
    for n in range(len(codes)):
        x = o = 0
        rest = np.int64(codes[n])
        for cell in range(cells):
            digit = rest % 3
            rest //= 3
            if digit == 1:
                x |= 1 << cell
            elif digit == 2:
                o |= 1 << cell
        if is_win(wins, x):
            outcome[n] = 1
        elif is_win(wins, o):
            outcome[n] = -1
        over[n] = outcome[n] != 0 or (x | o) == full
    return outcome, over


@numba.njit(cache=True)
def children_of(codes, digit, images, following):
    """Fill `following[n]` with the smallest image of each position reached from `codes[n]` by one mark."""
    lanes, cells = images.shape
    image = np.empty(lanes, dtype=np.int32)
    for n in range(len(codes)):
        image[:] = 0
        rest = codes[n]
        for cell in range(cells):
            for lane in range(lanes):
                image[lane] += (rest % 3) * images[lane, cell]
            rest //= 3
        rest = codes[n]
        edge = 0
        for cell in range(cells):
            if rest % 3 == 0:
                smallest = image[0] + digit * images[0, cell]
                for lane in range(1, lanes):
                    smallest = min(smallest, image[lane] + digit * images[lane, cell])
                following[n, edge] = smallest
                edge += 1
            rest //= 3

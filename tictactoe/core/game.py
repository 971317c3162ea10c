"""m,n,k games (tic-tac-toe and its larger relatives), exactly.

X moves first, players alternate, k own marks in a row (horizontal, vertical or diagonal) win, a full
board is a draw. Cells are numbered row by row from 0. A position is an integer in base 3: digit i is 0
for an empty cell i, 1 for X, 2 for O; the side to move follows from the number of marks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

MAX_CELLS = 16
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
        lines = set()
        for row in range(self.rows):
            for column in range(self.columns):
                for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
                    last_row, last_column = row + down * (self.k - 1), column + right * (self.k - 1)
                    if 0 <= last_row < self.rows and 0 <= last_column < self.columns:
                        line = [(row + down * i) * self.columns + column + right * i for i in range(self.k)]
                        lines.add(tuple(sorted(line)))
        return tuple(sorted(lines))

    @cached_property
    def wins(self) -> np.ndarray:
        """Whether a set of cells holds a line, bool (2**cells,): item m is about the set whose bit mask is m."""
        sets = np.arange(1 << self.cells, dtype=np.uint32)
        wins = np.zeros(len(sets), dtype=np.bool_)
        for line in self.lines:
            mask = sum(1 << cell for cell in line)
            wins |= (sets & mask) == mask
        return wins

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

    def maps(self, symmetric: bool) -> np.ndarray:
        """`symmetries`, or the identity alone: what makes positions one, int32 (maps, cells)."""
        return self.symmetries if symmetric else self.symmetries[:1]

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
            if self.wins[mask]:
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

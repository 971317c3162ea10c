"""The greedy policy of a table: every position it can meet from either seat, and what it plays there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np

from tictactoe import files
from tictactoe.core.evaluation import exploitability, loss_vs_random
from tictactoe.core.game import LANES, MARKS, Board, graph, outcomes_of
from tictactoe.core.learner import QLearner
from tictactoe.core.table import entry_of

SMALL_BOARD = 10_000
"""Up to this many positions (orbits of them) a policy lists all its ties."""


@dataclass(frozen=True)
class Policy:
    """A board and, for each position with the policy to move that can arise when it plays X or plays O against
    any opponent, its moves (0-based cells, equally good in its eyes).
    """

    board: Board
    moves: dict[str, list[int]]

    @classmethod
    def from_learner(cls, learner: QLearner) -> Policy:
        """The learner's greedy policy, ties included on small boards.

        On large ones ties are settled, always for the same move up to symmetry, to keep the file small.
        """
        board = learner.board
        moves: dict[str, list[int]] = {}
        cells_of: dict[int, list[int]] = {}
        for seat in (0, 1):
            level = np.zeros(1, dtype=np.int32)
            for marks in range(board.cells):
                _, over = outcomes_of(level, board.cells, board.wins)
                level = level[~over]
                if marks % 2 == seat:
                    playable, _ = greedy_moves(learner, level, seat)
                    for text, mask in zip(board.decode_all(level), playable.tolist(), strict=True):
                        if mask not in cells_of:
                            cells_of[mask] = [cell for cell in range(board.cells) if mask >> cell & 1]
                        moves[text] = cells_of[mask]
                else:
                    playable = np.full(len(level), (1 << board.cells) - 1)
                following = []
                for cell in range(board.cells):
                    chosen = level[(playable >> cell & 1 == 1) & (level // 3**cell % 3 == 0)]
                    following.append(chosen + (1 + marks % 2) * 3**cell)
                level = np.unique(np.concatenate(following)).astype(np.int32)
        return cls(board, moves)

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Read a policy.json. Raises ValueError, saying what is wrong, when it is not one."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            board = Board.parse(content["board"])
            moves = content["moves"]
            for text, cells in moves.items():
                if len(text) != board.cells or set(text) - set(MARKS):
                    raise ValueError(f"{text!r} is not a position of board {board}")
                if not cells or any(cell < 0 or text[cell] != "." for cell in cells):
                    raise ValueError(f"{text}: {cells} are not moves of this position")
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not a policy file: {error}") from error
        return cls(board, moves)

    def save(self, path: Path) -> None:
        """Write policy.json, whole or not at all."""
        files.write(path, self.to_json())

    def to_json(self) -> str:
        """The content of policy.json: keys sorted, so that equal policies are equal texts."""
        # By hand: a large board has a million positions, and json.dumps takes ten seconds for them.
        listed = {cells: json.dumps(cells, separators=(",", ":")) for cells in {tuple(cells) for cells in self.moves.values()}}
        moves = ",".join(f'"{text}":{listed[tuple(cells)]}' for text, cells in sorted(self.moves.items()))
        return f'{{"board":"{self.board}","moves":{{{moves}}}}}'

    def choose(self, position: str, generator: np.random.Generator) -> int:
        """One of the policy's moves in a position. Raises KeyError where it was never meant to be."""
        return int(generator.choice(self.moves[position]))

    def check(self) -> tuple[float, float]:
        """(exploitability, loss against random) of the moves as listed; needs the graph of all positions."""
        game = graph(self.board, False)
        greedy = np.ones(game.edges, dtype=np.bool_)
        nodes = {int(code): node for node, code in enumerate(game.codes)}
        for text, cells in self.moves.items():
            node = nodes[self.board.encode(text)]
            empty = [cell for cell, mark in enumerate(text) if mark == "."]
            greedy[game.first[node] : game.first[node + 1]] = [cell in cells for cell in empty]
        return exploitability(self.board, game, greedy), loss_vs_random(game, greedy)


def settles_ties(board: Board) -> bool:
    """Whether policies of this board list one move for a position instead of all tied ones."""
    return graph(board, True).nodes > SMALL_BOARD


def greedy_moves(learner: QLearner, positions: np.ndarray, mover: int) -> tuple[np.ndarray, np.ndarray]:
    """What the policy of `from_learner` plays in positions with `mover` (0: X, 1: O) to move, and what it thinks of it.

    The cells of each position as a bit mask (int64), and the learned value of those moves (float64).
    """
    e = learner.entries
    return _greedy_cells(
        positions, mover, settles_ties(learner.board), learner.table, learner.board.lanes(learner.hyperparameters.symmetry),
        e.step, e.direct, e.lookup, e.words, e.ranks, e.scale, e.weight,
    )  # fmt: skip


@numba.njit(cache=True)
def _greedy_cells(positions, mover, settled, table, lanes, step, direct, lookup, words, ranks, scale, weight):
    """Bit mask of the greedy cells of each position and their value; when `settled`, of the one cell whose image
    in the orbit's smallest position comes first.
    """
    result = np.zeros(len(positions), dtype=np.int64)
    values = np.empty(len(positions))
    codes = np.empty(LANES, dtype=np.int64)
    cells = step.shape[1]
    for n in range(len(positions)):
        codes[:] = 0
        rest = positions[n]
        for cell in range(cells):
            if rest % 3:
                for lane in range(LANES):
                    codes[lane] += step[rest % 3 - 1, cell, lane]
            rest //= 3
        image = lanes[np.argmin(codes)]
        best = -np.inf
        chosen = 0
        rest = positions[n]
        for cell in range(cells):
            if rest % 3 == 0:
                value = table[entry_of(direct, lookup, words, ranks, scale, weight, codes, mover, cell)]
                if value > best:
                    best = value
                    result[n] = 1 << cell
                    chosen = cell
                elif value == best:
                    if not settled:
                        result[n] |= 1 << cell
                    elif image[cell] < image[chosen]:
                        result[n] = 1 << cell
                        chosen = cell
            rest //= 3
        values[n] = best
    return result, values

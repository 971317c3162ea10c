"""The greedy policy of a table: every position it can meet from either seat, and what it plays there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tictactoe import files
from tictactoe.core.game import MARKS, Board
from tictactoe.core.graph import canonical, graph
from tictactoe.core.learner import QLearner

SMALL_BOARD = 10_000
"""Up to this many positions (orbits of them) a policy lists all its ties."""


@dataclass(frozen=True)
class Policy:
    """What a policy plays on a board.

    `moves` has each position, with the policy to move, that can arise when it plays X or plays O against any opponent, and
    its moves there: 0-based cells, equally good in its eyes.
    """

    board: Board
    moves: dict[str, list[int]]

    @classmethod
    def from_learner(cls, learner: QLearner) -> Policy:
        """The learner's greedy policy, ties included on small boards.

        On large ones ties are settled, always for the same move up to symmetry, to keep the file small.
        """
        board, met = learner.board, decisions(learner)
        cells = {mask: [cell for cell in range(board.cells) if mask >> cell & 1] for mask in np.unique(met.moves).tolist()}
        texts = board.decode_all(met.positions)
        return cls(board, {text: cells[mask] for text, mask in zip(texts, met.moves.tolist(), strict=True)})

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


class Decisions(NamedTuple):
    """What a policy does: one item a position."""

    positions: np.ndarray  # int32 (n,), ascending
    moves: np.ndarray  # uint16 (n,): its cells there, as a bit mask
    values: np.ndarray  # float64 (n,): what the table says of those moves, to the policy


def settles_ties(board: Board) -> bool:
    """Whether policies of this board list one move for a position instead of all tied ones."""
    return graph(board, True).nodes > SMALL_BOARD


def decisions(learner: QLearner) -> Decisions:
    """What the greedy policy does in each position where it comes to move, from either seat and against anybody.

    All tied moves on small boards. On others the one that is the lowest cell of the orbit's smallest position.
    """
    board, settled = learner.board, settles_ties(learner.board)
    parts = []
    for seat in (0, 1):
        level = np.zeros(1, dtype=np.int32)  # positions with so many marks that the policy can meet
        for marks in range(board.cells):
            level, which, values = _move_values(learner, level, marks)
            if marks % 2 == seat:
                best = values.max(axis=1)
                playable = values == best[:, np.newaxis]
                if settled:
                    playable[:] = np.arange(board.cells) == playable.argmax(axis=1)[:, np.newaxis]
                playable = _moved_back(learner, playable, which)
                parts.append((level, _bit_masks(playable), best))
            else:
                playable = level[:, np.newaxis] // board.powers % 3 == 0
            level = np.unique((level[:, np.newaxis] + (1 + marks % 2) * board.powers)[playable])
    positions, moves, best = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(positions)
    return Decisions(positions[order], moves[order], best[order])


def orbits(learner: QLearner, met: Decisions) -> Decisions:
    """`met` for the smallest position of each orbit only; the same where the table is not symmetric.

    In every other position of the orbit the policy plays what the first symmetry that gives the smallest maps there.
    """
    maps = learner.board.maps(learner.hyperparameters.symmetry)
    smallest, which = canonical(met.positions, maps)
    positions, first = np.unique(smallest, return_index=True)
    playable = np.zeros((len(first), learner.board.cells), dtype=np.bool_)
    cells = met.moves[first, np.newaxis] >> np.arange(learner.board.cells) & 1 == 1
    np.put_along_axis(playable, maps[which[first]], cells, axis=1)
    return Decisions(positions, _bit_masks(playable), met.values[first])


def move_values(learner: QLearner, position: int) -> dict[int, float]:
    """The table's value of each legal move, to the side that makes it."""
    board = learner.board
    marks = sum(mark != "." for mark in board.decode(position))
    _, which, values = _move_values(learner, np.array([position], dtype=np.int32), marks)
    values = _moved_back(learner, values, which)
    return {move: float(values[0, move]) for move in board.legal_moves(position)}


def _move_values(learner: QLearner, positions: np.ndarray, marks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of positions with so many marks those that are not over, int32 (n,), and what the table says of moves there.

    Second the map that takes each one to the smallest of its orbit, (n,), and third the value of each cell of that,
    float64 (n, cells), -inf where it is not empty.
    """
    game, board = learner.moves.graph, learner.board
    smallest, which = canonical(positions, board.maps(learner.hyperparameters.symmetry))
    ongoing, places = game.find(smallest, marks)
    entries = game.rows(learner.moves.entry, marks)[places]
    values = np.full((len(places), board.cells), -np.inf)
    values[smallest[ongoing, np.newaxis] // board.powers % 3 == 0] = learner.table[entries].ravel()
    return positions[ongoing], which[ongoing], values


def _moved_back(learner: QLearner, by_cell: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Something (n, cells) about the cells of orbits' smallest positions, by the cells that the maps `which` took there."""
    maps = learner.board.maps(learner.hyperparameters.symmetry)
    return np.take_along_axis(by_cell, maps[which], axis=1)


def _bit_masks(cells: np.ndarray) -> np.ndarray:
    """Sets of cells, bool (n, cells), as uint16 (n,) with cell i in bit i."""
    return (cells * (1 << np.arange(cells.shape[1], dtype=np.uint16))).sum(axis=1, dtype=np.uint16)

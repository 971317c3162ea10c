"""The winner's policy in few bytes, for the board that a report lets people play on.

The page needs, for each position in which the policy is to move, its moves and what it thinks of them. Where the
table is shared among the board's symmetries, one position of each orbit is enough: the policy plays the
image of the same move in all of them, and the page maps it back in the same order (`Board.symmetries`).
"""

from __future__ import annotations

import base64
import gzip
from typing import Any, NamedTuple

import numpy as np

from tictactoe.core.game import children_of, outcomes_of
from tictactoe.core.learner import QLearner
from tictactoe.core.policy import greedy_moves


class Decisions(NamedTuple):
    """What a policy does: one entry a position (or orbit), ascending by code."""

    codes: np.ndarray  # int32: the position, as `Board.encode` gives it; the smallest one of its orbit
    moves: np.ndarray  # uint16: its moves as a bit mask of cells
    values: np.ndarray  # float64: the learned value of those moves, to the policy


def decisions(learner: QLearner) -> Decisions:
    """The decisions behind `Policy.from_learner`: where it can come to move from either seat, against anybody."""
    board = learner.board
    images = 3 ** board.lanes(learner.hyperparameters.symmetry).astype(np.int32)
    found = []
    for seat in (0, 1):
        level = np.zeros(1, dtype=np.int32)
        for marks in range(board.cells):
            _, over = outcomes_of(level, board.cells, board.wins)
            level = level[~over]
            following = np.empty((len(level), board.cells - marks), dtype=np.int32)
            children_of(level, 1 + marks % 2, images, following)
            if marks % 2 == seat:
                cells, values = greedy_moves(learner, level, seat)
                found.append((level, cells.astype(np.uint16), values))
                empty = level[:, np.newaxis] // board.powers % 3 == 0
                chosen = (cells[:, np.newaxis] >> np.arange(board.cells) & 1 == 1)[empty]
                following = following[chosen.reshape(following.shape)]
            level = np.unique(following)
    codes, moves, values = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(codes)
    return Decisions(codes[order], moves[order], values[order])


def embed(learner: QLearner) -> dict[str, Any]:
    """What the page's board is made from, as JSON types.

    `data` is Base64 of gzip of four runs of bytes, each with `count` items: the steps between ascending position
    codes (LEB128), the low and the high bytes of the bit masks of cells, and the values in units of `unit` (int8).
    """
    board, found = learner.board, decisions(learner)
    symmetries = board.symmetries if learner.hyperparameters.symmetry else board.symmetries[:1]
    unit = max(float(np.abs(found.values).max()), 1.0) / 127
    packed = b"".join(
        (
            _leb128(np.diff(found.codes, prepend=0)),
            (found.moves & 0xFF).astype(np.uint8).tobytes(),
            (found.moves >> 8).astype(np.uint8).tobytes(),
            np.rint(found.values / unit).astype(np.int8).tobytes(),
        )
    )
    return {
        "rows": board.rows,
        "columns": board.columns,
        "k": board.k,
        "lines": [list(line) for line in board.lines],
        "symmetries": symmetries.tolist(),
        "count": len(found.codes),
        "unit": unit,
        "data": base64.b64encode(gzip.compress(packed, mtime=0)).decode(),
    }


def _leb128(numbers: np.ndarray) -> bytes:
    """Non-negative numbers below 2**28, each in as few bytes of 7 bits as it takes, lowest first."""
    shifts = 7 * np.arange(4)
    parts = numbers[:, np.newaxis] >> shifts & 0x7F
    more = numbers[:, np.newaxis] >> (shifts + 7) > 0
    needed = np.hstack([np.ones((len(numbers), 1), dtype=bool), more[:, :-1]])
    return (parts | more << 7).astype(np.uint8)[needed].tobytes()

"""The winner's policy in few bytes, for the board of the report that people play on.

For each position in which the policy is to move, the page needs its moves and what it thinks of them. Where the table is
shared among the board's symmetries, one position of each orbit is enough: in all others the policy plays the image of the
same move. The page maps it back by the first symmetry that leads to the smallest position, as `Board.symmetries` has them.
"""

from __future__ import annotations

import base64
import gzip
import json
from typing import NamedTuple

import numpy as np

from tictactoe.core.game import children_of, outcomes_of
from tictactoe.core.learner import QLearner
from tictactoe.core.policy import greedy_moves

DECIMALS = 2
"""Of values."""


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


def embed(learner: QLearner) -> dict[str, object]:
    """What the page's board is made from, as JSON types.

    `data` is Base64 of gzip of JSON of three lists, with one item for each position (or orbit), ascending by its code:
    `codes`, each less the one before it; `moves`, bit masks of cells; `values`, rounded to what the page shows of them.
    """
    board, policy = learner.board, decisions(learner)
    symmetries = board.symmetries if learner.hyperparameters.symmetry else board.symmetries[:1]
    lists = {
        "codes": np.diff(policy.codes, prepend=0).tolist(),
        "moves": policy.moves.tolist(),
        "values": policy.values.round(DECIMALS).tolist(),
    }
    text = json.dumps(lists, separators=(",", ":"))
    return {
        "rows": board.rows,
        "columns": board.columns,
        "lines": [list(line) for line in board.lines],
        "symmetries": symmetries.tolist(),
        "data": base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode(),
    }

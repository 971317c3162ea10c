"""The winner's policy in few bytes, for the board of the report that people play on.

For each position in which the policy is to move, the page needs its moves and what it thinks of them. Where the table is
shared among the board's symmetries, one position of each orbit is enough: in all others the policy plays the image of the
same move. The page maps it back by the first symmetry that leads to the smallest position, as `Board.symmetries` has them.
"""

from __future__ import annotations

import base64
import gzip
import json

import numpy as np

from tictactoe.core.learner import QLearner
from tictactoe.core.policy import decisions, orbits

DECIMALS = 2
"""Of values."""


def embed(learner: QLearner) -> dict[str, object]:
    """What the page's board is made from, as JSON types.

    `data` is Base64 of gzip of JSON of three lists, with one item for each position (or orbit), ascending by its code:
    `codes`, each less the one before it; `moves`, bit masks of cells; `values`, rounded to what the page shows of them.
    """
    board, policy = learner.board, orbits(learner, decisions(learner))
    symmetries = board.symmetries if learner.hyperparameters.symmetry else board.symmetries[:1]
    lists = {
        "codes": np.diff(policy.positions, prepend=0).tolist(),
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

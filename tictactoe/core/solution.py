"""What a board is worth when played best: its value, and the most that can be won without risking it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tictactoe.core.game import Board
from tictactoe.core.graph import graph


@lru_cache(maxsize=8)
def game_value(board: Board) -> int:
    """Outcome for X when both play best: +1, 0 or -1."""
    game = graph(board, True)
    value = game.outcome.copy()  # of each node, for X
    for marks in range(board.cells - 1, -1, -1):
        best = np.minimum if marks % 2 else np.maximum
        value[game.ongoing(marks)] = best.reduce(value[game.rows(game.child, marks)], axis=1)
    return int(value[0])


def best_wins(board: Board) -> tuple[float, float]:
    """Highest probabilities of beating a uniformly random opponent, as X and as O, without risk.

    Without risk is play that can never end worse than the game's value for that seat (on 3x3x3: never in a loss). Exact up to
    rounding, by backward induction over the orbits of all positions.
    """
    game, root = graph(board, True), game_value(board)
    value = game.outcome.copy()  # of each node, for X, when both play best from there
    wins = np.stack([game.outcome == 1, game.outcome == -1]).astype(float)  # of each node, by seat
    for marks in range(board.cells - 1, -1, -1):
        nodes, children = game.ongoing(marks), game.rows(game.child, marks)
        mover, after = marks % 2, value[children]
        value[nodes] = after.min(axis=1) if mover else after.max(axis=1)
        # Where every move is a risk the seat never gets, and the -1 with it.
        safe = (after <= root) if mover else (after >= root)
        wins[mover, nodes] = np.where(safe, wins[mover, children], -1.0).max(axis=1)
        wins[1 - mover, nodes] = wins[1 - mover, children].mean(axis=1)
    return float(wins[0, 0]), float(wins[1, 0])

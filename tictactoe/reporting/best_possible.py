"""The most that anybody can win against a random opponent without risking anything: the ruler for a winner."""

from __future__ import annotations

import numpy as np

from tictactoe.evaluation import game_value
from tictactoe.game import Board, graph


def best_wins(board: Board) -> tuple[float, float]:
    """Highest probability of beating a uniformly random opponent, as X and as O, by play that never risks worse
    than the game's value for that seat (on 3x3x3: that never risks a loss).

    Exact up to rounding, by backward induction over the orbits of all positions.
    """
    game, root = graph(board, True), game_value(board)
    value = game.outcome.copy()  # of each node, for X, when both play best from there
    wins = np.stack([game.outcome == 1, game.outcome == -1]).astype(float)  # of each node, by seat
    bounds = np.searchsorted(game.marks, np.arange(board.cells + 1))
    for marks in range(board.cells - 1, -1, -1):
        nodes = np.arange(bounds[marks], bounds[marks + 1])
        nodes = nodes[game.first[nodes] < game.first[nodes + 1]]
        if not len(nodes):
            continue
        edges = slice(game.first[nodes[0]], game.first[nodes[-1] + 1])
        children, starts = game.child[edges], game.first[nodes] - edges.start
        mover = marks % 2
        value[nodes] = (np.minimum if mover else np.maximum).reduceat(value[children], starts)
        # Where every move is a risk the seat never gets, and the -1 with it.
        safe = (value[children] <= root) if mover else (value[children] >= root)
        wins[mover, nodes] = np.maximum.reduceat(np.where(safe, wins[mover, children], -1.0), starts)
        wins[1 - mover, nodes] = np.add.reduceat(wins[1 - mover, children], starts) / (board.cells - marks)
    return float(wins[0, 0]), float(wins[1, 0])

"""What a board is worth when played best: its value, and the most that can be won without risking it."""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np

from tictactoe.core.game import Board, graph


@lru_cache(maxsize=8)
def game_value(board: Board) -> int:
    """Outcome for X when both play best: +1, 0 or -1."""
    game = graph(board, True)
    return int(_solve(game.marks, game.outcome, game.first, game.child))


def best_wins(board: Board) -> tuple[float, float]:
    """Highest probabilities of beating a uniformly random opponent, as X and as O, without risk.

    Without risk is play that can never end worse than the game's value for that seat (on 3x3x3: never in a loss). Exact up to
    rounding, by backward induction over the orbits of all positions.
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


@numba.njit(cache=True)
def _solve(marks, outcome, first, child):
    """Retrograde solution: the value of the first node, for X."""
    value = outcome.copy()
    for node in range(len(marks) - 1, -1, -1):
        if first[node] == first[node + 1]:
            continue
        x_moves = marks[node] & 1 == 0
        best = -1 if x_moves else 1
        for edge in range(first[node], first[node + 1]):
            best = max(best, value[child[edge]]) if x_moves else min(best, value[child[edge]])
        value[node] = best
    return value[0]

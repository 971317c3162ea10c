"""What policies are worth, worked out beside the package: of a policy.json, and in OpenSpiel's sense."""

from __future__ import annotations

import numpy as np

from tictactoe.core.evaluation import check_moves
from tictactoe.core.graph import Graph, graph
from tictactoe.core.policy import Policy


def worth(policy: Policy) -> tuple[float, float]:
    """(exploitability, loss against random) of a policy's moves as they are listed."""
    board = policy.board
    game = graph(board, False)
    greedy = np.ones(game.edges, dtype=np.bool_)
    for marks in range(board.cells):
        texts = [text for text in policy.moves if text.count(".") == board.cells - marks]
        _, places = game.find(np.array([board.encode(text) for text in texts], dtype=np.int32), marks)
        rows = game.rows(greedy, marks)
        for place, text in zip(places, texts, strict=True):
            rows[place] = [cell in policy.moves[text] for cell, mark in enumerate(text) if mark == "."]
    found = check_moves(board, game, greedy)
    return found.exploitability, found.loss_vs_random


def half_nash_conv(game: Graph, greedy: np.ndarray) -> float:
    """What a best response gains on average against the policy that mixes the moves `greedy` uniformly.

    This is `nash_conv / 2` of OpenSpiel (Lanctot et al., 2019, arXiv:1908.09453), which calls it exploitability: weaker than
    ours, since ties are not resolved against the policy.
    """
    expected = np.stack([game.outcome, -game.outcome], axis=1).astype(float)  # of each node, by seat of the policy
    for marks in reversed(range(game.cells)):
        after, taken = expected[game.rows(game.child, marks)], game.rows(greedy, marks)
        mover = marks % 2
        expected[game.ongoing(marks), mover] = (after[..., mover] * taken).sum(axis=1) / taken.sum(axis=1)
        expected[game.ongoing(marks), 1 - mover] = after[..., 1 - mover].min(axis=1)
    return float(-expected[0].sum() / 2)

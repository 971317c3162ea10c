"""Compile every kernel once, into the folder NUMBA_CACHE_DIR: run while an image is built."""

from __future__ import annotations

from tictactoe.core.evaluation import check_grid, evaluate, train_and_check
from tictactoe.core.game import Board
from tictactoe.core.graph import move_graph
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.core.policy import Policy


def main() -> None:
    """Touch what a search calls; argument types, and so compiled code, are the same for all boards."""
    move_graph(Board(), "state-action", True)
    learner = QLearner(Board(), Hyperparameters(), 0)
    learner.train(1)
    train_and_check(learner, [2], None)
    evaluate(learner, settled=True)
    check_grid(learner.board, 100)
    Policy.from_learner(learner)


if __name__ == "__main__":
    main()

"""What a table is worth, exactly: dynamic programming over every position, no sampling.

A table's greedy policy takes, in each position, any move whose value equals the best. In the strict sense
(optimal play, exploitability) ties are resolved against the policy; against the random opponent they are
mixed uniformly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tictactoe.core.compiled import kernel
from tictactoe.core.game import Board
from tictactoe.core.graph import Graph, graph
from tictactoe.core.learner import QLearner
from tictactoe.core.solution import game_value

FINE_GRID = 1_000
"""Up to this many positions (orbits of them) learners are checked from 100 games on."""


@dataclass(frozen=True)
class Odds:
    """Probabilities of winning, drawing and losing."""

    win: float
    draw: float
    loss: float


@dataclass(frozen=True)
class Check:
    """What training is checked for."""

    exploitability: float
    """Mean over the seats of (game value for the seat - worst outcome the policy can be held to), in [0, 2]."""
    loss_vs_random: float
    """Probability of losing to a uniformly random opponent, mean of both seats."""

    @property
    def optimal(self) -> bool:
        """Optimal play in the strict sense."""
        return self.exploitability == 0.0


@dataclass(frozen=True)
class Evaluation(Check):
    """A check, and the odds against a uniformly random opponent from each seat."""

    as_x: Odds
    as_o: Odds


def check(learner: QLearner) -> Check:
    """The check made during training, of the learner's greedy policy as it stands."""
    game, greedy = learner.moves.graph, greedy_edges(learner)
    return Check(exploitability(learner.board, game, greedy), loss_vs_random(game, greedy))


def evaluate(learner: QLearner, settled: bool = False) -> Evaluation:
    """Check and odds of the learner's greedy policy; when `settled`, with the first of tied moves always taken."""
    game, greedy = learner.moves.graph, greedy_edges(learner)
    if settled:
        greedy = first_only(game, greedy)
    wins, draws, losses = (
        tuple(map(float, _expected(game, greedy, np.array(utility))))  # kernels that are not compiled return NumPy's numbers
        for utility in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    )
    return Evaluation(
        exploitability(learner.board, game, greedy),
        (losses[0] + losses[1]) / 2,
        Odds(wins[0], draws[0], losses[0]),
        Odds(wins[1], draws[1], losses[1]),
    )


def greedy_edges(learner: QLearner) -> np.ndarray:
    """Whether the move of each edge of the learner's graph is greedy, bool (edges,)."""
    return _greedy(learner.moves, learner.table)


def first_only(game: Graph, greedy: np.ndarray) -> np.ndarray:
    """`greedy` with the first greedy edge of each node only."""
    settled = np.zeros_like(greedy)
    for marks in range(game.cells):
        rows = game.rows(greedy, marks)
        game.rows(settled, marks)[np.arange(len(rows)), rows.argmax(axis=1)] = True
    return settled


def exploitability(board: Board, game: Graph, greedy: np.ndarray) -> float:
    """Exploitability, in [0, 2], of the policy that plays any of the moves `greedy` (bool, by edge)."""
    worst_x, worst_o = _guaranteed(game, greedy)
    value = game_value(board)
    return float((value - worst_x) + (-value - worst_o)) / 2


def loss_vs_random(game: Graph, greedy: np.ndarray) -> float:
    """Probability of losing to a uniformly random opponent, mean of both seats, ties mixed uniformly."""
    as_x, as_o = _expected(game, greedy, np.array((0.0, 0.0, 1.0)))
    return float(as_x + as_o) / 2


def check_grid(board: Board, budget: int) -> list[int]:
    """Numbers of games after which a learner is checked: by factors of 1.25, ending with `budget`.

    The first is 100 games on small boards. On others, where a check costs as much as many games, it is a third of the
    number of positions, which keeps checks below a fifth of the training (where that is 15 times as long, on boards of
    a few thousand positions). Raises ValueError for a budget below the first check.
    """
    positions = graph(board, True).nodes
    first = 100 if positions <= FINE_GRID else positions // 3
    if budget < first:
        raise ValueError(f"{budget:,} games end before the first check on {board}, after {first:,} games")
    grid, games = [], float(first)
    while games < budget:
        grid.append(int(games))
        games *= 1.25
    return [*grid, budget]


@kernel
def _greedy(moves, table):
    """Whether each edge's entry is the best of its node's, bool (edges,); `moves` is a `MoveGraph`, `table` float64."""
    entry, game = moves.entry, moves.graph
    cells = len(game.first_over) - 1
    greedy = np.empty(len(entry), dtype=np.bool_)
    for marks in range(cells):
        degree = np.uint64(cells - marks)
        begin = game.first_edge[marks]
        for _ in range(game.first_node[marks], game.first_over[marks]):
            best = -np.inf
            for edge in range(begin, begin + degree):
                best = max(best, table[entry[edge]])
            for edge in range(begin, begin + degree):
                greedy[edge] = table[entry[edge]] == best
            begin += degree
    return greedy


@kernel
def _guaranteed(game, greedy):
    """Worst outcome, each from its own side, that the policy can be held to as X and as O; `greedy` is bool (edges,)."""
    outcome, child = game.outcome, game.child
    cells = len(game.first_over) - 1
    worst = np.empty((len(outcome), 2), dtype=np.int8)  # by seat of the policy
    for marks in range(cells, -1, -1):
        for node in range(game.first_over[marks], game.first_node[marks + 1]):
            worst[node, 0] = outcome[node]
            worst[node, 1] = -outcome[node]
        mover, other = np.uint64(marks % 2), np.uint64(1 - marks % 2)
        degree = np.uint64(cells - marks)
        begin = game.first_edge[marks]
        for node in range(game.first_node[marks], game.first_over[marks]):
            as_mover = as_other = np.int8(1)
            for edge in range(begin, begin + degree):
                if greedy[edge]:
                    as_mover = min(as_mover, worst[child[edge], mover])
                as_other = min(as_other, worst[child[edge], other])
            worst[node, mover] = as_mover
            worst[node, other] = as_other
            begin += degree
    return worst[0, 0], worst[0, 1]


@kernel
def _expected(game, greedy, utility):
    """Expected utility of the policy as X and as O, its greedy moves, bool (edges,), mixed uniformly.

    `utility` is that of a win, a draw and a loss, float64 (3,). The opponent takes any move at random.
    """
    outcome, child = game.outcome, game.child
    cells = len(game.first_over) - 1
    expected = np.empty((len(outcome), 2))  # by seat of the policy
    for marks in range(cells, -1, -1):
        for node in range(game.first_over[marks], game.first_node[marks + 1]):
            expected[node, 0] = utility[1 - outcome[node]]
            expected[node, 1] = utility[1 + outcome[node]]
        mover, other = np.uint64(marks % 2), np.uint64(1 - marks % 2)
        degree = np.uint64(cells - marks)
        begin = game.first_edge[marks]
        for node in range(game.first_node[marks], game.first_over[marks]):
            as_mover = as_other = 0.0
            ties = 0
            for edge in range(begin, begin + degree):
                if greedy[edge]:
                    as_mover += expected[child[edge], mover]
                    ties += 1
                as_other += expected[child[edge], other]
            expected[node, mover] = as_mover / ties
            expected[node, other] = as_other / (cells - marks)
            begin += degree
    return expected[0, 0], expected[0, 1]

"""What a table is worth, exactly: dynamic programming over every position, no sampling.

A table's greedy policy takes, in each position, any move whose value equals the best. In the strict sense
(optimal play, exploitability) ties are resolved against the policy; against the random opponent they are
mixed uniformly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numba
import numpy as np

from tictactoe.core.game import LANES, Board, Graph, graph
from tictactoe.core.learner import QLearner
from tictactoe.core.solution import game_value
from tictactoe.core.table import entries, entry_of

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


class MoveGraph(NamedTuple):
    """A game graph whose edges know the table entry that their move belongs to."""

    graph: Graph
    entry: np.ndarray  # int32: entry of each edge, or of each node as an afterstate when `by_child`
    by_child: bool


def check(learner: QLearner) -> Check:
    """The check made during training, of the learner's greedy policy as it stands."""
    moves, greedy = greedy_edges(learner)
    return Check(exploitability(learner.board, moves.graph, greedy), loss_vs_random(moves.graph, greedy))


def evaluate(learner: QLearner, settled: bool = False) -> Evaluation:
    """Check and odds of the learner's greedy policy; when `settled`, with the first of tied moves always taken."""
    moves, greedy = greedy_edges(learner)
    if settled:
        greedy = first_only(moves.graph, greedy)
    wins, draws, losses = (
        _expected(*_shape(moves.graph), greedy, np.array(utility), False)
        for utility in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    )
    return Evaluation(
        exploitability(learner.board, moves.graph, greedy),
        (losses[0] + losses[1]) / 2,
        Odds(wins[0], draws[0], losses[0]),
        Odds(wins[1], draws[1], losses[1]),
    )


def greedy_edges(learner: QLearner) -> tuple[MoveGraph, np.ndarray]:
    """The graph that fits the learner's table and, for each of its edges, whether its move is greedy (bool)."""
    moves = move_graph(learner.board, learner.hyperparameters.table, learner.hyperparameters.symmetry)
    return moves, _greedy(moves.graph.first, moves.graph.child, moves.entry, moves.by_child, learner.table)


def first_only(game: Graph, greedy: np.ndarray) -> np.ndarray:
    """`greedy` with only the first greedy edge of each node left."""
    return _first_only(game.first, greedy)


def exploitability(board: Board, game: Graph, greedy: np.ndarray) -> float:
    """Exploitability, in [0, 2], of the policy that plays any of the moves `greedy` (bool, by edge)."""
    worst_x, worst_o = _guaranteed(*_shape(game), greedy)
    value = game_value(board)
    return ((value - worst_x) + (-value - worst_o)) / 2


def loss_vs_random(game: Graph, greedy: np.ndarray) -> float:
    """Probability of losing to a uniformly random opponent, mean of both seats, ties mixed uniformly."""
    as_x, as_o = _expected(*_shape(game), greedy, np.array((0.0, 0.0, 1.0)), False)
    return (as_x + as_o) / 2


def half_nash_conv(game: Graph, greedy: np.ndarray) -> float:
    """What a best response gains on average against the policy that mixes the moves `greedy` uniformly.

    This is `nash_conv / 2` of OpenSpiel (Lanctot et al., 2019, arXiv:1908.09453), which calls it
    exploitability: weaker than ours, since ties are not resolved against the policy.
    """
    as_x, as_o = _expected(*_shape(game), greedy, np.array((1.0, 0.0, -1.0)), True)
    return -(as_x + as_o) / 2


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


@lru_cache(maxsize=4)
def move_graph(board: Board, table: str, symmetric: bool) -> MoveGraph:
    """The `MoveGraph` of a board for one kind of table: orbits of positions when it is `symmetric`."""
    game = graph(board, symmetric)
    e = entries(board, table, symmetric)
    by_child = table == "afterstate"
    entry = np.zeros(game.nodes if by_child else game.edges, dtype=np.int32)
    _fill_entries(entry, by_child, *_shape(game), game.codes, e.step, e.direct, e.lookup, e.words, e.ranks, e.scale, e.weight)
    return MoveGraph(game, entry, by_child)


def _shape(game: Graph) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return game.marks, game.outcome, game.first, game.child


@numba.njit(cache=True)
def _fill_entries(entry, by_child, marks, outcome, first, child, all_codes, step, direct, lookup, words, ranks, scale, weight):
    codes = np.empty(LANES, dtype=np.int64)
    cells = step.shape[1]
    for node in range(len(marks)):
        if first[node] == first[node + 1]:
            continue
        codes[:] = 0
        rest = all_codes[node]
        for cell in range(cells):
            if rest % 3:
                for lane in range(LANES):
                    codes[lane] += step[rest % 3 - 1, cell, lane]
            rest //= 3
        rest = all_codes[node]
        edge = first[node]
        mover = marks[node] & 1
        for cell in range(cells):
            if rest % 3 == 0:
                at = child[edge] if by_child else edge
                entry[at] = entry_of(direct, lookup, words, ranks, scale, weight, codes, mover, cell)
                edge += 1
            rest //= 3


@numba.njit(cache=True, nogil=True)
def _greedy(first, child, entry, by_child, table):
    greedy = np.empty(len(child), dtype=np.bool_)
    for node in range(len(first) - 1):
        best = -np.inf
        for edge in range(first[node], first[node + 1]):
            best = max(best, table[entry[child[edge] if by_child else edge]])
        for edge in range(first[node], first[node + 1]):
            greedy[edge] = table[entry[child[edge] if by_child else edge]] == best
    return greedy


@numba.njit(cache=True)
def _first_only(first, greedy):
    settled = np.zeros_like(greedy)
    for node in range(len(first) - 1):
        for edge in range(first[node], first[node + 1]):
            if greedy[edge]:
                settled[edge] = True
                break
    return settled


@numba.njit(cache=True, nogil=True)
def _guaranteed(marks, outcome, first, child, greedy):
    """Worst outcome, each from its own side, that the policy can be held to as X and as O."""
    worst = np.empty((len(marks), 2), dtype=np.int8)  # by seat of the policy
    for node in range(len(marks) - 1, -1, -1):
        if first[node] == first[node + 1]:
            worst[node, 0] = outcome[node]
            worst[node, 1] = -outcome[node]
            continue
        mover = np.int64(marks[node] & 1)
        as_mover = as_other = np.int8(1)
        for edge in range(first[node], first[node + 1]):
            if greedy[edge]:
                as_mover = min(as_mover, worst[child[edge], mover])
            as_other = min(as_other, worst[child[edge], 1 - mover])
        worst[node, mover] = as_mover
        worst[node, 1 - mover] = as_other
    return worst[0, 0], worst[0, 1]


@numba.njit(cache=True, nogil=True)
def _expected(marks, outcome, first, child, greedy, utility, adversary):
    """Expected utility (of win, draw, loss) of the policy as X and as O, its greedy moves mixed uniformly.

    The opponent takes what is worst for the policy when it is an `adversary`, else any move at random.
    """
    expected = np.empty((len(marks), 2))  # by seat of the policy
    for node in range(len(marks) - 1, -1, -1):
        if first[node] == first[node + 1]:
            expected[node, 0] = utility[1 - outcome[node]]
            expected[node, 1] = utility[1 + outcome[node]]
            continue
        mover = np.int64(marks[node] & 1)
        as_mover = as_other = 0.0
        lowest = np.inf
        chosen = 0
        for edge in range(first[node], first[node + 1]):
            if greedy[edge]:
                as_mover += expected[child[edge], mover]
                chosen += 1
            as_other += expected[child[edge], 1 - mover]
            lowest = min(lowest, expected[child[edge], 1 - mover])
        expected[node, mover] = as_mover / chosen
        expected[node, 1 - mover] = lowest if adversary else as_other / (first[node + 1] - first[node])
    return expected[0, 0], expected[0, 1]

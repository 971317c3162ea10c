"""What a table is worth, exactly: dynamic programming over every position, no sampling.

A table's greedy policy takes, in each position, any move whose value equals the best. In the strict sense
(optimal play, exploitability) ties are resolved against the policy; against the random opponent they are
mixed uniformly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tictactoe.core.compiled import kernel
from tictactoe.core.game import Board
from tictactoe.core.graph import Graph, graph
from tictactoe.core.learner import QLearner, play
from tictactoe.core.solution import game_value

FACTOR = 1.1
"""From one check to the next."""
UTILITIES = np.eye(3)
"""By these an expected utility is the probability of a win, a draw or a loss."""
CURVE_STEP = 5
"""Checks from one point of the learning curve to the next."""
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
    return check_moves(learner.board, learner.moves.graph, greedy_edges(learner))


def check_moves(board: Board, game: Graph, greedy: np.ndarray) -> Check:
    """The check of the policy that plays any of the moves `greedy`, bool (edges,); a random opponent meets a uniform mix."""
    worst_x, worst_o, loss_x, loss_o = _worth(game, greedy, UTILITIES[2])
    value = game_value(board)
    return Check(float((value - worst_x) + (-value - worst_o)) / 2, float(loss_x + loss_o) / 2)


def train_and_check(learner: QLearner, points: Sequence[int], since: int | None) -> int | None:
    """Train a learner up to each of these numbers of games, ascending, and see there whether it plays optimally.

    Returns after which of them it has done so from then on, None where it does not at the last one. `since` is the same as it
    was before. That is found out several times faster than by `check`, and for all points in one call of compiled code, which
    takes as long as some fifty games.
    """
    value = game_value(learner.board)
    optimal_since = _train_and_check(
        np.array(points), learner.games, learner.settings, learner.table, learner.generator, learner.moves, value, since or 0
    )
    learner.games = points[-1]
    return int(optimal_since) or None


def evaluate(learner: QLearner, settled: bool = False) -> Evaluation:
    """Check and odds of the learner's greedy policy; when `settled`, with the first of tied moves always taken."""
    game, greedy = learner.moves.graph, greedy_edges(learner)
    if settled:
        greedy = first_only(game, greedy)
    wins, draws, losses = (_worth(game, greedy, utility)[2:] for utility in UTILITIES)
    found = check_moves(learner.board, game, greedy)
    # Kernels that are not compiled return NumPy's numbers.
    as_x, as_o = (Odds(float(wins[seat]), float(draws[seat]), float(losses[seat])) for seat in (0, 1))
    return Evaluation(found.exploitability, found.loss_vs_random, as_x, as_o)


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


def check_grid(board: Board, budget: int) -> list[int]:
    """Numbers of games after which it is seen whether a learner plays optimally: by factors of 1.1, ending with `budget`.

    Good configurations differ by a tenth: on a coarser grid nearly all their medians are equal. A finer one costs more, and
    every check that a learner does not pass puts off the one after which it plays optimally for good.

    The first is after 100 games on small boards. On others, where a check costs as much as thousands of games, it is a third of
    the number of positions. So checks take 7 % of the training of symmetric afterstates with 50,000 games on 3x3x3, and 10 %
    with 3 million on 4x4x4. Those of `curve_grid`, where a curve is kept, take 7 and 5 % more. Without symmetry the two take 11
    and 22 % on 3x3x3 (benchmarks/kernel.py). Raises ValueError for a budget below the first check.
    """
    positions = graph(board, True).nodes
    first = 100 if positions <= FINE_GRID else positions // 3
    if budget < first:
        raise ValueError(f"{budget:,} games end before the first check on {board}, after {first:,} games")
    grid, games = [], float(first)
    while games < budget:
        grid.append(int(games))
        games *= FACTOR
    return [*grid, budget]


def curve_grid(grid: Sequence[int]) -> list[int]:
    """The points of a grid of checks at which the whole `check` is made, for a learning curve: every fifth, and the last."""
    return [*grid[:-1:CURVE_STEP], grid[-1]]


@kernel
def _train_and_check(points, games, settings, table, generator, moves, value, since):
    """Play up to each of `points`, int64 (n,), from `games` games on; the games since which play has been optimal, or 0."""
    for point in points:
        play(point - games, games, settings, table, generator, moves)
        games = point
        if not _never_worse(moves, table, value):
            since = 0
        elif since == 0:
            since = point
    return since


@kernel
def _never_worse(moves, table, value):
    """Whether no game that can arise ends worse for the policy, as X or as O, than `value`, the game's for X, lets it.

    A depth-first walk, once as X and once as O, over what the policy's tied moves and any of the opponent's lead to, each node
    at most once. It ends at the first game that is worse. `moves` is a `MoveGraph`, `table` float64.
    """
    outcome, child, entry = moves.graph.outcome, moves.graph.child, moves.entry
    first_node, first_over, first_edge = moves.graph.first_node, moves.graph.first_over, moves.graph.first_edge
    zero, one, cells = np.uint64(0), np.uint64(1), np.uint64(len(first_over) - 1)
    seen = np.zeros(len(outcome), dtype=np.uint8)  # bit 0 as X, bit 1 as O
    # Nodes yet to be looked at. One with m marks gives its place to at most cells - m children, of which the last is next: of
    # each level m + 1 at most cells - m - 1 are left waiting, and one more is the next.
    waiting = np.empty(cells * (cells - one) // np.uint64(2) + one, dtype=np.uint32)
    marks_of = np.empty(len(waiting), dtype=np.uint8)
    for seat in range(2):
        bit, sign = np.uint8(1 + seat), 1 - 2 * seat
        if sign * value == -1:  # nothing is worse
            continue
        waiting[zero], marks_of[zero], size = 0, 0, one
        while size > zero:
            size -= one
            node, marks = np.uint64(waiting[size]), np.uint64(marks_of[size])
            degree = cells - marks
            begin = first_edge[marks] + (node - first_node[marks]) * degree
            best, mine = -np.inf, marks % np.uint64(2) == np.uint64(seat)
            if mine:
                for edge in range(begin, begin + degree):
                    best = max(best, table[entry[edge]])
            over = first_over[marks + one]
            for edge in range(begin, begin + degree):
                after = np.uint64(child[edge])
                if (not mine or table[entry[edge]] == best) and not seen[after] & bit:
                    seen[after] |= bit
                    if after < over:
                        waiting[size], marks_of[size] = after, marks + one
                        size += one
                    elif sign * outcome[after] < sign * value:
                        return False
    return True


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
def _worth(game, greedy, utility):
    """The worst outcomes that the policy can be held to as X and as O, each from its own side, and its expected utilities.

    Its moves are those that are `greedy`, bool (edges,). The opponent of the expected utilities takes any move at random, and
    the policy mixes its own uniformly. `utility` is that of a win, a draw and a loss, float64 (3,).
    """
    outcome, child = game.outcome, game.child
    cells = len(game.first_over) - 1
    worst = np.empty((len(outcome), 2), dtype=np.int8)  # by seat of the policy
    expected = np.empty((len(outcome), 2))  # the same
    for marks in range(cells, -1, -1):
        for node in range(game.first_over[marks], game.first_node[marks + 1]):
            worst[node, 0] = outcome[node]
            worst[node, 1] = -outcome[node]
            expected[node, 0] = utility[1 - outcome[node]]
            expected[node, 1] = utility[1 + outcome[node]]
        mover, other = np.uint64(marks % 2), np.uint64(1 - marks % 2)
        degree = np.uint64(cells - marks)
        begin = game.first_edge[marks]
        for node in range(game.first_node[marks], game.first_over[marks]):
            worst_mover = worst_other = np.int8(1)
            as_mover = as_other = 0.0
            ties = 0
            for edge in range(begin, begin + degree):
                after = child[edge]
                if greedy[edge]:
                    worst_mover = min(worst_mover, worst[after, mover])
                    as_mover += expected[after, mover]
                    ties += 1
                worst_other = min(worst_other, worst[after, other])
                as_other += expected[after, other]
            worst[node, mover] = worst_mover
            worst[node, other] = worst_other
            expected[node, mover] = as_mover / ties
            expected[node, other] = as_other / (cells - marks)
            begin += degree
    return worst[0, 0], worst[0, 1], expected[0, 0], expected[0, 1]

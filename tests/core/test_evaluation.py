"""Evaluation: the exact fractions of the literature, and brute force in plain Python."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.worth import half_nash_conv
from tictactoe.core.evaluation import (
    _never_worse,
    _worth,
    check,
    check_grid,
    check_moves,
    curve_grid,
    evaluate,
    first_only,
    greedy_edges,
    train_and_check,
)
from tictactoe.core.game import Board
from tictactoe.core.graph import Graph, graph
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.core.solution import game_value

BOARDS = [Board(3, 3, 3), Board(2, 3, 2), Board(2, 3, 3), Board(2, 2, 2), Board(1, 1, 1), Board(1, 4, 2)]


def odds(game: Graph, greedy: np.ndarray, seat: int) -> tuple[float, float, float]:
    return tuple(_worth(game, greedy, np.eye(3)[i])[2 + seat] for i in range(3))


def to_move(game: Graph, node: int) -> int:
    """0 when X is to move, 1 when O is."""
    return int(np.searchsorted(game.first_node, node, side="right") % 2 == 0)


def brute_force(game: Graph, greedy: np.ndarray, seat: int) -> tuple[int, Fraction, Fraction]:
    """Worst outcome, probability of losing to a random opponent, expected outcome against a best response."""

    @cache
    def value(node: int) -> tuple[int, Fraction, Fraction]:
        edges = game.edges_of(node)
        if not edges:
            outcome = int(game.outcome[node]) * (1 - 2 * seat)
            return outcome, Fraction(outcome < 0), Fraction(outcome)
        mine = to_move(game, node) == seat
        after = [value(int(game.child[edge])) for edge in edges if not mine or greedy[edge]]
        mean = [sum(v[i] for v in after) / len(after) for i in range(3)]
        best_response = mean[2] if mine else min(v[2] for v in after)
        return min(v[0] for v in after), Fraction(mean[1]), Fraction(best_response)

    return value(0)


def test_best_play_against_random_has_the_known_odds() -> None:
    """191/192 for X; for O the best among the policies that never lose: 866/945."""
    game = graph(Board(), False)

    @cache
    def best(node: int, seat: int) -> tuple[int, Fraction]:
        """(guaranteed outcome, chance to win against random among policies that guarantee it) and the chance."""
        edges = game.edges_of(node)
        if not edges:
            outcome = int(game.outcome[node]) * (1 - 2 * seat)
            return outcome, Fraction(outcome > 0)
        after = [best(int(game.child[edge]), seat) for edge in edges]
        if to_move(game, node) == seat:
            return max(after)
        return min(a[0] for a in after), sum((a[1] for a in after), Fraction()) / len(after)

    assert best(0, 0) == (0, Fraction(191, 192))
    assert best(0, 1) == (0, Fraction(866, 945))
    for seat, win, draw in ((0, Fraction(191, 192), Fraction(1, 192)), (1, Fraction(866, 945), Fraction(79, 945))):
        greedy = np.ones(game.edges, dtype=np.bool_)
        for node in range(game.nodes):
            if to_move(game, node) == seat and len(game.edges_of(node)):
                top = max(best(int(game.child[edge]), seat) for edge in game.edges_of(node))
                for edge in game.edges_of(node):
                    greedy[edge] = best(int(game.child[edge]), seat) == top
        assert odds(game, greedy, seat) == pytest.approx((float(win), float(draw), 0.0), abs=1e-12)
        assert brute_force(game, greedy, seat)[0] == 0


@pytest.mark.parametrize("symmetric", [False, True])
def test_random_play_has_the_known_odds(symmetric: bool) -> None:
    game = graph(Board(), symmetric)
    anything = np.ones(game.edges, dtype=np.bool_)
    x_wins, draws, o_wins = 737 / 1260, 8 / 63, 121 / 420
    assert odds(game, anything, 0) == pytest.approx((x_wins, draws, o_wins), abs=1e-12)
    assert odds(game, anything, 1) == pytest.approx((o_wins, draws, x_wins), abs=1e-12)
    assert half_nash_conv(game, anything) == pytest.approx(0.95982969577, abs=1e-11)
    assert check_moves(Board(), game, anything).exploitability == 1.0


@pytest.mark.parametrize(
    ("board", "value"),
    [
        ("3x3x3", 0),
        ("3x4x3", 1),
        ("4x4x4", 0),
        ("1x1x1", 1),
        ("2x2x2", 1),
        ("1x2x2", 0),
        ("2x3x3", 0),
        ("4x3x3", 1),
        ("1x5x1", 1),
    ],
)
def test_game_values(board: str, value: int) -> None:
    assert game_value(Board.parse(board)) == value


@given(st.sampled_from(BOARDS), st.integers(0, 2**32), st.booleans())
@settings(max_examples=40)
def test_any_greedy_set_is_what_brute_force_finds(board: Board, seed: int, symmetric: bool) -> None:
    game = graph(board, symmetric)
    greedy = np.random.default_rng(seed).random(game.edges) < 0.4
    for node in range(game.nodes):
        edges = game.edges_of(node)
        if edges and not greedy[edges].any():
            greedy[edges.start] = True
    (worst_x, loss_x, reply_x), (worst_o, loss_o, reply_o) = (brute_force(game, greedy, seat) for seat in (0, 1))
    value = game_value(board)
    found = check_moves(board, game, greedy)
    assert found.exploitability == ((value - worst_x) + (-value - worst_o)) / 2
    assert found.loss_vs_random == pytest.approx(float(loss_x + loss_o) / 2, abs=1e-12)
    assert half_nash_conv(game, greedy) == pytest.approx(-float(reply_x + reply_o) / 2, abs=1e-12)
    settled = first_only(game, greedy)
    for edges in map(game.edges_of, range(game.nodes)):
        assert [edge for edge in edges if settled[edge]] == [edge for edge in edges if greedy[edge]][:1]


@pytest.fixture(scope="module")
def orbit_edges() -> np.ndarray:
    """Of each edge of the game, which edge of the game up to symmetry it is an image of."""
    board, whole, orbits = Board(), graph(Board(), False), graph(Board(), True)
    node_of = {int(code): node for node, code in enumerate(orbits.codes)}
    found = np.zeros(whole.edges, dtype=np.int64)
    for node, code in enumerate(whole.codes.tolist()):
        smallest, which = board.canonical(code)
        edges, order = orbits.edges_of(node_of[smallest]), board.legal_moves(smallest)
        for edge, move in zip(whole.edges_of(node), board.legal_moves(code), strict=True):
            found[edge] = edges[order.index(int(board.symmetries[which, move]))]
    return found


@pytest.mark.parametrize("table", ["state-action", "afterstate"])
@pytest.mark.parametrize("games", [0, 50, 500, 20_000])
def test_orbits_evaluate_to_the_same_as_all_positions(orbit_edges: np.ndarray, table: str, games: int) -> None:
    learner = QLearner(Board(), Hyperparameters(table=table), 0)  # type: ignore[arg-type]
    learner.train(games)
    whole, lifted = graph(Board(), False), greedy_edges(learner)[orbit_edges]
    found, expected = check(learner), check_moves(Board(), whole, lifted)
    assert found.exploitability == expected.exploitability
    assert found.loss_vs_random == pytest.approx(expected.loss_vs_random, abs=1e-12)
    full = evaluate(learner)
    for seat in (full.as_x, full.as_o):
        assert seat.win + seat.draw + seat.loss == pytest.approx(1, abs=1e-12)


KINDS = st.sampled_from([(table, symmetry) for table in ("state-action", "afterstate") for symmetry in (True, False)])


def plays_optimally(learner: QLearner) -> bool:
    """What the check of training says of the learner as it stands: after no further game."""
    learner.games = max(learner.games, 1)
    return train_and_check(learner, [learner.games], None) is not None


def optimal(learner: QLearner) -> bool:
    """Whether the learner plays optimally, which must be the same by every way to find out."""
    found = plays_optimally(learner)
    assert found == (check(learner).exploitability == 0.0)
    # Not compiled, NumPy would notice an index that is out of bounds.
    assert found == _never_worse.py_func(learner.moves, learner.table, game_value(learner.board))
    return found


@given(
    st.sampled_from([*BOARDS, Board(1, 2, 2), Board(1, 3, 2), Board(2, 4, 3)]), KINDS, st.integers(0, 2**32), st.integers(1, 4)
)
@settings(max_examples=100)
def test_optimal_play_of_any_table_is_exploitability_0(board: Board, kind: Any, seed: int, values: int) -> None:
    """With few different values nearly all moves tie."""
    learner = QLearner(board, Hyperparameters(table=kind[0], symmetry=kind[1]), 0)
    learner.table[:] = np.random.default_rng(seed).integers(values, size=learner.table.shape)
    optimal(learner)


@given(st.sampled_from(BOARDS), KINDS, st.integers(0, 100), st.lists(st.integers(1, 300), min_size=1, max_size=4))
@settings(max_examples=40)
def test_optimal_play_of_half_trained_learners(board: Board, kind: Any, seed: int, parts: list[int]) -> None:
    learner = QLearner(board, Hyperparameters(table=kind[0], symmetry=kind[1], q_init=0.1, replay="backward"), seed)
    for games in parts:
        learner.train(games)
        optimal(learner)


@pytest.mark.parametrize("board", ["3x3x3", "3x4x3", "2x3x2", "1x2x2"])
@pytest.mark.parametrize("table", ["state-action", "afterstate"])
def test_learners_come_to_optimal_play(board: str, table: Any) -> None:
    """On boards that X wins, and on boards that are drawn."""
    learner, found = QLearner(Board.parse(board), Hyperparameters(table=table, q_init=0.1, replay="backward"), 0), []
    for _ in range(9):
        found.append(optimal(learner))
        learner.train(20 + 2 * learner.games)
    assert found[-1] and (board == "1x2x2" or not found[0])


@pytest.mark.parametrize("seat", [0, 1])
def test_one_bad_move_from_either_seat_is_found(seat: int) -> None:
    """A learner that plays optimally, with a single position changed to a move that loses; reached by its own play or not."""
    learner = QLearner(Board(), Hyperparameters(table="state-action", q_init=0.1, replay="backward", symmetry=False), 0)
    learner.train(50_000)
    assert optimal(learner)
    game, table, verdicts = learner.moves.graph, learner.table.copy(), []
    for node in range(game.nodes):
        if to_move(game, node) == seat and (edges := game.edges_of(node)):
            learner.table[:] = table
            learner.table[learner.moves.entry[edges[np.argmin(table[learner.moves.entry[edges]])]]] = 2.0
            verdicts.append(plays_optimally(learner))
            assert verdicts[-1] == check(learner).optimal
    assert 0.1 < np.mean(verdicts) < 0.99


@pytest.fixture(scope="module")
def information_states() -> list[tuple[str, int]]:
    """OpenSpiel's information states of the game, which are histories of moves, each with the code of its position."""
    import pyspiel

    @cache
    def plays(code: int) -> list[tuple[int, int]]:
        """Each legal move with the code that it leads to."""
        return [(move, Board().play(code, move)) for move in Board().legal_moves(code)]

    found = []
    waiting = [(pyspiel.load_game("tic_tac_toe").new_initial_state(), 0)]
    while waiting:
        state, code = waiting.pop()
        if not state.is_terminal():
            found.append((state.information_state_string(), code))
            waiting += [(state.child(move), after) for move, after in plays(code)]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("games", [0, 100, 1000])
def test_openspiel_agrees_on_random_and_half_trained_policies(information_states: list[tuple[str, int]], games: int) -> None:
    import pyspiel

    learner = QLearner(Board(), Hyperparameters(symmetry=False, epsilon_start=0.3, epsilon_end=0.3), games)
    learner.train(games)
    game, greedy = learner.moves.graph, greedy_edges(learner)
    node_of = {int(code): node for node, code in enumerate(game.codes)}

    @cache
    def mixed(code: int) -> list[tuple[int, float]]:
        """The moves of the policy, each as probable as the others."""
        mask = greedy[game.edges_of(node_of[code])]
        return [(move, float(g) / mask.sum()) for move, g in zip(Board().legal_moves(code), mask, strict=True)]

    policy = {state: mixed(code) for state, code in information_states}
    assert len(policy) == len(information_states) == 294_778
    found = pyspiel.exploitability(pyspiel.load_game("tic_tac_toe"), pyspiel.TabularPolicy(policy))
    assert half_nash_conv(game, greedy) == pytest.approx(found, abs=1e-9)


@given(st.sampled_from(["3x3x3", "2x3x3", "3x4x3", "4x4x4"]), st.integers(1, 10**7))
def test_check_grid(board: str, budget: int) -> None:
    try:
        grid = check_grid(Board.parse(board), budget)
    except ValueError as error:
        assert "before the first check" in str(error)
        return
    assert grid == sorted(set(grid))
    assert grid[-1] == budget
    assert grid[:-1] == [games for games in check_grid(Board.parse(board), 10**8) if games < budget]
    assert check_grid(Board(), 50_000)[:4] == [100, 110, 121, 133]
    assert all(later <= 1.11 * earlier for earlier, later in pairwise(grid))
    for end in (len(grid), 1, len(grid) // 2 + 1):
        curve = curve_grid(grid[:end])
        assert curve == sorted(set(curve)) and {*curve} <= {*grid}
        assert (curve[0], curve[-1]) == (grid[0], grid[end - 1])
        assert all(grid.index(later) - grid.index(earlier) == 5 for earlier, later in pairwise(curve[:-1]))
        assert len(curve) == 1 or 1 <= end - 1 - grid.index(curve[-2]) <= 5

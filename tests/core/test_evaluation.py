"""Evaluation: the exact fractions of the literature, and brute force in plain Python."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.worth import half_nash_conv
from tictactoe.core.evaluation import (
    _expected,
    check,
    check_grid,
    evaluate,
    exploitability,
    first_only,
    greedy_edges,
    loss_vs_random,
)
from tictactoe.core.game import Board
from tictactoe.core.graph import Graph, graph
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.core.solution import game_value

BOARDS = [Board(3, 3, 3), Board(2, 3, 2), Board(2, 3, 3), Board(2, 2, 2), Board(1, 1, 1), Board(1, 4, 2)]


def odds(game: Graph, greedy: np.ndarray, seat: int) -> tuple[float, float, float]:
    return tuple(_expected(game, greedy, np.eye(3)[i])[seat] for i in range(3))


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
    assert exploitability(Board(), game, anything) == 1.0


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
    assert exploitability(board, game, greedy) == ((value - worst_x) + (-value - worst_o)) / 2
    assert loss_vs_random(game, greedy) == pytest.approx(float(loss_x + loss_o) / 2, abs=1e-12)
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
    found = check(learner)
    assert found.exploitability == exploitability(Board(), whole, lifted)
    assert found.loss_vs_random == pytest.approx(loss_vs_random(whole, lifted), abs=1e-12)
    full = evaluate(learner)
    for seat in (full.as_x, full.as_o):
        assert seat.win + seat.draw + seat.loss == pytest.approx(1, abs=1e-12)


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
    assert check_grid(Board(), 50_000)[:4] == [100, 125, 156, 195]

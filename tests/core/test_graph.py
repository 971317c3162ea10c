"""Graphs of boards: exact counts, and what trying every move finds."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.test_game import SHAPES
from tictactoe.core.game import Board
from tictactoe.core.graph import Graph, canonical, graph, move_graph

SMALL = [Board(*shape) for shape in SHAPES if shape[0] * shape[1] <= 8]


def naive_positions(board: Board) -> set[int]:
    """All reachable positions, by trying every move."""
    found, waiting = {0}, [0]
    while waiting:
        code = waiting.pop()
        for move in board.legal_moves(code):
            if (after := board.play(code, move)) not in found:
                found.add(after)
                waiting.append(after)
    return found


def count_games(game: Graph) -> int:
    """Number of different games (move sequences) from the empty board to an end."""

    @cache
    def ways(node: int) -> int:
        return sum(ways(child) for child in game.child[slice_of(game, node)].tolist()) or 1

    return ways(0)


def slice_of(game: Graph, node: int) -> slice:
    edges = game.edges_of(node)
    return slice(edges.start, edges.stop)


def test_counts_of_3x3x3() -> None:
    whole, orbits = graph(Board(), False), graph(Board(), True)
    assert (whole.nodes, orbits.nodes) == (5_478, 765)
    assert whole.edges == 16_167
    for game, unfinished in ((whole, 4_520), (orbits, 627)):
        assert sum(len(game.edges_of(node)) > 0 for node in range(game.nodes)) == unfinished
        assert count_games(game) == 255_168


def test_orbits_of_4x4x4() -> None:
    assert graph(Board(4, 4, 4), True).nodes == 1_217_977


@pytest.mark.slow
def test_positions_of_4x4x4() -> None:
    assert graph(Board(4, 4, 4), False).nodes == 9_722_011


@pytest.mark.parametrize("board", SMALL, ids=str)
def test_graph_is_what_trying_every_move_finds(board: Board) -> None:
    game, orbits = graph(board, False), graph(board, True)
    assert set(game.codes.tolist()) == naive_positions(board)
    assert set(orbits.codes.tolist()) == {board.canonical(code)[0] for code in game.codes.tolist()}
    assert count_games(orbits) == count_games(game)
    for which, whole in ((orbits, False), (game, True)):
        for node, code in enumerate(which.codes.tolist()):
            after = [board.play(code, move) for move in board.legal_moves(code)]
            children = which.codes[which.child[slice_of(which, node)]].tolist()
            assert children == (after if whole else [board.canonical(position)[0] for position in after])
            assert which.outcome[node] == (board.outcome(code) or 0)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("board", SMALL, ids=str)
def test_levels(board: Board, symmetric: bool) -> None:
    """Positions that go on, then those that are over, each ascending; edges in the order of their nodes."""
    game = graph(board, symmetric)
    assert [edge for node in range(game.nodes) for edge in game.edges_of(node)] == list(range(game.edges))
    node = 0
    for marks in range(board.cells + 1):
        level = game.codes[node : int(game.first_node[marks + 1])].tolist()
        over = [board.outcome(code) is not None for code in level]
        assert list(zip(over, level, strict=True)) == sorted(zip(over, level, strict=True))
        assert {board.cells - board.decode(code).count(".") for code in level} <= {marks}
        assert game.ongoing(marks) == slice(node, node + over.count(False))
        edges = [list(game.edges_of(n)) for n in range(node, node + over.count(False))]
        assert game.rows(np.arange(game.edges), marks).tolist() == edges
        ongoing, places = game.find(np.array([*level, 3**board.cells], dtype=np.int32), marks)
        assert ongoing.tolist() == [not end for end in over] + [False]
        assert places.tolist() == list(range(over.count(False)))
        node += len(level)
    assert node == game.nodes


@pytest.mark.parametrize("board", [Board(), *(board for board in SMALL if board.cells <= 6)], ids=str)
def test_moves_share_an_entry_exactly_if_a_symmetry_maps_them(board: Board) -> None:
    """The class of a (position, move) is its smallest image over all symmetries."""
    game, entry, entries = move_graph(board, "state-action", True)
    classes: dict[tuple[int, int], int] = {}
    for node, code in enumerate(game.codes.tolist()):
        for edge, move in zip(game.edges_of(node), board.legal_moves(code), strict=True):
            images = [
                (sum(code // 3**cell % 3 * 3 ** int(symmetry[cell]) for cell in range(board.cells)), int(symmetry[move]))
                for symmetry in board.symmetries
            ]
            assert classes.setdefault(min(images), len(classes)) == entry[edge]  # numbered in the order of edges
    assert entries == len(classes)


@pytest.mark.parametrize(
    ("table", "symmetric", "entries"),
    [("afterstate", True, 765), ("afterstate", False, 5_478), ("state-action", True, 2_096), ("state-action", False, 16_167)],
)
def test_entries_of_3x3x3(table: str, symmetric: bool, entries: int) -> None:
    moves = move_graph(Board(), table, symmetric)
    assert moves.entries == entries
    assert np.array_equal(np.unique(moves.entry), np.arange(table == "afterstate", entries))  # the empty board is no afterstate
    if table == "afterstate":
        assert moves.entry is moves.graph.child


@given(st.sampled_from([Board(*shape) for shape in SHAPES]), st.lists(st.integers(0, 3**16 - 1)))
def test_canonical_images_of_many(board: Board, codes: list[int]) -> None:
    codes = [code % 3**board.cells for code in codes]
    smallest, which = canonical(np.array(codes, dtype=np.int32), board.maps(True))
    assert list(zip(smallest.tolist(), which.tolist(), strict=True)) == [board.canonical(code) for code in codes]
    same, first = canonical(np.array(codes, dtype=np.int32), board.maps(False))
    assert (same.tolist(), first.tolist()) == (codes, [0] * len(codes))

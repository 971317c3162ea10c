"""Boards: properties on any shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tictactoe.core.game import MAX_CELLS, Board

SHAPES = [(r, c, k) for r in range(1, 17) for c in range(1, 17) for k in range(1, 17) if r * c <= MAX_CELLS and k <= max(r, c)]
boards = st.sampled_from([Board(*shape) for shape in SHAPES])


@st.composite
def positions(draw: st.DrawFn) -> tuple[Board, int]:
    """A board and a position that random play reaches on it."""
    board = draw(boards)
    code = 0
    for _ in range(draw(st.integers(0, board.cells))):
        moves = board.legal_moves(code)
        if not moves:
            break
        code = board.play(code, draw(st.sampled_from(moves)))
    return board, code


@given(boards)
def test_text_round_trip(board: Board) -> None:
    assert Board.parse(str(board)) == board


@pytest.mark.parametrize(
    "text", ["", "3x3", "3x3x3x3", "0x3x3", "3x3x0", "3x3x4", "5x4x3", "17x1x1", "axbxc", "-3x3x3", "３x3x3"]
)
def test_other_texts_are_no_boards(text: str) -> None:
    with pytest.raises(ValueError, match=r"board|ROWSx"):
        Board.parse(text)


def test_lines_of_3x3x3() -> None:
    assert len(Board().lines) == 8
    assert {(0, 1, 2), (0, 3, 6), (0, 4, 8), (2, 4, 6)} <= set(Board().lines)
    assert len(Board(4, 4, 4).lines) == 10
    assert len(Board(3, 4, 3).lines) == 3 * 2 + 4 + 4


@given(positions())
def test_encoding_round_trip(position: tuple[Board, int]) -> None:
    board, code = position
    assert board.encode(board.decode(code)) == code
    assert board.decode_all(np.array([code, 0], dtype=np.int32)) == [board.decode(code), "." * board.cells]
    assert board.decode_all(np.array([], dtype=np.int32)) == []


def test_decode_all_is_decode_of_all() -> None:
    board = Board(2, 3, 3)
    codes = np.arange(3**board.cells, dtype=np.int32)
    assert board.decode_all(codes) == [board.decode(int(code)) for code in codes]


@given(positions(), st.data())
def test_symmetries_preserve_outcome_moves_and_orbit(position: tuple[Board, int], data: st.DataObject) -> None:
    board, code = position
    symmetry = data.draw(st.sampled_from(board.symmetries.tolist()))
    assert sorted(symmetry) == list(range(board.cells))
    text = board.decode(code)
    image = board.encode("".join(text[symmetry.index(cell)] for cell in range(board.cells)))
    assert board.outcome(image) == board.outcome(code)
    assert board.legal_moves(image) == sorted(symmetry[move] for move in board.legal_moves(code))
    assert board.canonical(image)[0] == board.canonical(code)[0] <= code


@given(positions())
def test_canonical_names_the_symmetry(position: tuple[Board, int]) -> None:
    board, code = position
    smallest, which = board.canonical(code)
    assert smallest == sum(code // 3**cell % 3 * 3 ** int(board.symmetries[which, cell]) for cell in range(board.cells))

"""What boards are worth, compared with a plain recursion in fractions."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import pytest

from tictactoe.core.game import Board
from tictactoe.core.solution import best_wins


def test_the_best_possible_against_random_on_3x3x3() -> None:
    as_x, as_o = best_wins(Board())
    assert as_x == pytest.approx(191 / 192, abs=1e-12)
    assert as_o == pytest.approx(866 / 945, abs=1e-12)


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 3, 3), (3, 2, 2), (2, 4, 3)])
def test_the_best_possible_by_recursion_in_fractions(size: tuple[int, int, int]) -> None:
    board = Board(*size)

    @cache
    def value(code: int) -> int:
        """For X."""
        outcome = board.outcome(code)
        if outcome is not None:
            return outcome
        return (max, min)[board.to_move(code)](value(board.play(code, move)) for move in board.legal_moves(code))

    @cache
    def wins(code: int, seat: int) -> Fraction:
        outcome, sign = board.outcome(code), 1 - 2 * seat
        if outcome is not None:
            return Fraction(outcome == sign)
        following = [board.play(code, move) for move in board.legal_moves(code)]
        if board.to_move(code) == seat:
            return max(wins(after, seat) for after in following if sign * value(after) >= sign * value(0))
        return sum((wins(after, seat) for after in following), Fraction()) / len(following)

    assert best_wins(board) == pytest.approx((float(wins(0, 0)), float(wins(0, 1))), abs=1e-12)

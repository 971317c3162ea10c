"""Counting resources as Ray does."""

from __future__ import annotations

import pytest

from tictactoe.process.resources import shares


@pytest.mark.parametrize(
    ("there", "each", "expected"),
    [
        (1, 0.1, 10),
        (1, 1, 1),
        (2, 1.5, 1),
        (1, 0.3333, 3),
        (1, 0.3334, 2),
        (64, 0.7, 91),
        (0, 1, 0),
        (3, 0.3, 10),
        (1, 1e-9, 10_000),
    ],
)
def test_shares(there: float, each: float, expected: int) -> None:
    assert shares(there, each) == expected

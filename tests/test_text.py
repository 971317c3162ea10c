"""Numbers, counts and names as text."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tictactoe.errors import UserError
from tictactoe.text import count, games, is_number, reason, short, trial_name


def test_games() -> None:
    assert [games(value) for value in (None, math.inf, 0.0, 428.5, 1_234_567.0)] == ["never", "never", "0", "428", "1,234,567"]


def test_counts_and_names() -> None:
    assert [count(number, "trial") for number in (0, 1, 2, 1_000)] == ["0 trials", "1 trial", "2 trials", "1,000 trials"]
    assert [trial_name(index) for index in (0, 99_999)] == ["trial_00000", "trial_99999"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.05, "0.05"), (0.123456, "0.123"), (1.0, "1"), (99.96, "100"), (12_345.6, "12,346"), (-100.0, "-100"),
     (1e-4, "0.0001"), (3, "3"), (True, "True"), ("2-ply", "2-ply")],
)  # fmt: skip
def test_values_of_hyperparameters(value: Any, text: str) -> None:
    assert short(value) == text


def test_truth_is_no_number() -> None:
    assert [is_number(value) for value in (1, 1.5, True, False, "1", None)] == [True, True, False, False, False, False]


def test_reasons_are_one_line() -> None:
    assert reason(ValueError("first\nsecond")) == "first"
    assert reason(ValueError("\n  \n first \n\n second \n")) == "first"
    assert reason(ValueError("first\nsecond\nthird\n"), slice(-1, None)) == "third"
    assert reason(ValueError("first\nsecond\nthird"), slice(2)) == "first second"
    assert reason(ValueError()) == "ValueError"
    assert len(reason(ValueError("x" * 1_000))) == 300


def test_an_error_of_the_users_is_one_printable_line() -> None:
    assert str(UserError("a\nb\x1b[0m ä")) == "a\\nb\\x1b[0m ä"

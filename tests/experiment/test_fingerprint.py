"""What names a search."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.records import settings
from tictactoe.experiment.fingerprint import fingerprint, search_name
from tictactoe.experiment.record import FORMAT


def test_a_name_is_the_board_and_a_fingerprint_unless_it_is_given() -> None:
    assert re.fullmatch(r"3x3x3-[0-9a-f]{8}", search_name(settings()))
    assert search_name(settings(board="3x4x3")).startswith("3x4x3-")
    assert search_name(settings(name="mine")) == "mine"


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 1},
        {"seeds": 31},
        {"games": 49_999},
        {"num_samples": 63},
        {"search": "optuna"},
        {"scheduler": "asha"},
        {"scheduler": "none"},
    ],
)
def test_what_decides_the_results_is_in_the_name(options: dict[str, Any]) -> None:
    assert search_name(settings(**options)) != search_name(settings())


@pytest.mark.parametrize(
    "options",
    [{"max_concurrent": 1}, {"num_cpus": 7}, {"hold": True}, {"verbose": True}, {"trial_timeout": 9}, {"retry_failed": True}],
)
def test_what_decides_nothing_is_not(options: dict[str, Any]) -> None:
    assert search_name(settings(**options)) == search_name(settings())


def test_the_lag_is_a_part_where_suggestions_have_one() -> None:
    assert "lag" in fingerprint(settings(search="optuna", scheduler="none"))
    assert "lag" in fingerprint(settings(search="optuna", num_samples=16))  # too few for a race
    assert "lag" not in fingerprint(settings(search="optuna", num_samples=17))  # a race has generations
    assert "lag" not in fingerprint(settings(scheduler="none"))
    whole = {"search": "optuna", "scheduler": "asha"}
    assert search_name(settings(lag=8, **whole)) == search_name(settings(**whole)) != search_name(settings(lag=9, **whole))
    assert search_name(settings(lag=9, search="optuna")) == search_name(settings(search="optuna"))


def test_a_large_boards_space_is_another() -> None:
    assert fingerprint(settings(board="4x4x4"))["space"] != fingerprint(settings())["space"]
    assert fingerprint(settings(board="3x4x3"))["space"] == fingerprint(settings())["space"]


def test_the_format_is_part_of_the_fingerprint() -> None:
    assert fingerprint(settings())["format"] == FORMAT

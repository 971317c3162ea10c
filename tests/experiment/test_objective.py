"""The objective: what it is, that its bounds are sound at any time, and that its sums are exact."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.samples import BUDGET, GRID
from tictactoe.experiment.objective import PENALTY, UNITS, bounds, geometric_mean, log_units, mean_log, par10

games_to_optimal = st.lists(st.sampled_from(GRID) | st.none(), min_size=1, max_size=40)


def games_at(checks: list[bool], played: int) -> int | None:
    """Games to optimal as they stand after the checks up to `played` games."""
    seen = [optimal for optimal, point in zip(checks, GRID, strict=True) if point <= played]
    if not seen or not seen[-1]:
        return None
    first = len(seen)
    while first and seen[first - 1]:
        first -= 1
    return GRID[first]


@settings(max_examples=40)
@given(st.lists(st.booleans() | st.just(True), min_size=len(GRID), max_size=len(GRID)))
def test_no_bound_is_above_a_later_one_or_above_what_it_comes_to(checks: list[bool]) -> None:
    """Whatever the checks find, at every cap and between them."""
    caps = [0, 50, *GRID, *(point + 1 for point in GRID[:-1])]
    values = [bounds([games_at(checks, cap)], cap, GRID)[0] for cap in sorted(caps)]
    assert values == sorted(values)
    final = games_at(checks, BUDGET)
    assert values[-1] == (PENALTY * BUDGET if final is None else final)


def test_a_bound_is_reached_where_the_next_check_is_optimal_for_good() -> None:
    for first, point in enumerate(GRID):
        checks = [number >= first for number in range(len(GRID))]
        before = GRID[first - 1] if first else 0
        assert bounds([games_at(checks, before)], before, GRID) == [point] == bounds([games_at(checks, BUDGET)], BUDGET, GRID)


def test_an_unsolved_replicate_counts_as_ten_budgets() -> None:
    assert bounds([None, 100, None], BUDGET, GRID) == [500_000, 100, 500_000]
    assert bounds([None], BUDGET - 1, GRID) == [BUDGET]
    assert bounds([], BUDGET, GRID) == []


@given(games_to_optimal, st.integers(1, 39), st.randoms())
def test_sums_are_exact_in_any_order_and_in_parts(games: list[int | None], cut: int, shuffler: random.Random) -> None:
    values = bounds(games, BUDGET, GRID)
    units = log_units(values)
    assert Fraction(sum(units), UNITS * len(units)) == Fraction(
        sum(log_units(values[:cut])) + sum(log_units(values[cut:])), UNITS * len(units)
    )
    whole = mean_log(values)
    assert whole == float(Fraction(sum(units), UNITS * len(units)))
    shuffler.shuffle(values)
    assert mean_log(values) == whole


@given(games_to_optimal)
def test_it_is_the_mean_of_the_logarithms_to_four_digits(games: list[int | None]) -> None:
    values = bounds(games, BUDGET, GRID)
    assert mean_log(values) == pytest.approx(sum(map(math.log, values)) / len(values), abs=0.5 / UNITS + 1e-12)
    assert par10(values) == sum(values) / len(values)
    assert min(values) * 0.999 < geometric_mean(mean_log(values)) < max(values) * 1.001
    assert geometric_mean(mean_log(values)) <= par10(values) * 1.0001


def test_what_a_failure_costs_is_what_the_docstring_says() -> None:
    solved = [450] * 100
    worse = bounds([None, *solved[1:]], BUDGET, GRID)
    assert mean_log(worse) - mean_log(solved) == pytest.approx(math.log(1.07), abs=0.003)
    assert math.log(2 * PENALTY * BUDGET) - math.log(PENALTY * BUDGET) == pytest.approx(0.7, abs=0.01)

"""The rounds of a search: exact sizes, and properties of any; who goes on, and how far a search is."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import records as made
from tictactoe.core.evaluation import check_grid
from tictactoe.core.game import Board
from tictactoe.experiment.record import Record
from tictactoe.experiment.rounds import LAST, Round, entrants, rounds, standing
from tictactoe.settings import Settings

LARGE = {"board": "4x4x4", "games": 3_000_000, "seeds": 4}
GRIDS = {board: check_grid(Board.parse(board), 10**12) for board in ("3x3x3", "4x4x4")}


def check_at(games: float, settings: Settings) -> int:
    """The first check after so many games or more."""
    return min(settings.games, *(point for point in GRIDS[settings.board] if point >= games))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [(1_024, 4, 1_000), (128, 14, 1_000 * 12.5**0.5), (16, 48, 12_500)]),
        ({"num_samples": 64}, [(64, 4, 1_000), (16, 48, 12_500)]),
        ({"num_samples": 256}, [(256, 4, 1_000), (64, 14, 1_000 * 12.5**0.5), (16, 48, 12_500)]),
        ({"num_samples": 17}, [(17, 4, 1_000), (8, 48, 12_500)]),
        ({"num_samples": 40}, [(40, 4, 1_000), (10, 48, 12_500)]),
        ({"num_samples": 16}, [(16, 48, 50_000)]),
        ({"num_samples": 1}, [(1, 48, 50_000)]),
        ({"seeds": 1}, [(1_024, 1, 1_000), (128, 1, 1_000 * 12.5**0.5), (16, 1, 12_500)]),
        ({"games": 100}, [(1_024, 4, 100), (128, 14, 100), (16, 48, 100)]),
        ({"games": 1_000}, [(1_024, 4, 200), (128, 14, 200 * 5**0.5), (16, 48, 1_000)]),
        (LARGE | {"num_samples": 32}, [(32, 4, 2 * GRIDS["4x4x4"][0]), (8, 4, 3_000_000)]),
        ({"scheduler": "none"}, [(1_024, 48, 50_000)]),
        ({"scheduler": "asha"}, [(1_024, 48, 50_000)]),
    ],
)
def test_sizes(options: dict[str, Any], expected: list[tuple[int, int, float]]) -> None:
    settings = made.settings(**options)
    assert rounds(settings) == tuple(
        Round(trials, seeds, check_at(games, settings), curve=number == len(expected) - 1)
        for number, (trials, seeds, games) in enumerate(expected)
    )


def test_the_default_search_plays_a_hundredth_of_what_all_on_everything_would() -> None:
    settings = made.settings()
    assert (settings.num_samples, settings.seeds, settings.games, settings.scheduler) == (1_024, 48, 50_000, "race")
    played = sum(round.trials * round.seeds * round.games for round in rounds(settings))
    assert 0.005 < played / (settings.num_samples * settings.seeds * settings.games) < 0.01


@st.composite
def any_settings(draw: st.DrawFn) -> Settings:
    """Any that the command line and the grid of checks accept."""
    board = draw(st.sampled_from(sorted(GRIDS)))
    games = draw(st.integers(GRIDS[board][0], 10**12) | st.integers(GRIDS[board][0], 3 * GRIDS[board][0]))
    samples = draw(st.integers(1, 100_000) | st.integers(1, 20))
    return made.settings(board=board, games=games, num_samples=samples, seeds=draw(st.integers(1, 1_000)))


@given(any_settings())
def test_rounds_narrow_down_to_a_few_on_all_seeds(settings: Settings) -> None:
    found, grid = rounds(settings), check_grid(Board.parse(settings.board), settings.games)
    first, last = found[0], found[-1]
    assert first.trials == settings.num_samples
    assert (last.trials, last.seeds) == (min(LAST, settings.num_samples), settings.seeds)
    assert settings.games / 4 <= last.games <= settings.games
    assert len(found) > 1 or last.games == settings.games
    assert all(round.games in grid and 1 <= round.seeds <= settings.seeds for round in found)
    for earlier, later in itertools.pairwise(found):
        assert earlier.trials > later.trials >= LAST
        assert earlier.seeds <= later.seeds
        assert earlier.games <= later.games
    assert len(found) <= 7


trial = st.tuples(st.floats(5, 14), st.sampled_from([0.05, 0.1, 0.2]))
"""The objective, and the loss against random."""


@given(st.lists(trial | st.just((9.0, 0.1)), min_size=1, max_size=60), st.integers(1, 40), st.integers(1, 3), st.randoms())
def test_the_best_go_on_whatever_order_they_ended_in(
    trials: list[tuple[float, float]], places: int, number: int, shuffler: random.Random
) -> None:
    before = [
        made.record(index, mean_log=objective, loss_vs_random=loss, round=number - 1)
        for index, (objective, loss) in enumerate(trials)
    ]
    shuffler.shuffle(before)
    sizes = [Round(100, 1, 100)] * number + [Round(places, 1, 100)]
    chosen = entrants(sizes, number, before)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(places, len(trials))
    keys = {index: (*trials[index], index) for index in range(len(trials))}
    assert all(keys[index] < keys[other] for index in chosen for other in keys.keys() - set(chosen))


def test_all_run_the_first_round() -> None:
    assert entrants([Round(5, 1, 100), Round(2, 1, 100)], 0, []) == [0, 1, 2, 3, 4]


class Race:
    """A search of nine in two rounds, in which trial n is the n-th best."""

    sizes = (Round(9, 2, 100), Round(3, 4, 1_000))

    @staticmethod
    def ended(index: int, number: int) -> Record:
        return made.record(index, (100 + index, 100 + index), round=number, stopped=number == 0)


def test_a_search_that_has_not_begun_lacks_all() -> None:
    found = standing(Race.sizes, [], [])
    assert (found.number, found.missing) == (0, list(range(9)))
    assert found.latest == ([], [])


def test_a_round_is_over_when_all_of_it_have_ended_or_failed() -> None:
    first = [Race.ended(index, 0) for index in range(9)]
    assert standing(Race.sizes, first[1:], []).missing == [0]
    failed = made.failure(0)
    found = standing(Race.sizes, first[1:], [failed])
    assert (found.number, found.missing) == (1, [1, 2, 3])
    assert found.latest == (first[1:], [failed])
    last = [Race.ended(index, 1) for index in (1, 2, 3)]
    found = standing(Race.sizes, [*first[1:], *last], [failed])
    assert (found.number, found.missing) == (2, [])
    assert found.latest == ([*last, *first[4:]], [failed])


def test_who_fails_in_a_later_round_is_not_replaced() -> None:
    first = [Race.ended(index, 0) for index in range(9)]
    failed = made.failure(1, round=1)
    found = standing(Race.sizes, [*first, Race.ended(0, 1)], [failed])
    assert (found.number, found.missing) == (1, [2])
    assert found.latest[1] == [failed]


def test_who_was_pushed_out_by_a_trial_that_was_run_again_does_not_count() -> None:
    first = [Race.ended(index, 0) for index in range(9)]
    pushed_out = Race.ended(3, 1)
    found = standing(Race.sizes, [*first, pushed_out], [])
    assert found.missing == [0, 1, 2]
    assert pushed_out not in found.records

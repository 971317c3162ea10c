"""How far a search is by what has ended, in whatever rounds and attempts."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import records as made
from tictactoe.experiment.record import Failure, Record
from tictactoe.experiment.rounds import LAST, Round, entrants, rounds, standing

ROUNDS = (Round(6, 1, 100), Round(3, 2, 1_000), Round(2, 4, 10_000))


def ended(index: int, number: int, mean_log: float = 6.0, **values: Any) -> Record:
    return made.record(index, round=number, mean_log=mean_log, stopped=number < 2, **values)


FIRST = [ended(index, 0, 6.0 + index) for index in range(6)]


def test_a_search_that_has_not_begun() -> None:
    now = standing(ROUNDS, [], [])
    assert (now.records, now.failures, now.number, now.missing) == ([], [], 0, [0, 1, 2, 3, 4, 5])
    assert now.latest == ([], [])


def test_a_round_is_over_when_all_of_it_has_ended() -> None:
    now = standing(ROUNDS, FIRST[:5], [])
    assert (now.number, now.missing) == (0, [5])
    now = standing(ROUNDS, FIRST[:5], [made.failure(5)])
    assert (now.number, now.missing) == (1, [0, 1, 2])
    second = [ended(index, 1, 7.0 - index) for index in (0, 2)]
    now = standing(ROUNDS, [*FIRST, *second], [made.failure(1, round=1)])
    assert (now.number, now.missing) == (2, [0, 2])  # a failed one makes no room for the next best
    now = standing(ROUNDS, [*FIRST, *second, ended(0, 2), ended(2, 2)], [made.failure(1, round=1)])
    assert (now.number, now.missing) == (3, [])
    records, failures = now.latest
    assert [(record.index, record.round) for record in records] == [(0, 2), (2, 2), (3, 0), (4, 0), (5, 0)]
    assert failures == [made.failure(1, round=1)]


def test_ties_go_to_the_lower_loss_then_to_the_lower_index() -> None:
    first = [ended(index, 0, 6.0, loss_vs_random=0.1 if index == 4 else 0.2) for index in range(6)]
    assert standing(ROUNDS, first[::-1], []).missing == [0, 1, 4]


def test_a_trial_that_is_run_again_pushes_another_out_of_later_rounds() -> None:
    """As after --retry-failed: what the other one came to there counts no more."""
    first, failed = [one for one in FIRST if one.index != 1], made.failure(1)
    later = [ended(index, 1, 6.0 + index) for index in (0, 2, 3)] + [ended(index, 2) for index in (0, 2)]
    before = standing(ROUNDS, first + later, [failed])
    assert (before.missing, before.failures, len(before.records)) == ([], [failed], 10)

    retried = standing(ROUNDS, first + later, [])
    assert (retried.number, retried.missing) == (0, [1])
    assert retried.records == first
    again = ended(1, 0, 6.1, attempt=2)
    after = standing(ROUNDS, [*first, again, *later], [])
    assert (after.number, after.missing) == (1, [1])
    assert [(one.index, one.round) for one in after.records if one.round] == [(0, 1), (2, 1)]  # not trial 3 any more
    second = standing(ROUNDS, [*first, again, *later, ended(1, 1, 6.05)], [])
    assert (second.number, second.missing) == (2, [1])
    records, failures = standing(ROUNDS, [*first, again, *later, ended(1, 1, 6.05), ended(1, 2)], []).latest
    assert [(one.index, one.round) for one in records] == [(0, 2), (1, 2), (2, 1), (3, 0), (4, 0), (5, 0)]
    assert failures == []


def test_a_trial_that_fails_where_it_was_run_again_lets_the_next_one_in() -> None:
    later = [ended(index, 1) for index in (0, 1, 2)]
    now = standing(ROUNDS, [*FIRST[1:], *later], [made.failure(0, attempt=2)])
    assert (now.number, now.missing) == (1, [3])
    assert [one.index for one in now.records if one.round == 1] == [1, 2]


ends = st.dictionaries(
    st.tuples(st.integers(0, 7), st.integers(0, 2)), st.none() | st.integers(0, 5), max_size=24
)  # by index and round: a score, None for a failure


@given(ends)
def test_what_counts_is_what_the_rounds_ask_for(entries: dict[tuple[int, int], int | None]) -> None:
    records = [ended(index, number, score) for (index, number), score in entries.items() if score is not None]
    failures = [made.failure(index, round=number) for (index, number), score in entries.items() if score is None]
    now = standing(ROUNDS, records, failures)
    counted: list[Record | Failure] = [*now.records, *now.failures]
    asked = entrants(ROUNDS, 0, [])
    for number in range(len(ROUNDS)):
        there = [one for one in counted if one.round == number]
        if number > now.number:
            assert there == []
            break
        assert sorted([*(one.index for one in there), *(now.missing if number == now.number else [])]) == asked
        if number + 1 < len(ROUNDS):
            asked = entrants(ROUNDS, number + 1, [one for one in there if isinstance(one, Record)])
    assert (now.number == len(ROUNDS)) == (not now.missing)
    assert standing(ROUNDS, now.records, now.failures) == now  # nothing else was needed
    assert standing(ROUNDS, records[::-1], failures[::-1]).missing == now.missing
    latest = {one.index: one for one in sorted(counted, key=lambda one: one.round)}
    assert now.latest == tuple(
        [latest[index] for index in sorted(latest) if isinstance(latest[index], kind)] for kind in (Record, Failure)
    )


@pytest.mark.parametrize("number", [1, 8, 9, 12, 24, 64, 256, 1_000, 100_000])
@pytest.mark.parametrize("options", [{}, {"seeds": 1}, {"seeds": 3, "games": 120}, {"board": "3x4x3", "games": 300_000}])
def test_rounds_grow_in_games_and_seeds_as_the_field_shrinks(number: int, options: dict[str, Any]) -> None:
    settings = made.settings(num_samples=number, **options)
    all_rounds = rounds(settings)
    assert (all_rounds[0].trials, all_rounds[-1].seeds) == (number, settings.seeds)
    if number <= LAST:
        assert all_rounds[-1].games == settings.games
    assert all_rounds[-1].trials == (number if number <= LAST else 8 if number == 24 else LAST)
    for one, following in pairwise(all_rounds):
        assert one.trials >= following.trials and one.seeds <= following.seeds and one.games <= following.games
    for scheduler in ("none", "asha"):
        assert rounds(made.settings(num_samples=number, scheduler=scheduler, **options)) == (
            Round(number, settings.seeds, settings.games),
        )

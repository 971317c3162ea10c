"""The selection: who races on what and at what cost, and what is told of the winner."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import records as made
from tests.support.samples import BUDGET, GRID, Law
from tests.support.simulation import SEEDS, Draws
from tictactoe.core.learner import Hyperparameters
from tictactoe.core.seeds import Stream, sequence
from tictactoe.experiment import selection as module
from tictactoe.experiment.objective import UNITS, bounds, log_units
from tictactoe.experiment.record import GamesToOptimal, Record, Task
from tictactoe.experiment.replicates import Replicates, median
from tictactoe.experiment.selection import CONFIRMATION, FINALISTS, LOOKS, Selection, confirmation, finalists, looks, select
from tictactoe.settings import Settings

SETTINGS = made.settings(seeds=SEEDS, games=BUDGET)
Call = tuple[Stream, list[int], int, int]


class Noted(Draws):
    """Draws that note who was to run which seeds, and are interrupted at call number `interrupted`."""

    def __init__(self, laws: Sequence[Law], seed: int = 0, interrupted: int | None = None) -> None:
        super().__init__(laws, seed)
        self.calls: list[Call] = []
        self._interrupted = interrupted

    def run(self, stream: Stream, records: Sequence[Record], first: int, last: int) -> list[GamesToOptimal]:
        self.calls.append((stream, [record.index for record in records], first, last))
        if len(self.calls) - 1 == self._interrupted:
            return None  # type: ignore[return-value]
        return super().run(stream, records, first, last)


class Told:
    """Runs configurations to these ends, the same on every seed."""

    def __init__(self, games: Sequence[int | None]) -> None:
        self._games = games

    def run(self, stream: Stream, records: Sequence[Record], first: int, last: int) -> list[GamesToOptimal]:
        return [(self._games[record.index],) * (last - first) for record in records]

    def learner_cpu_s(self, stream: Stream) -> float:
        return 0.0


def selected(
    draws: module.Replays, records: Sequence[Record], settings: Settings = SETTINGS, said: list[str] | None = None
) -> Selection:
    lines = [] if said is None else said
    result = select(settings, records, sum(record.played for record in records), draws, lines.append)
    assert result is not None
    return result


def spread(number: int) -> list[Law]:
    return [Law(400 * 1.1**index) for index in range(number)]


def exact(games: Sequence[int | None]) -> Fraction:
    """The objective."""
    units = log_units(bounds(games, BUDGET, GRID))
    return Fraction(sum(units), UNITS * len(units))


# Who races


def test_finalists_are_the_best_of_the_last_round_and_then_the_best_of_others() -> None:
    last = [made.record(index, [900 - index] * 32, round=2) for index in (3, 7, 9)]
    earlier = [made.record(index, [100 + index] * 12, round=1, stopped=True) for index in range(20, 40)]
    chosen = finalists([*earlier, *last])
    assert [record.index for record in chosen] == [9, 7, 3, 20, 21, 22, 23, 24]
    assert len(chosen) == FINALISTS
    assert finalists(earlier[:2]) == earlier[:2]


@pytest.mark.parametrize(
    ("number", "halves"), [(8, [8, 4, 2, 1]), (5, [5, 3, 2, 1]), (3, [3, 2, 1]), (2, [2, 1]), (1, [1]), (20, [8, 4, 2, 1])]
)
def test_half_of_the_finalists_go_on_after_each_look(number: int, halves: list[int]) -> None:
    draws, said = Noted(spread(number)), list[str]()
    records = draws.records()
    result = selected(draws, records, said=said)
    *race, last = draws.calls
    assert [len(entrants) for _, entrants, _, _ in race] == halves[:-1]
    assert all(stream == Stream.FRESH for stream, _, _, _ in race)
    assert last == (Stream.CONFIRMATION, [result.winner.index], 0, CONFIRMATION)
    begin = 0
    for _, entrants, first, end in race:
        assert (first, end) == (begin, max(seeds for most, seeds in LOOKS.items() if len(entrants) <= most))
        begin = end
    assert len(said) == len(draws.calls)
    assert result.summary.rounds == len(race)
    assert [finalist.index for finalist in result.finalists] == ([] if number == 1 else list(result_order(draws.calls, result)))


def result_order(calls: Sequence[Call], result: Selection) -> Iterator[int]:
    """Who was left last comes first; among those dropped at one look, the better."""
    seen = set[int]()
    means = {finalist.index: finalist.means[-1] for finalist in result.finalists}
    yield result.winner.index
    seen.add(result.winner.index)
    for _, entrants, _, _ in reversed([call for call in calls if call[0] == Stream.FRESH]):
        new = sorted((means[index], index) for index in entrants if index not in seen)
        yield from (index for _, index in new)
        seen |= set(entrants)


@pytest.mark.parametrize("seed", range(5))
def test_each_look_decides_by_the_objective_on_all_seeds_run(seed: int) -> None:
    draws = Noted([Law(unsolved=0.02)] * 12, seed)
    records = draws.records()
    result = selected(draws, records)
    games = {record.index: list(record.games_to_optimal) for record in finalists(records)}
    means = {index: [exact(own)] for index, own in games.items()}
    *race, _ = draws.calls
    for (_, entrants, first, last), (_, left, _, _) in zip(race, draws.calls[1:], strict=False):
        ran = Draws.run(draws, Stream.FRESH, [records[index] for index in entrants], first, last)
        for index, more in zip(entrants, ran, strict=True):
            games[index] += more
            means[index].append(exact(games[index]))
        assert left == sorted(entrants, key=lambda index: (means[index][-1], index))[: len(left)]
    for finalist in result.finalists:
        assert finalist.means == pytest.approx([float(mean) for mean in means[finalist.index]], abs=1e-12)
        assert result.fresh[finalist.index] == tuple(games[finalist.index][SEEDS:])


@pytest.mark.parametrize("seed", range(3))
def test_a_selection_is_a_function_of_the_results_alone(seed: int) -> None:
    """Neither of the order in which trials ended, nor of their workers and times."""
    draws = Draws([Law(unsolved=0.02)] * 12, seed)
    records = draws.records()
    expected = selected(draws, records)
    shuffled = [
        replace(record, worker=index, learner_cpu_s=9.0, ended_s=99.0, attempt=3) for index, record in enumerate(records)
    ]
    random.Random(seed).shuffle(shuffled)
    result = selected(draws, shuffled)
    assert replace(result, winner=expected.winner) == expected
    assert result.winner.index == expected.winner.index


def test_ties_go_to_the_lower_index() -> None:
    records = [made.record(index, [400] * 32, BUDGET) for index in random.Random(0).sample(range(8), 8)]
    result = selected(Told([400] * 8), records)
    assert [finalist.index for finalist in result.finalists] == list(range(8))
    assert result.summary.tied == 8


def test_replicates_that_were_stopped_do_not_count_in_the_race() -> None:
    """Their bounds are lower than what they would have come to."""
    whole = made.record(0, [500] * 32, BUDGET)
    stopped = made.record(1, [None] * 400, BUDGET, games=100, stopped=True)
    result = selected(Told([500, 510]), [whole, stopped])
    assert result.winner == whole
    assert result.finalists[1].means == pytest.approx((stopped.mean_log, math.log(510)), abs=1e-4)


def test_nothing_of_an_interrupted_selection_is_told() -> None:
    for call in range(4):
        draws = Noted(spread(8), interrupted=call)
        assert select(SETTINGS, draws.records(), 10**7, draws, lambda _: None) is None
        assert len(draws.calls) == call + 1


# What it costs


def test_the_default_search_may_have_all_looks_and_replicates() -> None:
    settings = made.settings()
    assert looks(settings, 0) == LOOKS == {8: 32, 4: 96, 2: 224}
    assert confirmation(settings, 0) == CONFIRMATION == 200


def test_large_boards_have_fewer() -> None:
    settings = made.settings(board="4x4x4", games=3_000_000, seeds=4, num_samples=32)
    assert (looks(settings, 100_000_000), confirmation(settings, 100_000_000)) == ({8: 1, 4: 2, 2: 4}, 8)
    assert (looks(settings, 0), confirmation(settings, 0)) == ({8: 1, 4: 1, 2: 3}, 3)
    assert (looks(settings, 10**10), confirmation(settings, 10**10)) == (LOOKS, 200)


@given(st.integers(1, 10**12), st.integers(0, 10**13), st.integers(1, FINALISTS))
def test_no_more_is_played_than_is_allowed_but_for_one_seed_of_each(games: int, played: int, number: int) -> None:
    settings = made.settings(games=games)
    at, cost, racing, before = looks(settings, played), 0, number, 0
    assert list(at.values()) == sorted(at.values())
    assert all(1 <= seeds <= LOOKS[half] for half, seeds in at.items())
    while racing > 1:
        seeds = max(seeds for half, seeds in at.items() if racing <= half)
        cost, before, racing = cost + racing * (seeds - before) * games, seeds, racing - racing // 2
    assert cost <= max(40_000_000, played / 2, number * games)
    assert confirmation(settings, played) * games <= max(10_000_000, played / 4, games)
    assert confirmation(settings, played + games) >= confirmation(settings, played)


def test_a_look_without_new_seeds_is_none() -> None:
    """On a budget that allows one seed of each, all is decided after it."""
    settings = made.settings(games=40_000_000)
    said, games = list[str](), [900 - index for index in range(8)]
    records = [made.record(index, [games[index]], settings.games) for index in range(8)]
    result = select(settings, records, 0, Told(games), said.append)
    assert result is not None
    assert said == ["race: 8 finalists on fresh seeds 1 to 1", "confirmation: the winner on 1 other seed"]
    assert (result.winner.index, result.summary.rounds, result.summary.games) == (7, 1, 8 * settings.games)
    assert [finalist.index for finalist in result.finalists] == list(range(7, -1, -1))


# What is told


def test_who_has_nobody_to_race_with_is_confirmed() -> None:
    draws = Noted([Law()])
    result = selected(draws, draws.records())
    assert (result.finalists, result.fresh, result.summary.rounds, result.summary.games) == ((), {}, 0, 0)
    assert result.confirmed.seeds == CONFIRMATION == len(result.confirmation)


def test_the_winners_worth_is_that_of_the_confirmation() -> None:
    draws = Noted(spread(3), seed=1)
    records = draws.records()
    result = selected(draws, records)
    (games,) = Draws.run(draws, Stream.CONFIRMATION, [result.winner], 0, CONFIRMATION)
    confirmed, ordered = result.confirmed, sorted(value for value in games if value is not None)
    assert result.confirmation == games
    assert confirmed.mean_log == float(exact(games))
    assert confirmed.par10 == fmean(500_000 if value is None else value for value in games)
    assert confirmed.median == median(games)
    assert (confirmed.games, confirmed.learner_cpu_s) == (200 * BUDGET, 1.0 + Stream.CONFIRMATION)
    assert result.summary.gap == math.exp(confirmed.mean_log - records[result.winner.index].mean_log)
    assert (result.summary.games, result.summary.learner_cpu_s) == ((3 * 96 + 2 * 128) * BUDGET, 1.0 + Stream.FRESH)
    # Opened to the check before its lower end: it was then that the replicate was not yet optimal for good.
    assert confirmed.interval == (GRID[GRID.index(ordered[85]) - 1], ordered[114])
    low, high = confirmed.mean_log_interval
    assert low < confirmed.mean_log < high


def test_200_solved_seeds_say_that_985_of_1000_are() -> None:
    records = [made.record(0, [400] * 32, BUDGET)]
    confirmed = selected(Told([400]), records).confirmed
    assert confirmed.solved == confirmed.seeds == 200
    assert confirmed.solved_at_least == pytest.approx(0.05 ** (1 / 200), abs=1e-6)
    assert confirmed.par10_at_most == pytest.approx(0.05 ** (1 / 200) * 400 + (1 - 0.05 ** (1 / 200)) * 500_000, rel=1e-4)


def test_unsolved_finalists_can_be_selected() -> None:
    records = [made.record(index, [None] * 32, BUDGET) for index in range(8)]
    result = selected(Told([None] * 8), records)
    confirmed = result.confirmed
    assert (result.winner.index, result.summary.tied) == (0, 8)
    assert (confirmed.solved, confirmed.solved_at_least, confirmed.median) == (0, 0.0, None)
    assert (confirmed.interval, confirmed.par10, confirmed.par10_at_most) == ((BUDGET, None), 500_000, 500_000)
    low, high = confirmed.mean_log_interval
    assert low < confirmed.mean_log == high == pytest.approx(math.log(500_000), abs=1e-4)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("share", [0.9, 0.995])
def test_what_is_mostly_unsolved_has_an_interval_too(share: float) -> None:
    draws = Draws([Law(unsolved=share)], 1)
    confirmed = selected(draws, draws.records()).confirmed
    assert confirmed.solved
    low, high = confirmed.mean_log_interval
    assert low < confirmed.mean_log < high
    assert high - confirmed.mean_log < confirmed.mean_log - low < 1.0


def test_streams_of_seeds_have_nothing_in_common() -> None:
    states = {tuple(sequence(3, stream, number).generate_state(4)) for stream in Stream for number in range(500)}
    assert len(states) == 500 * len(Stream)
    h = Hyperparameters()
    first, tail, *others = (
        Replicates(Task("3x3x3", seeds, 2_000, 5, stream, start), h)
        for seeds, start, stream in (
            (6, 0, Stream.FRESH),
            (2, 4, Stream.FRESH),
            (6, 0, Stream.SEARCH),
            (6, 0, Stream.CONFIRMATION),
        )
    )
    for replicates in (first, tail, *others):
        replicates.advance(math.inf, 2_000)
    assert first.games_to_optimal[4:] == tail.games_to_optimal
    for other in others:
        assert all(not np.array_equal(a.table, b.table) for a in first.learners for b in other.learners)

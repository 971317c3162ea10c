"""The landscape with known truth: its table is the program's own, and scores on it are exact."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution

from benchmarks.landscape import lags, tuners
from benchmarks.landscape.__main__ import row, score
from benchmarks.landscape.contestants import CONTESTS, Contest
from benchmarks.landscape.replay import Replay
from benchmarks.landscape.table import CONFIGURATIONS, LATE, LOSS_UNITS, SEEDS, TASK, Landscape, compute, load
from benchmarks.landscape.tuners import Outcome, Tuner
from tictactoe.core.evaluation import check_grid
from tictactoe.core.game import Board
from tictactoe.core.seeds import Stream
from tictactoe.errors import UserError
from tictactoe.experiment import space
from tictactoe.experiment.objective import bounds, mean_log, par10
from tictactoe.experiment.record import Record
from tictactoe.experiment.selection import LOOKS

GRID = check_grid(Board.parse(TASK.board), TASK.games)
TUNERS = [pytest.param(tuner, id=tuner.name) for contest in (*CONTESTS[:3], lags.CONTEST) for tuner in contest.tuners]


def landscape(optimal: np.ndarray) -> Landscape:
    """A table of these checks, where all losses are alike."""
    return Landscape(space.sample(len(optimal), 1), GRID, optimal, np.zeros((*optimal.shape[:2], 2)))


def ladder(configurations: int) -> Landscape:
    """Each configuration is optimal from a point on, the same on all seeds, that no other one has; row 7 is the best."""
    since = np.roll(np.arange(configurations), 7) % len(GRID)
    return landscape(
        np.broadcast_to((np.arange(len(GRID)) >= since[:, np.newaxis])[:, np.newaxis], (configurations, 3, len(GRID)))
    )


def test_the_shipped_table_is_whole() -> None:
    shipped = load()
    assert shipped.grid == GRID
    assert shipped.configurations == space.sample(CONFIGURATIONS, TASK.seed)
    assert shipped.optimal.shape == (CONFIGURATIONS, SEEDS, len(GRID))
    assert shipped.loss.shape == (CONFIGURATIONS, SEEDS, 2)
    assert 0.0 <= shipped.loss.min() < shipped.loss.max() <= 1.0


@pytest.mark.parametrize("number", [1, CONFIGURATIONS - 1])
def test_the_program_computes_what_the_shipped_table_holds(number: int) -> None:
    shipped, seeds = load(), 6
    optimal, losses = compute(shipped.configurations[number], seeds)
    assert np.array_equal(optimal, shipped.optimal[number, :seeds])
    assert np.array_equal(losses / LOSS_UNITS, shipped.loss[number, :seeds])


def test_a_table_of_another_space_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(space.SPACE, "gamma", FloatDistribution(0.7, 1.0))
    with pytest.raises(UserError, match="configurations are not the program's any more; make it anew"):
        load.__wrapped__()


def test_a_table_of_another_grid_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tictactoe.core.evaluation.FACTOR", 1.25)
    with pytest.raises(UserError, match="grid are not the program's any more; make it anew"):
        load.__wrapped__()


@settings(max_examples=40)
@given(st.integers(0, 2 ** len(GRID) - 1), st.integers(0, len(GRID) - 1))
def test_a_replicate_is_seen_as_a_trial_would_report_it(bits: int, point: int) -> None:
    optimal = [bool(bits >> number & 1) for number in range(len(GRID))]
    table = landscape(np.array([[optimal]]))
    games = None
    for at, now in zip(GRID[: point + 1], optimal, strict=False):
        games = (at if games is None else games) if now else None
    assert table.games_to_optimal(0, np.array([0]), point) == (games,)
    (value,) = bounds([games], GRID[point], GRID)
    assert table.values[table.since[0, 0, point]] == value


def test_the_truth_is_the_objective_over_all_seeds_of_the_table() -> None:
    table = landscape(np.random.default_rng(0).random((5, 20, len(GRID))) < 0.8)
    for number in range(5):
        values = bounds(table.games_to_optimal(number, np.arange(20), len(GRID) - 1), GRID[-1], GRID)
        assert table.objective[number] == pytest.approx(mean_log(values), abs=1e-12)
        assert table.par10[number] == par10(values)
        assert table.late[number] == np.mean([value > LATE for value in values])


@pytest.mark.parametrize("tuner", TUNERS)
def test_a_configuration_that_is_the_best_on_every_seed_wins(tuner: Tuner) -> None:
    table = ladder(24)
    outcomes = tuner.outcomes(table, 3, [24])
    assert [(outcome.size, outcome.winner) for outcome in outcomes] == [(24, 7)]
    assert row(table, tuner.name, outcomes)["regret %"] == 0.0


def test_who_knows_the_truth_regrets_nothing() -> None:
    oracle = Tuner("oracle", tuners.oracle, ())
    found = row(load(), "oracle", [oracle.outcomes(load(), repetition, [CONFIGURATIONS])[0] for repetition in range(3)])
    assert (found["regret %"], found["from"], found["to"], found["games M"]) == (0.0, 0.0, 0.0, 0.0)


def test_regret_is_that_of_geometric_means_and_games_are_all_that_were_played() -> None:
    random = Tuner("random", tuners.random, (16, 32))
    found = score(Contest("", (random,)), 4, 1)
    assert [line["tried"] for line in found] == [16, 32]
    race = sum(half * (seeds - before) for (half, seeds), before in zip(LOOKS.items(), (0, *LOOKS.values()), strict=False))
    assert [line["games M"] for line in found] == [(size * random.seeds + race) * TASK.games / 1e6 for size in (16, 32)]
    winners = [random.outcomes(load(), repetition)[1].winner for repetition in range(4)]
    means = np.exp(load().objective)
    regret = 100 * (np.prod(means[winners]) ** 0.25 / means.min() - 1)
    assert found[1]["regret %"] == pytest.approx(regret)
    assert found[1]["from"] <= found[1]["regret %"] <= found[1]["to"]


def test_scores_are_the_same_again_and_in_any_number_of_processes() -> None:
    contest = Contest(
        "", (Tuner("race", tuners.race, (16, 32)), Tuner("TPE", tuners.tpe, (16,)), Tuner("ASHA", tuners.asha, (16,)))
    )
    assert score(contest, 2, 1) == score(contest, 2, 2)


def test_optuna_is_told_of_trials_once_so_many_later_ones_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = list[str | int]()

    class Heard(tuners.TPE):
        def ask(self) -> int:
            heard.append("ask")
            return super().ask()

        def tell(self, record: Record) -> None:
            heard.append(record.index)
            super().tell(record)

    monkeypatch.setattr(tuners, "TPE", Heard)
    Tuner("", partial(tuners.tpe, lag=3), ()).outcomes(load(), 0, [6])
    assert heard == ["ask", "ask", "ask", 0, "ask", 1, "ask", 2, "ask", 3]


def busy_by_seconds(lengths: list[int], slots: int, lag: int | None) -> float:
    """The same as `lags.busy`, one second after another."""
    left: dict[int, int] = {}
    started = second = 0
    while left or started < len(lengths):
        while started < len(lengths) and len(left) < slots and (lag is None or min(left, default=started) > started - lag):
            left[started] = lengths[started]
            started += 1
        left = {index: seconds - 1 for index, seconds in left.items() if seconds > 1}
        second += 1
    return sum(lengths) / (slots * second)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(1, 8), st.integers(1, 12) | st.none())
def test_slots_are_as_busy_as_they_would_be_second_by_second(lengths: list[int], slots: int, lag: int | None) -> None:
    assert lags.busy(lengths, slots, lag) == pytest.approx(busy_by_seconds(lengths, slots, lag))


def test_how_busy_slots_are_goes_by_what_a_search_has_tried_in_its_order() -> None:
    lengths = [1.0] * 14 + [2.0]
    outcomes = [Outcome(15, 0, 0, (14, *range(14))), Outcome(15, 0, 0, tuple(range(15)))]  # two seconds, and three
    assert lags.row("random", outcomes, lengths)["8 slots"] == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert lags.row("Optuna TPE, lag 1", outcomes, lengths)["8 slots"] == pytest.approx(100 / 8)


def test_a_row_is_nearest_to_itself_and_tried_once() -> None:
    table = load()
    for number, configuration in enumerate(table.configurations[:20]):
        assert table.nearest(configuration, []) == number
        other = table.configurations[table.nearest(configuration, [number])]
        assert [getattr(other, name) for name in ("table", "symmetry", "bootstrap", "replay")] == [
            getattr(configuration, name) for name in ("table", "symmetry", "bootstrap", "replay")
        ]
        assert other != configuration


def test_streams_of_seeds_are_drawn_from_the_whole_table_and_differ() -> None:
    first, second = Replay(load(), 0), Replay(load(), 1)
    drawn = np.concatenate(list(first.seeds.values()))
    assert set(drawn.tolist()) == set(range(SEEDS))
    assert not np.array_equal(first.seeds[Stream.SEARCH], first.seeds[Stream.FRESH])
    assert first.order != second.order
    assert sorted(first.order) == list(range(CONFIGURATIONS))

"""The statistics of the selection, on data whose truth is known: how often they are wrong, and that they decide."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest

from tests.support.program import ROOT
from tictactoe.experiment.racing import ERROR, Games, Race, log_games, median_interval, p_values, race

BUDGET = 50_000
GRID = [int(100 * 1.25**step) for step in range(28)]
DRAWS = 1_999
RUNS = 1_500
SLACK = 3 * math.sqrt(ERROR * (1 - ERROR) / RUNS)  # three standard errors of a rate of 5 %
Kind = tuple[float, float]  # median games to optimal, share of unsolved replicates


def drawn(generator: np.random.Generator, kind: Kind, seeds: int) -> Games:
    """Games to optimal as the project sees them: on the grid of checks, some unsolved."""
    games = np.exp(np.log(kind[0]) + 0.2 * generator.standard_normal(seeds))
    solved = generator.random(seeds) >= kind[1]
    return [next(point for point in GRID if point >= value) if s else None for value, s in zip(games, solved, strict=True)]


def raced(run: int, kinds: Sequence[Kind], looks: tuple[int, ...], allowed: int = 10**6, error: float = ERROR) -> Race:
    data = [drawn(np.random.default_rng([run, place]), kind, max(looks)) for place, kind in enumerate(kinds)]
    ended = race(
        len(kinds), looks, allowed, BUDGET, lambda entrants, first, last: [data[place][first:last] for place in entrants],
        lambda number: np.random.default_rng([run, 99, number]), error=error, draws=DRAWS,
    )  # fmt: skip
    assert ended is not None
    return ended


@pytest.mark.parametrize("seeds", [1, 8, 14, 16])
def test_p_values_are_the_share_of_sign_patterns(seeds: int) -> None:
    """Of all of them up to 14 seeds, of random ones beyond."""
    generator = np.random.default_rng(0)
    differences = np.stack([generator.integers(-3, 6, seeds), np.arange(1, seeds + 1), np.zeros(seeds)], axis=1).astype(float)
    patterns = np.array(list(itertools.product((-1, 1), repeat=seeds)))
    exact = (patterns @ differences >= differences.sum(axis=0)).mean(axis=0)
    assert exact[1:].tolist() == [2**-seeds, 1.0]
    values = p_values(differences, generator)
    slack = 0 if seeds <= 14 else 4 * np.sqrt(exact * (1 - exact) / 20_000) + 1 / 20_000
    assert np.all(np.abs(values - exact) <= slack)


@pytest.mark.parametrize("level", [0.05, 0.005])
def test_equally_good_ones_are_told_apart_as_often_as_said(level: float) -> None:
    """Sharp from both sides: the values are continuous, so the test is exact and not merely cautious."""
    trials = 8_000
    generator = np.random.default_rng(1)
    differences = (1e6 * np.diff(generator.lognormal(size=(2, 24, trials)), axis=0)[0]).round()
    rate = np.mean(p_values(differences, generator) <= level)
    assert abs(rate - level) < 4 * math.sqrt(level / trials)


def test_resampling_differences_would_tell_equals_apart_too_often() -> None:
    """Why the bootstrap is of signs: on 8 coarse values the usual one errs several times as often as it says."""
    generator = np.random.default_rng(2)
    columns = [log_games(drawn(generator, (450, 0), 16), BUDGET) for _ in range(2_000)]
    differences = np.stack([column[:8] - column[8:] for column in columns], axis=1)
    level = 0.005
    resampled = np.stack([np.bincount(row, minlength=8) for row in generator.integers(0, 8, (DRAWS, 8))])
    usual = np.mean((resampled @ differences <= 0).mean(axis=0) <= level)
    ours = np.mean(p_values(differences, generator, DRAWS) <= level)
    assert usual > 2 * level
    assert ours < level + 3 * math.sqrt(level / 2_000)


SETTINGS = {
    "equal": ([(450, 0.0)] * 8, (12, 24, 48), 7),
    "equal, some unsolved": ([(450, 0.1)] * 8, (12, 24, 48), 7),
    "a little better": ([(480, 0.0)] * 7 + [(450, 0.0)], (12, 24, 48), 7),
    "all kinds": ([(450, 0.2)] * 3 + [(520, 0.1)] * 4 + [(450, 0.1)], (12, 24, 48), 7),
    "one look on few seeds": ([(450, 0.05)] * 4, (8,), 3),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_best_is_left_in_95_of_100_races(name: str) -> None:
    """The best is last in order, so that not even equal numbers favour it."""
    kinds, looks, best = SETTINGS[name]
    missed = np.mean([best not in raced(run, kinds, looks).tied for run in range(RUNS)])
    assert missed <= ERROR + SLACK


def test_without_the_correction_the_best_would_be_missed_often() -> None:
    """What makes the test above one that can fail: 5 % at every comparison and look lose the best in every third race."""
    kinds, looks, best = SETTINGS["equal"]
    uncorrected = ERROR * len(looks) * (len(kinds) - 1)
    missed = np.mean([best not in raced(run, kinds, looks, error=uncorrected).tied for run in range(300)])
    assert missed > 0.2


def test_clearly_worse_ones_are_dropped_and_the_race_ends_early() -> None:
    ended = [raced(run, [(700, 0.0)] * 7 + [(450, 0.0)], (12, 24, 48)) for run in range(200)]
    assert all(race.order[0] == 7 for race in ended)
    assert np.mean([race.tied == {7} for race in ended]) > 0.97
    assert np.mean([race.rounds for race in ended]) < 2.1
    assert all(max(map(len, race.games)) == {1: 12, 2: 24, 3: 48}[race.rounds] for race in ended)


def test_equal_ones_are_found_tied() -> None:
    tied = [len(raced(run, [(450, 0.0)] * 8, (12, 24, 48)).tied) for run in range(300)]
    assert np.mean(tied) > 7.5
    same = race(3, (8,), 24, BUDGET, lambda entrants, first, last: [[476] * 8] * 3, lambda n: np.random.default_rng(n))
    assert same is not None
    assert (same.order, same.tied, same.rounds) == ([0, 1, 2], {0, 1, 2}, 1)


def test_a_race_keeps_to_what_it_may_cost_and_spends_what_dropping_saves() -> None:
    for run in range(40):
        ended = raced(run, [(450, 0.0)] * 4 + [(1_500, 0.0)] * 8, (12, 24, 48), allowed=225)
        played = sum(map(len, ended.games))
        assert 200 < played <= 225
        assert {len(games) for games in ended.games[4:]} == {12}
        assert min(len(games) for games in ended.games[:4]) > 225 // 12
        assert set(ended.order[:4]) == {0, 1, 2, 3} == ended.tied | ({0, 1, 2, 3} - ended.tied)
    short = raced(0, [(450, 0.0)] * 5, (8,), allowed=12)
    assert [len(games) for games in short.games] == [2] * 5
    assert len(short.tied) == 5


def test_a_race_can_be_given_up() -> None:
    assert race(3, (8,), 24, BUDGET, lambda *arguments: None, lambda number: np.random.default_rng(0)) is None


def test_one_alone_wins() -> None:
    ended = raced(0, [(450, 1.0)], (8,))
    assert (ended.order, ended.tied) == ([0], {0})


def test_unsolved_replicates_count_as_10_budgets() -> None:
    assert log_games([None, 476, 1], BUDGET).tolist() == [round(10_000 * math.log(500_000)), 61_654, 0]


@pytest.mark.parametrize(("seeds", "places"), [(6, (0, 5)), (12, (2, 9)), (30, (9, 20))])
def test_intervals_are_order_statistics(seeds: int, places: tuple[int, int]) -> None:
    """Tabulated, e.g. by Conover: the 95 % interval of a median."""
    games = [100 * place for place in range(1, seeds + 1)]
    low, high, rate = median_interval(games, 0.05)
    assert (low, high) == tuple(100.0 * (place + 1) for place in places)
    assert rate <= 0.05


def test_an_interval_without_enough_seeds_is_their_range_and_says_how_sure_it_is() -> None:
    assert median_interval([700, 300, None], 0.05) == (300.0, math.inf, 0.25)
    assert median_interval([700], 0.05) == (700.0, 700.0, 1.0)


@pytest.mark.parametrize("seeds", [8, 12, 24, 45])
def test_intervals_miss_as_often_as_said(seeds: int) -> None:
    """Sharp from both sides on continuous values."""
    samples = np.random.default_rng(seeds).lognormal(size=(6_000, seeds))
    intervals = [median_interval(sample.tolist(), 0.05) for sample in samples]
    missed = np.mean([not low <= 1.0 <= high for low, high, _ in intervals])
    rate = intervals[0][2]
    assert rate <= 0.05
    assert abs(missed - rate) < 4 * math.sqrt(rate / len(samples))


def _slices(values: list[list[int]], entrants: list[int], first: int, last: int) -> list[list[int]]:
    return [values[entrant][first:last] for entrant in entrants]


def _generator(run: int, number: int) -> np.random.Generator:
    return np.random.default_rng([run, number])


@pytest.mark.parametrize(("entrants", "looks", "plain_misses"), [(8, (8,), 0.02), (8, (24,), 0.05), (16, (12, 24, 48), 0.06)])
def test_the_winners_interval_holds_though_it_was_picked(entrants: int, looks: tuple[int, ...], plain_misses: float) -> None:
    """Among equals, where picking flatters most; an interval for one configuration alone would miss too often."""
    corrected = plain = 0
    runs = 600
    for run in range(runs):
        values = np.random.default_rng([5, run]).lognormal(6, 0.5, (entrants, max(looks))).round().astype(int).tolist()
        ended = race(
            entrants, looks, 20 * entrants, 10**6, partial(_slices, values),
            partial(_generator, run), draws=DRAWS // 4,
        )  # fmt: skip
        assert ended is not None
        games = ended.games[ended.order[0]]
        for error in (ERROR / entrants / len(looks), ERROR):
            low, high, _ = median_interval(games, error)
            missed = not low <= math.exp(6) <= high
            corrected, plain = corrected + (missed and error < ERROR), plain + (missed and error == ERROR)
    assert corrected / runs <= ERROR
    assert plain / runs > plain_misses


BITS = """
import hashlib, math
import numpy as np
from tictactoe.experiment.racing import log_games, p_values
from tictactoe.experiment.selection import generator
signs = generator(3, 1)
games = [[int(100 * 1.25 ** int(step)) for step in row] for row in generator(3, 0).integers(0, 28, (48, 40))]
values = np.stack([log_games(row, 50_000) for row in games])
p = p_values(values[:, 1:] - values[:, :1], signs)
print(hashlib.sha256(values.tobytes() + p.tobytes()).hexdigest(), len(set(p.tolist())))
"""


def test_bits_do_not_depend_on_the_processor() -> None:
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    usable = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    plain = {"NPY_DISABLE_CPU_FEATURES": " ".join(usable), "OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "1",
             "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX512F"}  # fmt: skip
    hashes = set()
    for variables in ({}, plain):
        command = [sys.executable, "-c", BITS]
        ran = subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        hashes.add(ran.stdout)
    assert usable, "this processor has nothing to switch off"
    assert len(hashes) == 1
    assert int(hashes.pop().split()[1]) > 10

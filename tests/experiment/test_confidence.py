"""The bounds: exact where that can be counted out, else their error rates and their worth by simulation."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from tests.support.samples import GRID, LOGS, Law
from tictactoe.experiment.confidence import log_fortune, mean_at_least, mean_at_most, median_interval, share_at_least

LEAST, MOST = float(LOGS[0]), float(LOGS[-1])
ERROR = 0.025
LAWS = {
    **{f"{share:.1%} unsolved": Law(unsolved=share) for share in (0.0, 0.002, 0.005, 0.01, 0.03)},
    "few values": Law(sd=0.08, unsolved=0.01, late=0.0),
    "a coin": Law(centre=1.0, unsolved=0.5, late=0.0),
    "mostly unsolved": Law(unsolved=0.9),
}
SIZES = (1, 2, 6, 16, 48, 112, 200)


def exceeds(rate: float, times: int) -> int:
    """How many errors, of so many chances, a rate that holds stays below in all but one of 10,000 such tests."""
    return int(binom.isf(1e-4, times, rate))


@given(st.lists(st.sampled_from(LOGS.tolist()), min_size=1, max_size=60), st.sampled_from(LOGS.tolist()[1:]))
def test_the_bound_is_the_mean_that_betting_refutes(values: list[float], mean: float) -> None:
    refuted = log_fortune([value - LEAST for value in values], mean - LEAST) > math.log(1 / ERROR)
    bound = mean_at_least(values, LEAST, ERROR)
    assert refuted == (bound > mean) or bound == pytest.approx(mean)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", LAWS)
def test_bounds_of_the_mean_fail_at_most_at_their_rate(name: str, size: int) -> None:
    law, runs = LAWS[name], 250
    samples = LOGS[law.places(np.random.default_rng(size).random((runs, size)))]
    for values, mean in ((samples - LEAST, law.mean - LEAST), (MOST - samples, MOST - law.mean)):
        assert sum(log_fortune(sample, mean) > math.log(1 / ERROR) for sample in values) <= exceeds(ERROR, runs)


@pytest.mark.parametrize("size", [1, 2, 5, 16, 60, 200])
@pytest.mark.parametrize("error", [0.025, 0.1])
def test_of_zeros_and_ones_the_rate_can_be_counted_out(size: int, error: float) -> None:
    """Each bound holds, and is no tighter than the best there can be (Clopper & Pearson) nor far from it."""
    bounds = np.array([mean_at_least([1.0] * ones + [0.0] * (size - ones), 0.0, error) for ones in range(size + 1)])
    exact = np.array([share_at_least(ones, size, error) for ones in range(size + 1)])
    assert (np.diff(bounds) >= 0).all()
    for share in np.linspace(0.01, 0.99, 99):
        assert binom.pmf(np.arange(size + 1), size, share)[bounds > share].sum() <= error
    assert (bounds <= exact + 1e-9).all()
    spread = np.sqrt(exact * (1 - exact) / size) + 1 / size
    assert (exact - bounds <= 2.0 * spread).all()


def test_bounds_hold_whenever_one_stops() -> None:
    """They are looked at again and again up to 200 values, and the first time that one is wrong counts."""
    runs, looks = 120, [*range(1, 20), *range(20, 201, 6)]
    for law in (Law(unsolved=0.01), Law(unsolved=0.5)):
        samples = LOGS[law.places(np.random.default_rng(1).random((runs, 200)))]
        for above, mean in ((samples - LEAST, law.mean - LEAST), (MOST - samples, MOST - law.mean)):
            most = np.array([max(log_fortune(sample[:size], mean) for size in looks) for sample in above])
            assert (most > math.log(1 / ERROR)).sum() <= exceeds(ERROR, runs)


@pytest.mark.parametrize(
    ("size", "unsolved", "below", "above"),
    [
        (16, 0.0, 0.55, 2.0),
        (48, 0.0, 0.28, 0.80),
        (112, 0.0, 0.18, 0.37),
        (112, 0.01, 0.23, 0.48),
        (200, 0.0, 0.14, 0.22),
        (200, 0.01, 0.18, 0.32),
        (200, 0.03, 0.25, 0.43),
    ],
)
def test_bounds_of_the_mean_are_close_enough_to_be_of_use(size: int, unsolved: float, below: float, above: float) -> None:
    """How far they are from the mean of the values, in logarithms, on average: 0.2 is 22 %."""
    samples = LOGS[Law(unsolved=unsolved).places(np.random.default_rng(size).random((40, size)))]
    assert fmean(sample.mean() - mean_at_least(sample, LEAST, ERROR) for sample in samples) < below
    assert fmean(mean_at_most(sample, MOST, ERROR) - sample.mean() for sample in samples) < above


def test_an_upper_bound_reckons_with_failures_that_were_not_seen() -> None:
    """Of 200 equal values none is unsolved; yet 1.8 % of all may be, and once in 40 times no such sample shows one."""
    value, unseen = float(LOGS[7]), 1 - 0.025 ** (1 / 200)
    assert mean_at_most([value] * 200, MOST, ERROR) - value > unseen * (MOST - value)


@given(st.lists(st.sampled_from(LOGS.tolist()), max_size=30), st.sampled_from([0.01, 0.025, 0.2]), st.randoms())
def test_bounds_are_bounds_whatever_the_values_and_their_order(
    values: list[float], error: float, shuffler: random.Random
) -> None:
    least, most = mean_at_least(values, LEAST, error), mean_at_most(values, MOST, error)
    mean = fmean(values) if values else LEAST
    assert LEAST <= least <= mean + 1e-9
    assert (mean if values else MOST) - 1e-9 <= most <= MOST
    mirrored = [LEAST + MOST - value for value in values]
    assert LEAST + MOST - mean_at_least(mirrored, LEAST, error) == pytest.approx(most)
    assert mean_at_least(values, LEAST, error / 2) <= least
    shuffler.shuffle(values)
    assert (mean_at_least(values, LEAST, error), mean_at_most(values, MOST, error)) == (least, most)


def test_bounds_do_not_depend_on_the_unit() -> None:
    values = [0.0, 1.0, 1.5, 4.0] * 20
    assert mean_at_least([3 + 7 * value for value in values], 3.0, ERROR) == pytest.approx(
        3 + 7 * mean_at_least(values, 0.0, ERROR)
    )


@pytest.mark.parametrize("size", [1, 2, 6, 32, 200])
@pytest.mark.parametrize("error", [0.025, 0.05])
def test_the_bound_of_a_share_is_where_so_many_would_be_seen_at_the_error_rate(size: int, error: float) -> None:
    assert share_at_least(0, size, error) == 0.0
    assert share_at_least(size, size, error) == pytest.approx(error ** (1 / size))
    for number in range(1, size + 1):
        bound = share_at_least(number, size, error)
        assert binom.sf(number - 1, size, bound) == pytest.approx(error)
        assert bound == pytest.approx(1 - beta.isf(error, size - number + 1, number))
    assert share_at_least(200, 200, 0.05) > 0.985


def test_the_rate_of_the_medians_interval_is_that_of_fair_coins() -> None:
    """Each value is on either side of the median with equal chances: all ways of that are counted out."""
    for size, error in itertools.product(range(1, 13), (0.001, 0.05, 0.2, 0.5)):
        low, high, rate = median_interval(range(size), error)
        ways = list(itertools.product((False, True), repeat=size))  # below the median, or above it
        missed = sum(below <= low or size - below <= size - 1 - high for below in map(sum, ways))
        assert rate == Fraction(missed, len(ways))
        assert low + high == size - 1


@settings(max_examples=40)
@given(st.integers(1, 1_200), st.sampled_from([0.001, 0.05, 0.3]))
def test_no_narrower_interval_of_the_median_holds(size: int, error: float) -> None:
    low, high, rate = median_interval(range(size), error)
    assert rate == pytest.approx(2 * binom.cdf(low, size, 0.5))
    assert (rate <= error) or (low, high) == (0, size - 1)
    assert 2 * binom.cdf(low + 1, size, 0.5) > error * (1 - 1e-9)


def test_the_medians_interval_holds_for_skewed_values_with_ties() -> None:
    law, runs = Law(unsolved=0.03), 2_000
    median = int(np.searchsorted(np.cumsum(law.shares), 0.5))
    assert GRID[median] > 450
    for size in (6, 16, 200):
        samples = np.sort(law.places(np.random.default_rng(size).random((runs, size))), axis=1)
        low, high, rate = median_interval(samples[0].tolist(), 0.05)
        missed = ((samples[:, low] > median) | (samples[:, high] < median)).sum()
        assert missed <= exceeds(rate, runs)
        assert math.isclose(rate, 2 * binom.cdf(low, size, 0.5))

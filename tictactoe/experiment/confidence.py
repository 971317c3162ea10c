"""What can be said of all seeds from a few: bounds of a mean, of a share and of a median.

Games to optimal have a long tail, are cut off at the budget, and some seeds in a hundred may fail whom a sample shows none of.
No bound here supposes a shape: each holds for every distribution, at every number of replicates.

Means: by betting (Waudby-Smith & Ramdas, 2024, JRSS-B 86:1-27). If the mean of non-negative values were q, nobody could expect
to gain by betting a share c of a fortune on each, which then becomes (1 - c + c * value / q) times as large. A mixture of many
shares is Cover's universal portfolio (Orabona & Jun, 2024, IEEE Trans. Inf. Theory 70:436). Its fortune exceeds 1 / error with
a probability of at most `error`, at any time (Ville, 1939): so the bound also holds where it was decided on the way how many
values there are. It does not depend on their order.

Others were tried on such values. Anderson's bound (1969) is 1.4 to 4 times as far from the mean. Shares that are learned on the
way, for a given number of values (Waudby-Smith & Ramdas again), are at best 16 % closer to it and at worst 43 % further away.
Gaffke's bound (Learned-Miller & Thomas, 2019, arXiv:1905.06208) is 17 to 37 % closer; that it holds is a conjecture.

Shares: exactly (Clopper & Pearson, 1934, Biometrika 26:404). Medians: by order statistics (David & Nagaraja, 2003, 7.1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

_SHARES = np.sin(np.pi / 2 * (np.arange(64) + 0.5) / 64) ** 2
"""Of a fortune, denser towards 0 and 1, as the arcsine law that universal portfolios begin with."""


def mean_at_least(values: Sequence[float], least: float, error: float) -> float:
    """A lower bound of a distribution's mean, from independent values, none below `least`; it fails at a rate of `error`."""
    above = np.asarray(values, dtype=np.float64) - least
    if not above.any():
        return least
    mean = float(np.sort(above).mean())  # sorted, so that their order changes not even the last bit
    return least + _root(lambda q: log_fortune(above, q) - math.log(1 / error), 1e-12 * mean, mean)


def log_fortune(values: Sequence[float] | np.ndarray, mean: float) -> float:
    """Logarithm of what 1 becomes by betting that non-negative values have a greater mean than this one, which is above 0."""
    different, times = np.unique(values, return_counts=True)
    fortunes = times @ np.log1p(_SHARES * (different[:, np.newaxis] / mean - 1))
    return float(np.logaddexp.reduce(fortunes)) - math.log(len(_SHARES))


def mean_at_most(values: Sequence[float], most: float, error: float) -> float:
    """An upper bound of a distribution's mean, from independent values, none above `most`; it fails at a rate of `error`."""
    return -mean_at_least([-value for value in values], -most, error)


def share_at_least(number: int, size: int, error: float) -> float:
    """A lower bound of a share of which `number` of `size` were seen; it fails at a rate of at most `error`."""

    def tail(share: float) -> float:
        """How often at least as many are seen."""
        return math.fsum(math.comb(size, k) * share**k * (1 - share) ** (size - k) for k in range(number, size + 1))

    return _root(lambda share: error - tail(share), 0.0, 1.0) if number else 0.0


def median_interval(ordered: Sequence[float], error: float) -> tuple[int, int, float]:
    """Places in `ordered` values between which their distribution's median lies, and how often it does not.

    That is at most `error` where there are enough values; else these are the first and the last place, with their rate.
    """
    size = len(ordered)
    cut, beyond = 0, 1  # places cut off at each end; of 2**size ways to fall about the median, those that leave it out there
    while 2 * (beyond + math.comb(size, cut + 1)) / 2**size <= error:
        cut += 1
        beyond += math.comb(size, cut)
    return cut, size - 1 - cut, 2 * beyond / 2**size


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a decreasing function gets to 0, or just before, between two points before and after; by halving."""
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return low

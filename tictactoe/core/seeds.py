"""Every random stream of a search, by name.

All come from the search's seed through NumPy's SeedSequence (O'Neill, 2015), whose spawn keys keep them apart: the first
number of a key says what a stream is for, the second which one of that kind it is.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a stream is for."""

    SEARCH = 0
    """Replicates of the search: number r is the same for every configuration (common random numbers)."""
    FRESH = 1
    """Replicates of the finalists, on seeds that the search never sees."""
    CONFIRMATION = 2
    """Replicates of the winner, on seeds that choose nothing."""
    OPTUNA = 3
    """Optuna's sampler for trial n."""


def sequence(seed: int, stream: Stream, number: int) -> np.random.SeedSequence:
    """Stream `number` of a kind."""
    return np.random.SeedSequence(seed, spawn_key=(int(stream), number))


def configurations(seed: int) -> np.random.SeedSequence:
    """The stream that random search draws its configurations from; the only one with an empty spawn key."""
    return np.random.SeedSequence(seed)

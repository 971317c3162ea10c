"""The search space: the one place to edit.

Each entry is one of Optuna's distributions or a constant; the names are the fields of `Hyperparameters`. Optuna's, not Ray
Tune's: random search, Optuna's search and the importance of hyperparameters all read them, and they describe themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from tictactoe.core import seeds
from tictactoe.core.hyperparameters import Hyperparameters
from tictactoe.errors import UserError

SPACE: dict[str, Any] = {
    # At .05 and below nothing is learned within the budget; at 1 exploration's noise is taken for the truth.
    "alpha_start": FloatDistribution(0.05, 1.0),
    # Decay keeps a table optimal that exploration would spoil; whether it pays to decay is for the search to tell.
    "alpha_end": FloatDistribution(0.05, 1.0),
    # From "almost at once" to the default budget.
    "alpha_decay": FloatDistribution(1e2, 5e4, log=True),
    # Games are short: discounting hardly matters.
    "gamma": FloatDistribution(0.8, 1.0),
    # Optimistic values and random ties explore already: little is needed on top.
    "epsilon_start": FloatDistribution(1e-3, 0.5, log=True),
    "epsilon_end": FloatDistribution(1e-4, 0.1, log=True),
    "epsilon_decay": FloatDistribution(1e2, 5e4, log=True),
    # Below 0 a greedy learner never tries anything new, from 1 on it never stops to.
    "q_init": FloatDistribution(-0.1, 0.6),
    # "negamax" learns too, but only from q_init exactly 0: to search both, set q_init to 0.0
    # and write CategoricalDistribution(["2-ply", "negamax"]).
    "bootstrap": "2-ply",
    "replay": CategoricalDistribution(["forward", "backward"]),
    # The best kind of table by far (16 times fewer games to optimal play);
    # or CategoricalDistribution(["state-action", "afterstate"]).
    "table": "afterstate",
    # Or CategoricalDistribution([True, False]).
    "symmetry": True,
}
DIGITS = 6
"""Significant ones, of every number that is sampled."""


def distributions() -> dict[str, BaseDistribution]:
    """The entries that are searched."""
    return {name: entry for name, entry in SPACE.items() if isinstance(entry, BaseDistribution)}


def validate() -> None:
    """Raise UserError where the space holds what no learner takes, or what cannot be searched.

    That is a name, a bound or choice, or a kind of distribution; or one whose values would leave it when they are rounded.
    """
    for name, entry in SPACE.items():
        try:
            for value in _extremes(entry):
                Hyperparameters(**{name: value})
                if isinstance(entry, BaseDistribution) and _rounded(value) != value:
                    raise ValueError(f"{value!r} has more than {DIGITS} digits, to which values are rounded")
        except (TypeError, ValueError) as error:
            raise UserError(f"the search space, {name}: {error}; mend it in tictactoe/experiment/space.py") from None


def _extremes(entry: Any) -> list[Any]:
    """Values of an entry, such that all others are good where these are."""
    if isinstance(entry, CategoricalDistribution):
        return list(entry.choices)
    if not isinstance(entry, (FloatDistribution, IntDistribution)):
        return [entry]
    values = [entry.low, entry.high]
    if isinstance(entry, FloatDistribution) and entry.step and not entry.single():
        values += [float(f"{value:.12g}") for value in (entry.low + entry.step, entry.high - entry.step)]
    return values


def draws(seed: int) -> Iterator[Hyperparameters]:
    """Independent random configurations without an end."""
    generator, searched = np.random.default_rng(seeds.configurations(seed)), distributions()
    while True:
        yield hyperparameters({name: _draw(entry, generator) for name, entry in searched.items()})


def sample(number: int, seed: int) -> list[Hyperparameters]:
    """The first `number` of `draws`."""
    return list(islice(draws(seed), number))


def hyperparameters(sampled: dict[str, Any]) -> Hyperparameters:
    """The hyperparameters of a sampled point of the space, constants added.

    Floats are rounded: NumPy's exponential differs in the last bit between processors, and results must not.
    """
    return Hyperparameters(**{name: _rounded(value) for name, value in (SPACE | sampled).items()})


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def describe() -> dict[str, str]:
    """The space as text, for the fingerprint of a search: distributions with all their parameters."""
    return {
        name: distribution_to_json(entry) if isinstance(entry, BaseDistribution) else repr(entry)
        for name, entry in SPACE.items()
    }


def _draw(distribution: BaseDistribution, generator: np.random.Generator) -> Any:
    """One independent value, uniform on the distribution's scale."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[generator.choice(len(distribution.choices), size=1)[0]]
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high, step = distribution.low, distribution.high, distribution.step
    if distribution.log:
        value = float(np.exp(generator.uniform(np.log(low), np.log(high))))
    elif step is None:
        value = float(generator.uniform(low, high))
    else:
        value = low + step * int(generator.integers(0, round((high - low) / step) + 1))
    return round(value) if isinstance(distribution, IntDistribution) else value

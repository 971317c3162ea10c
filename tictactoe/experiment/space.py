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
from tictactoe.core.game import Board
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
    "bootstrap": CategoricalDistribution(["2-ply", "negamax"]),
    "replay": CategoricalDistribution(["forward", "backward"]),
    # By far the most important: symmetric afterstates need 16 times fewer games than plain state-action values.
    "table": CategoricalDistribution(["state-action", "afterstate"]),
    "symmetry": CategoricalDistribution([True, False]),
}
CONDITIONS: list[tuple[str, Any, dict[str, Any]]] = [
    # "negamax" learns from a q_init of exactly 0 alone.
    ("bootstrap", "negamax", {"q_init": 0.0}),
]
"""Where a hyperparameter has a value, others are not searched, but have the values given here."""
LARGE_CELLS = 12
LARGE: dict[str, Any] = {"table": "afterstate", "symmetry": True}
"""Entries instead of those above on boards of more than `LARGE_CELLS` cells: other tables take gigabytes there."""
DEFAULT_BOARD = "3x3x3"
DIGITS = 6
"""Significant ones, of every number that is sampled."""


def of(board: str) -> dict[str, Any]:
    """The space of a board."""
    return SPACE | LARGE if Board.parse(board).cells > LARGE_CELLS else SPACE


def distributions(board: str = DEFAULT_BOARD) -> dict[str, BaseDistribution]:
    """The entries that are searched."""
    return {name: entry for name, entry in of(board).items() if isinstance(entry, BaseDistribution)}


def searched(config: Hyperparameters, board: str = DEFAULT_BOARD) -> dict[str, BaseDistribution]:
    """The entries that were searched for a configuration: without those that a condition has decided."""
    implied = decided(config)
    return {name: entry for name, entry in distributions(board).items() if name not in implied}


def decided(config: Hyperparameters) -> set[str]:
    """Hyperparameters of a configuration that a condition has decided."""
    return {name for known, value, implied in CONDITIONS if getattr(config, known) == value for name in implied}


def validate() -> None:
    """Raise UserError where the space holds what no learner takes, or what cannot be searched.

    That is a name, a bound or choice, or a kind of distribution; or one whose values would leave it when they are rounded.
    """
    conditions = [entry for _, _, implied in CONDITIONS for entry in implied.items()]
    for name, entry in (*SPACE.items(), *LARGE.items(), *conditions):
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


def draws(seed: int, board: str = DEFAULT_BOARD) -> Iterator[Hyperparameters]:
    """Independent random configurations without an end."""
    generator, entries = np.random.default_rng(seeds.configurations(seed)), distributions(board)
    while True:
        yield hyperparameters({name: _draw(entry, generator) for name, entry in entries.items()}, board)


def sample(number: int, seed: int, board: str = DEFAULT_BOARD) -> list[Hyperparameters]:
    """The first `number` of `draws`."""
    return list(islice(draws(seed, board), number))


def hyperparameters(sampled: dict[str, Any], board: str = DEFAULT_BOARD) -> Hyperparameters:
    """The hyperparameters of a sampled point of the space, constants added.

    Floats are rounded: NumPy's exponential differs in the last bit between processors, and results must not.
    """
    values = of(board) | sampled
    for name, value, implied in CONDITIONS:
        if values[name] == value:
            values |= implied
    return Hyperparameters(**{name: _rounded(value) for name, value in values.items()})


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def describe(board: str = DEFAULT_BOARD) -> dict[str, str]:
    """The space as text, for the fingerprint of a search: distributions with all their parameters, and the conditions."""
    entries = {
        name: distribution_to_json(entry) if isinstance(entry, BaseDistribution) else repr(entry)
        for name, entry in of(board).items()
    }
    return entries | {"conditions": repr(CONDITIONS)}


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

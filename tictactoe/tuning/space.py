"""The search space: the one place to edit.

Each entry is one of Ray Tune's distributions or a constant; the names are the fields of `Hyperparameters`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ray import tune
from ray.tune.search.sample import Domain, Sampler

from tictactoe.learner import Hyperparameters

SPACE: dict[str, Any] = {
    # At .05 and below nothing is learned within the budget; at 1 exploration's noise is taken for the truth.
    "alpha_start": tune.uniform(0.05, 1.0),
    # Decay keeps a table optimal that exploration would spoil; whether it pays to decay is for the search to tell.
    "alpha_end": tune.uniform(0.05, 1.0),
    # From "almost at once" to the default budget.
    "alpha_decay": tune.loguniform(1e2, 5e4),
    # Games are short: discounting hardly matters.
    "gamma": tune.uniform(0.8, 1.0),
    # Optimistic values and random ties explore already: little is needed on top.
    "epsilon_start": tune.loguniform(1e-3, 0.5),
    "epsilon_end": tune.loguniform(1e-4, 0.1),
    "epsilon_decay": tune.loguniform(1e2, 5e4),
    # Below 0 a greedy learner never tries anything new, from 1 on it never stops to.
    "q_init": tune.uniform(-0.1, 0.6),
    # "negamax" learns too, but only from q_init exactly 0: to search both, set q_init to 0.0
    # and write tune.choice(["2-ply", "negamax"]).
    "bootstrap": "2-ply",
    "replay": tune.choice(["forward", "backward"]),
    # The best kind of table by far (16 times fewer games to optimal play); or tune.choice(["state-action", "afterstate"]).
    "table": "afterstate",
    # Or tune.choice([True, False]).
    "symmetry": True,
}


def sample(number: int, seed: int) -> list[Hyperparameters]:
    """`number` independent random configurations; the first ones are the same for every `number`."""
    generator = np.random.default_rng(np.random.SeedSequence(seed))
    return [
        hyperparameters(
            {name: _draw(entry, generator) if isinstance(entry, Domain) else entry for name, entry in SPACE.items()}
        )
        for _ in range(number)
    ]


def hyperparameters(sampled: dict[str, Any]) -> Hyperparameters:
    """The hyperparameters of a sampled configuration.

    Floats are rounded to 6 significant digits: NumPy's exponential differs in the last bit between
    processors, and results must not.
    """
    rounded: dict[str, Any] = {
        name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in sampled.items()
    }
    return Hyperparameters(**rounded)


def describe() -> dict[str, str]:
    """The space as text, for the fingerprint of a search."""
    return {name: _described(entry) for name, entry in SPACE.items()}


def _described(entry: Any) -> str:
    """A distribution with all its parameters, the same in every process; Ray's own texts lack some."""
    if not isinstance(entry, (Domain, Sampler)):
        return repr(entry)
    return f"{type(entry).__name__}({', '.join(f'{name}={_described(value)}' for name, value in sorted(vars(entry).items()))})"


def _draw(domain: Domain, generator: np.random.Generator) -> Any:
    value = domain.sample(random_state=generator)
    return value.item() if isinstance(value, np.generic) else value

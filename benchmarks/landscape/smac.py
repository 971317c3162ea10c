"""SMAC3 on the same table, where it is installed: it is no part of this program's environment (`pip install smac==2.4.1`)."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from benchmarks.landscape.replay import Replay
from benchmarks.landscape.table import TASK
from benchmarks.landscape.tuners import Outcome
from tictactoe.core.hyperparameters import Hyperparameters
from tictactoe.core.seeds import Stream
from tictactoe.experiment.objective import UNITS
from tictactoe.experiment.space import distributions, hyperparameters

INSTALLED = find_spec("smac") is not None


def smac(replay: Replay, sizes: Sequence[int], seeds: int) -> Iterator[Outcome]:
    """SMAC3 for algorithm configuration (Lindauer et al., 2022, JMLR 23:54), by the logarithm of games to optimal.

    A random forest proposes challengers, and they race the incumbent seed by seed, each replicate with its whole budget.
    `sizes` are here numbers of replicates, in all. A challenger is the nearest row that no other one has been.
    """
    from ConfigSpace import ConfigurationSpace
    from smac import AlgorithmConfigurationFacade as Facade
    from smac import Scenario
    from smac.runhistory.dataclasses import TrialValue

    logging.getLogger("smac").setLevel(logging.ERROR)
    landscape = replay.landscape
    space = ConfigurationSpace(seed=replay.repetition)
    space.add([_entry(name, entry) for name, entry in distributions().items()])
    with tempfile.TemporaryDirectory() as folder:
        scenario = Scenario(space, output_directory=Path(folder), n_trials=sizes[-1], seed=replay.repetition)
        facade = Facade(
            scenario,
            lambda config, seed: 0.0,  # never called: it is asked and told
            intensifier=Facade.get_intensifier(scenario, max_config_calls=seeds),
            logging_level=logging.ERROR,
            overwrite=True,
        )
        rows: dict[Any, int] = {}
        numbers: dict[int, int] = {}
        for played in range(1, sizes[-1] + 1):
            asked = facade.ask()
            if asked.config not in rows:
                rows[asked.config] = landscape.nearest(_configuration(asked.config), list(rows.values()))
            number = numbers.setdefault(asked.seed, len(numbers))  # SMAC's seeds are any numbers
            since = landscape.since[rows[asked.config], replay.seeds[Stream.SEARCH][number], -1]
            facade.tell(asked, TrialValue(cost=float(landscape.units[since]) / UNITS), save=False)
            replay.games += TASK.games
            if played in sizes:
                yield Outcome(played, replay.games, rows[facade.intensifier.get_incumbent()])


def _entry(name: str, distribution: BaseDistribution) -> Any:
    """One of Optuna's distributions as ConfigSpace has it; choices are numbered."""
    from ConfigSpace import Categorical, Float

    if isinstance(distribution, CategoricalDistribution):
        return Categorical(name, range(len(distribution.choices)))
    assert isinstance(distribution, FloatDistribution)
    return Float(name, (distribution.low, distribution.high), log=distribution.log)


def _configuration(asked: Mapping[str, Any]) -> Hyperparameters:
    """The hyperparameters that SMAC asks for."""
    return hyperparameters(
        {name: distribution.to_external_repr(float(asked[name])) for name, distribution in distributions().items()}
    )

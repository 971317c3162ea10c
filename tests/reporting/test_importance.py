"""Importance of hyperparameters, on searches in which it is known what matters."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import optuna
import pytest

from tests.support import made_up
from tests.support import records as made
from tictactoe.core.learner import Hyperparameters
from tictactoe.experiment.record import Record
from tictactoe.experiment.results import Results
from tictactoe.experiment.space import SPACE, distributions, sample
from tictactoe.reporting.report import configurations
from tictactoe.reporting.report.drawing import style
from tictactoe.reporting.report.importance import FEWEST, Importance, importances


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A search of one trial, for its summary."""
    folder = tmp_path_factory.mktemp("small")
    made_up.results(folder, trials=1, seeds=1, games=200)
    return Results.read(folder)


@pytest.fixture
def searched(small: Results) -> Callable[..., dict[str, Importance]]:
    """The importances of a search of the default space, by what a configuration comes to."""

    def make(number: int, seed: int, score: Callable[[Hyperparameters], float]) -> dict[str, Importance]:
        records = [
            made.record(index, config=config, mean_log=score(config)) for index, config in enumerate(sample(number, seed))
        ]
        return importances(replace(small, records=records))

    return make


def noise(seed: int) -> Callable[[Hyperparameters], float]:
    generator = np.random.default_rng(seed)
    return lambda config: float(generator.normal())


def outstanding(of: dict[str, Importance]) -> set[str]:
    return {name for name, one in of.items() if one.stands_out}


@pytest.mark.parametrize(
    ("names", "score"),
    [
        ({"table"}, lambda config: config.table == "state-action"),
        ({"table", "symmetry"}, lambda config: (config.table == "state-action") + (not config.symmetry)),
        ({"alpha_end"}, lambda config: abs(config.alpha_end - 0.7)),
        ({"epsilon_decay"}, lambda config: abs(math.log(config.epsilon_decay / 3_000))),
        ({"bootstrap"}, lambda config: config.bootstrap == "negamax"),
        ({"bootstrap", "q_init"}, lambda config: 1.0 if config.bootstrap == "negamax" else abs(config.q_init - 0.1)),
    ],
)
def test_what_matters_stands_out(
    searched: Callable[..., dict[str, Importance]], names: set[str], score: Callable[[Hyperparameters], float]
) -> None:
    luck = noise(1)
    found = searched(256, 3, lambda config: score(config) + 0.05 * luck(config))
    assert names == set(list(found)[: len(names)])
    assert names <= outstanding(found) and len(outstanding(found)) <= len(names) + 1  # one in twenty searches has one more
    assert sum(one.share for one in found.values()) == pytest.approx(1)
    assert set(found) == set(distributions())


def test_where_nothing_matters_nothing_stands_out_in_19_of_20_searches(
    searched: Callable[..., dict[str, Importance]],
) -> None:
    wrong = sum(bool(outstanding(searched(64, seed, noise(seed)))) for seed in range(40))
    assert wrong <= 5  # of 40 at a rate of 5 %: more would happen in 1.4 % of tries


def test_a_hyperparameter_that_has_no_effect_where_another_has_a_value(searched: Callable[..., dict[str, Importance]]) -> None:
    luck = noise(2)
    found = searched(256, 4, lambda config: (config.bootstrap == "2-ply") + 0.1 * luck(config))
    assert outstanding(found) == {"bootstrap"}  # though all good trials have the same q_init, 0
    assert found["q_init"].share == pytest.approx(0, abs=1e-12)


def test_a_value_outside_the_space_is_a_value_like_others(small: Results) -> None:
    assert SPACE["q_init"].high < 1.5
    records = [
        made.record(
            index, config=replace(config, bootstrap="2-ply", q_init=1.5 if index < 20 else 0.1 + index / 1e3), mean_log=index
        )
        for index, config in enumerate(sample(100, 0))
    ]
    assert "q_init" in outstanding(importances(replace(small, records=records)))


def test_ranks_decide_so_that_trials_of_all_rounds_take_part(small: Results) -> None:
    def one(index: int, config: Hyperparameters, good: bool) -> Record:
        # Dropped trials have lower bounds that are below the scores of those which went on.
        return made.record(index, config=config, mean_log=6.0 if good else 5.0, stopped=not good, round=int(good))

    records = [one(index, config, config.replay == "backward") for index, config in enumerate(sample(100, 0))]
    found = importances(replace(small, records=records))
    assert outstanding(found) == {"replay"}


def test_optunas_evaluator_names_the_same(small: Results) -> None:
    configs, searched = sample(256, 5), distributions()
    scores = [abs(config.alpha_end - 0.7) + 0.5 * (config.table == "state-action") for config in configs]
    study = optuna.create_study()
    for config, score in zip(configs, scores, strict=True):
        active = {name: entry for name, entry in searched.items() if name != "q_init" or config.bootstrap == "2-ply"}
        values = {name: getattr(config, name) for name in active}
        study.add_trial(optuna.trial.create_trial(params=values, distributions=active, value=score))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.1)
        expected = optuna.importance.get_param_importances(study, evaluator=evaluator)
    records = [made.record(index, config=config, mean_log=scores[index]) for index, config in enumerate(configs)]
    found = importances(replace(small, records=records))
    assert set(list(found)[:2]) == set(list(expected)[:2]) == {"alpha_end", "table"}


def test_few_trials_say_nothing(searched: Callable[..., dict[str, Importance]]) -> None:
    assert searched(FEWEST, 0, noise(0))
    assert searched(FEWEST - 1, 0, noise(0)) == {}


def test_a_plot_without_anything_that_stands_out_says_so() -> None:
    with style():
        nothing = configurations.importance({"gamma": Importance(0.6, 0.7), "q_init": Importance(0.4, 0.4)})
        one = configurations.importance({"alpha_end": Importance(0.9, 0.3), "q_init": Importance(0.1, 0.4)})
    assert nothing.title == "No hyperparameter stands out"
    assert nothing.caption.endswith("None does: these trials do not say which hyperparameter matters.")
    assert one.title == "Importance of the hyperparameters"
    assert one.caption.endswith("Past it: alpha end.")

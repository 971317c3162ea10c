"""Importance of hyperparameters, by Optuna."""

from __future__ import annotations

import math
from collections.abc import Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from tictactoe.experiment.results import Results
from tictactoe.reporting.report.data import Value, levels, numbers, spans_decades, values

FEWEST = 20
"""With fewer trials there are hardly any good ones to learn from."""
GOOD = 5
"""At least so many good trials are compared with all. In a large search it is a tenth of all trials."""


def importances(results: Results) -> dict[str, float]:
    """Share of each hyperparameter in what tells good trials from all, largest first. Empty where nobody can say.

    PED-ANOVA (Watanabe et al., 2023, IJCAI) on log PAR-10, over the trials that used the whole budget.
    """
    records = [record for record in results.records if not record.stopped]
    searched = [name for name in results.searched if len(levels(values(records, name))) > 1]
    if len(records) < FEWEST or len({record.par10 for record in records}) == 1 or len(searched) < 2:
        return {}
    distributions = {name: _distribution(values(records, name)) for name in searched}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study()
        for record in records:
            study.add_trial(
                optuna.trial.create_trial(
                    params={name: getattr(record.config, name) for name in searched},
                    distributions=distributions,
                    value=math.log(record.par10),
                )
            )
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=max(0.1, GOOD / len(records)))
        return optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(verbosity)


def _distribution(of: Sequence[Value]) -> BaseDistribution:
    as_numbers = numbers(of)
    if as_numbers is None:
        return CategoricalDistribution(levels(of))
    return FloatDistribution(min(as_numbers), max(as_numbers), log=spans_decades(as_numbers))

"""Importance of hyperparameters, by Optuna."""

from __future__ import annotations

import math
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from tictactoe.reporting.report.data import Findings, is_number, spans_decades

FEWEST = 20
"""With fewer trials there are hardly any good ones to learn from."""
GOOD = 5
"""Good trials to compare with all, at least; otherwise a tenth of them."""


def importances(found: Findings) -> dict[str, float]:
    """Share of each hyperparameter, largest first, of what tells good trials from all; empty where nobody can say.

    PED-ANOVA (Watanabe et al., 2023, IJCAI) on log PAR-10, over the trials that used the whole budget.
    """
    records = [record for record in found.records if found.kind(record) != "stopped"]
    if len(records) < FEWEST or len({record["par10"] for record in records}) == 1 or len(found.searched) < 2:
        return {}
    distributions = {name: _distribution([record["config"][name] for record in records]) for name in found.searched}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study()
        for record in records:
            study.add_trial(
                optuna.trial.create_trial(
                    params={name: record["config"][name] for name in found.searched},
                    distributions=distributions,
                    value=math.log(record["par10"]),
                )
            )
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=max(0.1, GOOD / len(records)))
        return optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(verbosity)


def _distribution(values: list[Any]) -> BaseDistribution:
    if all(map(is_number, values)):
        return FloatDistribution(min(values), max(values), log=spans_decades(values))
    return CategoricalDistribution(sorted(set(values), key=str))

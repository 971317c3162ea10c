"""Importance of hyperparameters: how far the good trials differ from all in one hyperparameter, and how far by luck.

PED-ANOVA (Watanabe et al., 2023, IJCAI): the Pearson divergence between a hyperparameter's density over the good trials and
its density over all. It asks nothing but ranks, so that trials which ended after different numbers of games take part. Some
hyperparameters have no effect where another has a certain value; then the trials in which they have one are compared
(condPED-ANOVA: arXiv:2601.20800).

Densities are shares of quarters: with twenty good trials no finer shape is to be seen. With them it is also known what luck
does. If ranks had nothing to do with a hyperparameter, the good trials would be drawn from all without replacement, so the
permutations of the ranks need not be made. Optuna's evaluator takes twenty seconds for two hundred of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tictactoe.experiment.record import Record
from tictactoe.experiment.results import Results
from tictactoe.experiment.space import decided
from tictactoe.reporting.report.data import Value, levels, numbers, values

FEWEST = 20
"""With fewer trials there are hardly any good ones to learn from."""
GOOD = 12
"""So many trials count as good, a quarter of all at most; in a large search the best tenth."""
QUARTERS = (0.25, 0.5, 0.75)
"""Where numbers are cut, as shares of the trials."""
PERMUTATIONS = 5_000
ERROR = 0.05
"""How often permuted ranks may reach the line of any hyperparameter at all."""


class Importance(NamedTuple):
    """Of one hyperparameter."""

    share: float
    """Of what all hyperparameters together say about being among the good trials."""
    luck: float
    """The share that permuted ranks stay below, in 95 % of searches for all hyperparameters at once."""

    @property
    def stands_out(self) -> bool:
        """Whether it is more than luck."""
        return self.share > self.luck


def importances(results: Results) -> dict[str, Importance]:
    """The importance of each hyperparameter that was searched, largest first. Empty where nobody can say."""
    ranked = results.ranked
    searched = [name for name in results.searched if len(levels(values(_active(ranked, name), name))) > 1]
    if len(ranked) < FEWEST or len(searched) < 2:
        return {}
    good = max(len(ranked) // 10, min(GOOD, len(ranked) // 4))
    generator = np.random.default_rng(0)
    divergence, luck = {}, {}
    for name in searched:
        groups = np.array(_groups(ranked, name))
        everybody = np.bincount(groups)
        divergence[name] = float(_divergence(np.bincount(groups[:good], minlength=len(everybody)), everybody))
        permuted = generator.multivariate_hypergeometric(everybody, good, PERMUTATIONS, method="marginals")
        luck[name] = float(np.quantile(_divergence(permuted, everybody), 1 - ERROR / len(searched)))
    total = sum(divergence.values()) or 1.0
    order = sorted(searched, key=lambda name: -divergence[name])
    return {name: Importance(divergence[name] / total, luck[name] / total) for name in order}


def _active(records: Sequence[Record], hyperparameter: str) -> list[Record]:
    """The records in which a hyperparameter is not merely what another one implies."""
    return [record for record in records if hyperparameter not in decided(record.config)]


def _groups(records: Sequence[Record], hyperparameter: str) -> list[int]:
    """For each record the group of its value, counted from 1; 0 where the hyperparameter has no effect."""
    active = _active(records, hyperparameter)
    group_of = dict(zip((record.index for record in active), _grouped(values(active, hyperparameter)), strict=True))
    return [group_of.get(record.index, 0) for record in records]


def _grouped(of: Sequence[Value]) -> list[int]:
    as_numbers = numbers(of)
    if as_numbers is None:
        choices = levels(of)
        return [1 + choices.index(value) for value in of]
    return [1 + int(group) for group in np.searchsorted(np.quantile(as_numbers, QUARTERS), as_numbers)]


def _divergence(good: np.ndarray, everybody: np.ndarray) -> np.ndarray:
    """Pearson divergence among groups from 1 on, weighted as condPED-ANOVA has it; `good` may have more dimensions in front."""
    share_of_good = good[..., 1:].sum(axis=-1) / good.sum(axis=-1)
    share_of_all = everybody[1:].sum() / everybody.sum()
    there = everybody[1:] > 0
    density = everybody[1:][there] / everybody[1:].sum()
    good_density = good[..., 1:][..., there] / np.maximum(good[..., 1:].sum(axis=-1, keepdims=True), 1)
    return np.asarray(share_of_good**2 / share_of_all * (density * (good_density / density - 1) ** 2).sum(axis=-1))

"""Who is compared with whom: this program's ways of searching, others' on the same table, and the default's parts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from optuna.pruners import HyperbandPruner, SuccessiveHalvingPruner

from benchmarks.landscape import peers, smac, tuners
from benchmarks.landscape.table import CONFIGURATIONS
from benchmarks.landscape.tuners import SEEDS, Tuner
from tictactoe.experiment import objective, rounds, selection


@dataclass(frozen=True)
class Contest:
    """Tuners in one table."""

    title: str
    tuners: tuple[Tuner, ...]
    most: int = 1_000
    """Repetitions, where more are asked for."""


SIZES = (16, 32, 64, 128, 256)
HALF = (CONFIGURATIONS // 2,)
"""As many as may be tried of the table."""
HALVING = partial(peers.halving, pruner=partial(SuccessiveHalvingPruner, 1_000), factor=4)
HYPERBAND = partial(peers.halving, pruner=partial(HyperbandPruner, 1_000, 50_000), factor=3)
"""With the factors that they have by default."""


def as_games(games: list[int]) -> list[int]:
    """In place of logarithms: the objective is PAR-10 then."""
    return [objective.UNITS * value for value in games]


def looks(times: float) -> dict[str, Any]:
    """So many times the seeds of the race of finalists."""
    return {"LOOKS": {half: round(times * seeds) for half, seeds in selection.LOOKS.items()}, "RACE_GAMES": 10**9}


CONTESTS = [
    Contest(
        "Ways of searching",
        (
            Tuner("random", tuners.random, SIZES),
            Tuner("Optuna TPE", tuners.tpe, SIZES),
            Tuner("ASHA", tuners.asha, SIZES),
            Tuner("race (default)", tuners.race, SIZES),
            Tuner("race, Optuna TPE", tuners.race_with_tpe, SIZES),
            Tuner("Optuna SuccessiveHalvingPruner", HALVING, SIZES),
            Tuner("Optuna HyperbandPruner", HYPERBAND, SIZES),
            Tuner("Optuna WilcoxonPruner", peers.wilcoxon, SIZES),
            Tuner("the best of so many, if all were known", tuners.oracle, SIZES),
        ),
    ),
    Contest(
        "Parts of the default",
        (
            Tuner("race (default)", tuners.race, HALF),
            Tuner("one round more", tuners.race, HALF, changes={"rounds": {"DROP": rounds.DROP**0.6}}),
            Tuner("half the seeds", tuners.race, HALF, SEEDS // 2),
            Tuner("twice the seeds", tuners.race, HALF, 2 * SEEDS),
            Tuner("4 configurations in the last round", tuners.race, HALF, changes={"rounds": {"LAST": 4}}),
            Tuner("32 configurations in the last round", tuners.race, HALF, changes={"rounds": {"LAST": 32}}),
            Tuner("the whole budget in the last round", tuners.race, HALF, changes={"rounds": {"LAST_SHARE": 1.0}}),
            Tuner("half the looks", tuners.race, HALF, changes={"selection": looks(0.5)}),
            Tuner("twice the looks", tuners.race, HALF, changes={"selection": looks(2)}),
            Tuner("no race of the finalists", partial(tuners.race, select=False), HALF),
            Tuner(
                "PAR-10 as the objective",
                tuners.race,
                HALF,
                changes={"objective": {"log_units": as_games}, "selection": {"log_units": as_games}},
            ),
        ),
    ),
    Contest(
        "Fewer seeds",
        tuple(
            Tuner(f"{name}, {seeds} seeds", search, HALF, seeds)
            for name, search in (
                ("random", tuners.random),
                ("ASHA", tuners.asha),
                ("race", tuners.race),
                ("Optuna SuccessiveHalvingPruner", HALVING),
            )
            for seeds in (16, 8)
        ),
    ),
]
if smac.INSTALLED:
    # Sizes are replicates, not configurations. A repetition takes a minute and more.
    CONTESTS.append(Contest("SMAC3, by replicates", (Tuner("SMAC3", smac.smac, (50, 100, 200)),), most=6))

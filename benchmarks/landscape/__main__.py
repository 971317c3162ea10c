"""Score ways of searching by true regret against games spent, on the shipped table of the default space.

`lags` scores Optuna at several lags, and how busy slots are with them. `make` computes that table anew, as is needed after a
change of the space, of the grid of checks or of the learner: half an hour on two cores.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from itertools import product
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.common import parser, show, write
from benchmarks.landscape import lags, plot, smac, table
from benchmarks.landscape.contestants import CONTESTS, Contest
from benchmarks.landscape.tuners import Outcome
from tictactoe.errors import UserError

RESAMPLES = 2_000
"""Of the repetitions, for an interval."""


Outcomes = dict[tuple[str, int], list[Outcome]]
"""Of all repetitions, by tuner and size."""


def score(contest: Contest, repetitions: int, processes: int) -> list[dict[str, Any]]:
    """A row for each tuner and size of a contest."""
    return rows(run(contest, repetitions, processes))


def rows(found: Outcomes) -> list[dict[str, Any]]:
    """One for each tuner and size."""
    return [row(table.load(), name, outcomes) for (name, _), outcomes in found.items()]


def run(contest: Contest, repetitions: int, processes: int) -> Outcomes:
    """Repeat all searches of a contest."""
    jobs = list(product(contest.tuners, range(min(repetitions, contest.most))))
    found: Outcomes = defaultdict(list)
    with Pool(processes) as pool:
        runs = track(pool.imap(_run, jobs), contest.title, len(jobs))
        for (tuner, _), outcomes in zip(jobs, runs, strict=True):
            for outcome in outcomes:
                found[tuner.name, outcome.size].append(outcome)
    return found


def row(landscape: table.Landscape, name: str, outcomes: list[Outcome]) -> dict[str, Any]:
    """What repetitions of one tuner at one size come to on average; the interval is the regret's."""
    winners = [outcome.winner for outcome in outcomes]
    regrets = landscape.objective[winners] - landscape.objective.min()
    resampled = np.random.default_rng(0).choice(regrets, (RESAMPLES, len(regrets))).mean(axis=1)
    low, high = np.quantile(resampled, (0.025, 0.975))
    return {
        "tuner": name,
        "tried": outcomes[0].size,
        "games M": float(np.mean([outcome.games for outcome in outcomes])) / 1e6,
        "regret %": _percent(regrets.mean()),
        "from": _percent(low),
        "to": _percent(high),
        "late or unsolved %": 100 * float(landscape.late[winners].mean()),
        "PAR-10": float(landscape.par10[winners].mean()),
    }


def main() -> None:
    commands = parser(__doc__, repetitions=50, processes=2)
    commands.add_argument("what", nargs="?", choices=("score", "lags", "make"), default="score", help="default: score")
    commands.add_argument("--plot", type=Path, help="also draw the first table, light and dark, in this folder")
    options = commands.parse_args()
    if options.what == "make":
        table.make(options.processes)
        return
    landscape = table.load()
    if options.what == "lags":
        outcomes = run(lags.CONTEST, options.repetitions, options.processes)
        lengths = lags.lengths(landscape, options.processes)
        busy = [lags.row(name, those, lengths) for (name, size), those in outcomes.items() if size == lags.SIZES[-1]]
        write(options.json, show(lags.CONTEST.title, rows(outcomes)), show("Slots that are busy, %", busy))
        return
    known, best = len(landscape.configurations), np.exp(landscape.objective.min())
    print(f"{known} configurations x {landscape.optimal.shape[1]} seeds are known; the best one's geometric mean is {best:.1f}")
    if not smac.INSTALLED:
        print("SMAC3 is left out: it is not installed (pip install smac==2.4.1)")
    scores = [score(contest, options.repetitions, options.processes) for contest in CONTESTS]
    if options.plot:
        plot.draw(scores[0], options.plot)
    write(options.json, *(show(contest.title, part) for contest, part in zip(CONTESTS, scores, strict=True)))


def _run(job: Any) -> list[Outcome]:
    tuner, repetition = job
    outcomes: list[Outcome] = tuner.outcomes(table.load(), repetition)
    return outcomes


def _percent(difference: float) -> float:
    """A difference of logarithms as one of geometric means."""
    return 100 * float(np.expm1(difference))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")

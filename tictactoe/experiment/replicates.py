"""The replicates of one configuration, trained and checked on a grid of games. Knows no Ray."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from tictactoe.core.evaluation import Check, check, check_grid
from tictactoe.core.game import Board
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.core.seeds import Stream, sequence

CHUNK = 50_000
"""Games between two looks at the clock; no result depends on it."""
REDUCTION = 3
"""ASHA lets the best third of the trials pass each rung."""


@dataclass(frozen=True)
class Job:
    """What all trials of a search share."""

    board: str
    seeds: int
    games: int
    seed: int
    partial_dir: str | None = None
    """Folder for the state of unfinished trials, None for none."""
    timeout: float | None = None
    """Seconds after which a trial fails."""
    cpus: float = 1.0
    gpus: float = 0.0
    """What a trial reserves of Ray's resources."""
    first: int = 0
    """Number of the first replicate."""
    fresh: bool = False
    """Whether the replicates' seeds are of the stream that the search never sees."""
    slots: int = 1
    """How many trials run at a time."""
    attempt: str = ""
    """Which start of the program this is."""


def warm_up(board: str) -> None:
    """Compile, or load from the cache, all that training calls, and what it looks up for this board."""
    learner = QLearner(Board.parse(board), Hyperparameters(), 0)
    learner.train(1)
    check(learner)


def state_file(partial_dir: Path, index: int) -> Path:
    """Where an unfinished trial's replicates are saved."""
    return partial_dir / f"trial_{index:05d}.npz"


def par10(games_to_optimal: list[int | None], budget: int) -> float:
    """Penalised average: mean games to optimal, an unsolved replicate counting as 10 budgets.

    The standard of algorithm configuration (Hutter et al., 2009, JAIR 36:267-306).
    """
    return fmean(10 * budget if games is None else games for games in games_to_optimal)


def median(games_to_optimal: list[int | None]) -> float:
    """Median games to optimal, infinite where the middle is unsolved."""
    ordered = sorted(math.inf if games is None else float(games) for games in games_to_optimal)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def rungs(games: int) -> list[int]:
    """The numbers of games after which ASHA judges a trial: about budget/9 and budget/3.

    Loss against random after 9 % of the budget ranks configurations nearly as at its end (rank correlation .8),
    earlier not; exploitability does so only late.
    """
    first = -(-games // REDUCTION**2)
    return [first, first * REDUCTION]


@dataclass
class Replicates:
    """R learners of one configuration, trained and checked side by side.

    `advance` may be called at any times and from any state; what it computes depends on none of that.
    """

    job: Job
    hyperparameters: Hyperparameters
    learners: list[QLearner] = field(init=False)
    checks: list[Check] = field(init=False)
    games_to_optimal: list[int | None] = field(init=False)
    history: list[dict[str, Any]] = field(init=False)
    """For each grid point that every replicate has passed: `games`, how many replicates played optimally there
    (`optimal`), the 10 %, 50 % and 90 % quantiles over replicates of `exploitability` and `loss_vs_random`, and the
    mean of the latter (`mean_loss`)."""
    done_points: int = 0
    """Grid points that every replicate has passed."""
    learner_cpu_s: float = 0.0
    earlier_cpu_s: float = 0.0
    """What of it was used in earlier attempts."""

    def __post_init__(self) -> None:
        board = Board.parse(self.job.board)
        self.grid = check_grid(board, self.job.games)
        stream = Stream.FRESH if self.job.fresh else Stream.SEARCH
        seeds = [sequence(self.job.seed, stream, self.job.first + r) for r in range(self.job.seeds)]
        self.learners = [QLearner(board, self.hyperparameters, seed) for seed in seeds]
        self.checks = [Check(math.nan, math.nan)] * self.job.seeds
        self.games_to_optimal = [None] * self.job.seeds
        self.history = []

    @property
    def games(self) -> int:
        """Games at the last grid point that every replicate has passed."""
        return self.grid[self.done_points - 1] if self.done_points else 0

    @property
    def played(self) -> int:
        """Games played so far, all replicates together."""
        return sum(learner.games for learner in self.learners)

    @property
    def finished(self) -> bool:
        return self.done_points == len(self.grid)

    def advance(self, deadline: float, target: int) -> None:
        """Train and check until every replicate has passed `target` games or the monotonic clock `deadline`.

        A chunk or check that has begun is finished first.
        """
        start = time.process_time()
        while not self.finished and self.games < target:
            point = self.grid[self.done_points]
            for r, learner in enumerate(self.learners):
                if learner.games == point:
                    continue
                while learner.games < point:
                    learner.train(min(CHUNK, point - learner.games))
                    if time.monotonic() > deadline and learner.games < point:
                        break
                if learner.games < point:
                    break
                self.checks[r] = check(learner)
                if not self.checks[r].optimal:
                    self.games_to_optimal[r] = None
                elif self.games_to_optimal[r] is None:
                    self.games_to_optimal[r] = point
                if time.monotonic() > deadline:
                    break
            if all(learner.games == point for learner in self.learners):
                self.done_points += 1
                self.history.append(self._overview(point))
            if time.monotonic() > deadline:
                break
        self.learner_cpu_s += time.process_time() - start

    def _overview(self, games: int) -> dict[str, Any]:
        values = np.array([(c.exploitability, c.loss_vs_random) for c in self.checks])
        exploitability, loss = np.quantile(values, (0.1, 0.5, 0.9), axis=0).T.round(6).tolist()
        optimal = sum(check.optimal for check in self.checks)
        mean = fmean(check.loss_vs_random for check in self.checks)
        return {
            "games": games, "optimal": optimal, "exploitability": exploitability, "loss_vs_random": loss, "mean_loss": mean,
        }  # fmt: skip

    def metrics(self) -> dict[str, Any]:
        """The numbers of a report: `games` is the last grid point that all replicates have passed; those about what they
        learned are of each one's last check, which may be the next point's."""
        solved = sum(games is not None for games in self.games_to_optimal)
        score = par10(self.games_to_optimal, self.job.games)
        return {
            "games": self.games,
            "played": self.played,
            "share": self.played / (self.job.games * self.job.seeds),
            "par10": score,
            "log_par10": math.log(score),
            "median": median(self.games_to_optimal),
            "solved": solved,
            "exploitability": fmean(c.exploitability for c in self.checks),
            "loss_vs_random": fmean(c.loss_vs_random for c in self.checks),
            "games_to_optimal": list(self.games_to_optimal),
            "learner_cpu_s": self.learner_cpu_s,
            "earlier_cpu_s": self.earlier_cpu_s,
            "games_per_s": self.played / max(self.learner_cpu_s, 1e-9),
            "history": list(self.history),
        }

    def save(self, path: Path) -> None:
        """Write everything that `advance` changes, whole or not at all."""
        facts = {
            "hyperparameters": self.hyperparameters.as_dict(),
            "job": self._identity(),
            "games": [learner.games for learner in self.learners],
            "checks": [[c.exploitability, c.loss_vs_random] for c in self.checks],
            "games_to_optimal": self.games_to_optimal,
            "history": self.history,
            "done_points": self.done_points,
            "learner_cpu_s": self.learner_cpu_s,
            "earlier_cpu_s": self.earlier_cpu_s,
            "attempt": self.job.attempt,
        }
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(
                file,
                facts=np.array(json.dumps(facts)),
                tables=np.stack([learner.table for learner in self.learners]),
                generators=np.stack([learner.generator for learner in self.learners]),
            )
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    def restore(self, path: Path) -> str | None:
        """Go on from a saved state. Where it is damaged or another trial's, nothing changes and the return says so."""
        try:
            with np.load(path) as saved:
                facts = json.loads(str(saved["facts"]))
                if facts["hyperparameters"] != self.hyperparameters.as_dict() or facts["job"] != self._identity():
                    return "belongs to another trial"
                for r, learner in enumerate(self.learners):
                    state = {"table": saved["tables"][r], "generator": saved["generators"][r], "games": facts["games"][r]}
                    learner.restore(state)
        except Exception as error:  # a damaged file can raise nearly anything; then the trial starts over
            self.__post_init__()
            return f"is damaged ({type(error).__name__})"
        self.checks = [Check(*values) for values in facts["checks"]]
        self.games_to_optimal = facts["games_to_optimal"]
        self.history = facts["history"]
        self.done_points = facts["done_points"]
        self.learner_cpu_s = facts["learner_cpu_s"]
        self.earlier_cpu_s = facts["earlier_cpu_s" if facts["attempt"] == self.job.attempt else "learner_cpu_s"]
        return None

    def _identity(self) -> list[Any]:
        return [self.job.board, self.job.seeds, self.job.games, self.job.seed]

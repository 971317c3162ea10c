"""One trial: one configuration, trained on R replicates and checked on a grid of games."""

from __future__ import annotations

import json
import math
import os
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from ray import tune

from tictactoe.evaluation import Check, check, check_grid
from tictactoe.game import Board
from tictactoe.learner import Hyperparameters, QLearner
from tictactoe.tuning.space import hyperparameters

REPORT_SECONDS = 1.5
"""A trial reports at least about this often, so that somebody who watches sees it live."""
CHECKPOINT_SECONDS = 10.0
"""A trial saves its learners about this often; shorter ones are cheaper to repeat than to save."""
CHUNK = 50_000
"""Games between two looks at the clock; no result depends on it."""
RUNGS = 3
"""ASHA's reduction factor, and so the distance between the reports that it judges: budget/9, budget/3, budget."""


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


def replicate_seed(seed: int, replicate: int, fresh: bool = False) -> np.random.SeedSequence:
    """The seed of a replicate: the same for every configuration (common random numbers).

    `fresh` ones form a stream of their own, which the search never sees.
    """
    return np.random.SeedSequence(seed, spawn_key=(int(fresh), replicate))


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


@dataclass
class Replicates:
    """R learners of one configuration, trained and checked side by side: no Ray in here.

    `advance` may be called at any times and from any state; what it computes depends on none of that.
    """

    job: Job
    hyperparameters: Hyperparameters
    learners: list[QLearner] = field(init=False)
    checks: list[Check] = field(init=False)
    games_to_optimal: list[int | None] = field(init=False)
    history: list[dict[str, Any]] = field(init=False)
    """For each grid point that every replicate has passed: `games`, how many replicates played optimally there
    (`optimal`), and the 10 %, 50 % and 90 % quantiles over replicates of `exploitability` and `loss_vs_random`."""
    done_points: int = 0
    """Grid points that every replicate has passed."""
    learner_cpu_s: float = 0.0

    def __post_init__(self) -> None:
        board = Board.parse(self.job.board)
        self.grid = check_grid(board, self.job.games)
        self.learners = [QLearner(board, self.hyperparameters, replicate_seed(self.job.seed, r)) for r in range(self.job.seeds)]
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
        return {"games": games, "optimal": optimal, "exploitability": exploitability, "loss_vs_random": loss}

    def warm_up(self) -> None:
        """Compile, or load from the cache, all that `advance` calls."""
        self.learners[0].train(1)
        check(self.learners[0])

    def metrics(self) -> dict[str, Any]:
        """The numbers of a report; as of the last grid point where they are about all replicates."""
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
            "games_per_s": self.played / max(self.learner_cpu_s, 1e-9),
            "history": list(self.history),
        }

    def save(self, path: Path) -> None:
        """Write everything that `advance` changes, whole or not at all."""
        facts = {
            "hyperparameters": self.hyperparameters.as_dict(),
            "job": [self.job.board, self.job.seeds, self.job.games, self.job.seed],
            "games": [learner.games for learner in self.learners],
            "checks": [[c.exploitability, c.loss_vs_random] for c in self.checks],
            "games_to_optimal": self.games_to_optimal,
            "history": self.history,
            "done_points": self.done_points,
            "learner_cpu_s": self.learner_cpu_s,
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

    def restore(self, path: Path) -> bool:
        """Go on from a saved state; False, and nothing changed, where none fits (missing, damaged or another's)."""
        try:
            with np.load(path) as saved:
                facts = json.loads(str(saved["facts"]))
                if facts["hyperparameters"] != self.hyperparameters.as_dict():
                    return False
                if facts["job"] != [self.job.board, self.job.seeds, self.job.games, self.job.seed]:
                    return False
                for r, learner in enumerate(self.learners):
                    state = {"table": saved["tables"][r], "generator": saved["generators"][r], "games": facts["games"][r]}
                    learner.restore(state)
        except Exception:  # a damaged file can raise nearly anything; then the trial starts over
            self.__post_init__()
            return False
        self.checks = [Check(*values) for values in facts["checks"]]
        self.games_to_optimal = facts["games_to_optimal"]
        self.history = facts["history"]
        self.done_points = facts["done_points"]
        self.learner_cpu_s = facts["learner_cpu_s"]
        return True


class QLearningTrial(tune.Trainable):
    """Ray Tune's view of a trial. Its configuration: `trial` {`index`, `hyperparameters` as sampled} and `job`."""

    def setup(self, config: dict[str, Any]) -> None:
        self.index = config["trial"]["index"]
        self.job = Job(**config["job"])
        self.deadline = time.monotonic() + (self.job.timeout or math.inf)
        self.saved = time.monotonic()
        self.error: str | None = None
        self.replicates: Replicates | None = None
        try:
            self.replicates = Replicates(self.job, hyperparameters(config["trial"]["hyperparameters"]))
            if self.partial.exists() and self.replicates.restore(self.partial):
                print(f"trial_{self.index:05d} goes on after {self.replicates.played:,} games", flush=True)
        except Exception as error:
            self._fail(error)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next configuration in the same process: starting one costs seconds."""
        self.setup(new_config)
        return True

    @property
    def partial(self) -> Path:
        """File for the state of this trial while it is unfinished."""
        return Path(self.job.partial_dir or os.devnull) / f"trial_{self.index:05d}.npz"

    def step(self) -> dict[str, Any]:
        """Train until the next rung is reached or it is time to be heard of.

        An exception is reported, not raised: it would come again, while a lost process is worth a retry.
        """
        if self.error is None:
            try:
                return self._train()
            except Exception as error:
                self._fail(error)
        return {"index": self.index, "error": self.error, "games": 0, "par10": math.nan, "log_par10": math.nan,
                "loss_vs_random": math.nan, "final": True, "done": True}  # fmt: skip

    def _train(self) -> dict[str, Any]:
        replicates = self.replicates
        assert replicates is not None
        rungs = [math.ceil(self.job.games / RUNGS**n) for n in (2, 1, 0)]
        replicates.advance(time.monotonic() + REPORT_SECONDS, next((r for r in rungs if r > replicates.games), self.job.games))
        if time.monotonic() > self.deadline:
            raise TimeoutError(f"took longer than --trial-timeout {self.job.timeout:g} s")
        if replicates.finished:
            self.partial.unlink(missing_ok=True) if self.job.partial_dir else None
        elif self.job.partial_dir and time.monotonic() > self.saved + CHECKPOINT_SECONDS:
            self._save()
        metrics = replicates.metrics() | {"index": self.index, "final": replicates.finished, "done": replicates.finished}
        print(f"trial_{self.index:05d} {summary_line(metrics)}", flush=True)
        return metrics

    def _save(self) -> None:
        assert self.replicates is not None
        try:
            self.replicates.save(self.partial)
        except OSError as error:  # a full disk: the trial can still finish, it only cannot be resumed
            print(f"trial_{self.index:05d} could not be saved: {error}", flush=True)
        self.saved = time.monotonic()

    def _fail(self, error: Exception) -> None:
        self.error = f"{type(error).__name__}: {error}"
        print(f"trial_{self.index:05d} failed\n{traceback.format_exc()}", flush=True)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: finished trials are in the search's journal, unfinished ones save themselves."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing, as `save_checkpoint`."""


def summary_line(metrics: dict[str, Any]) -> str:
    """A report in one readable line."""
    seeds = len(metrics["games_to_optimal"])
    text = f"{metrics['share']:4.0%}  {metrics['games_per_s'] / 1e6:.2f}M games/s"
    if not metrics["games"]:
        return f"{text}  before the first check"
    return (
        f"{text}  {metrics['games']:,} games x {seeds}  solved {metrics['solved']}/{seeds}  "
        f"median {metrics['median']:,.0f}  PAR-10 {metrics['par10']:,.0f}  "
        f"exploitability {metrics['exploitability']:.3f}  loss vs random {metrics['loss_vs_random']:.4f}"
    )

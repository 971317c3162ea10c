"""The replicates of one configuration, trained and checked on a grid of games."""

from __future__ import annotations

import json
import math
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import IO, BinaryIO

import numpy as np

from tictactoe import files
from tictactoe.core.evaluation import Check, check, check_grid, curve_grid, train_and_check
from tictactoe.core.game import Board
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.core.seeds import sequence
from tictactoe.experiment.objective import bounds, mean_log, par10
from tictactoe.experiment.record import FORMAT, CurvePoint, Progress, Task, from_json

CHUNK = 50_000
"""Games of a replicate between two looks at the clock, or not many more; no result depends on it."""
REDUCTION = 3
"""ASHA lets the best third of the trials pass each rung."""
UNCHECKED = Check(math.nan, math.nan)


def warm_up(board: str) -> None:
    """Compile, or load from the cache, all that training calls, and what it looks up for this board."""
    learner = QLearner(Board.parse(board), Hyperparameters(), 0)
    learner.train(1)
    train_and_check(learner, [2], None)
    check(learner)


def median(games_to_optimal: Sequence[int | None]) -> float | None:
    """Median games to optimal, None where the middle is unsolved."""
    ordered = sorted(math.inf if games is None else float(games) for games in games_to_optimal)
    middle = len(ordered) // 2
    value = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return value if math.isfinite(value) else None


def rungs(games: int) -> list[int]:
    """The numbers of games from which on ASHA judges a trial by the next point of its curve: about budget/9 and budget/3.

    Loss against random after 9 % of the budget ranks configurations nearly as at its end (rank correlation .8),
    earlier not; exploitability does so only late.
    """
    first = -(-games // REDUCTION**2)
    return [first, first * REDUCTION]


class Replicates:
    """R learners of one configuration, trained and checked side by side.

    `advance` may be called at any times and from any state; what it computes depends on none of that. Raises ValueError for
    a cap that is no point of the grid of checks.
    """

    def __init__(self, task: Task, hyperparameters: Hyperparameters) -> None:
        self.task, self.hyperparameters = task, hyperparameters
        board = Board.parse(task.board)
        self.grid = check_grid(board, task.games)
        self._end = len(self.grid) if task.cap is None else self.grid.index(task.cap) + 1
        points = self.grid[: self._end]
        self.full = curve_grid(points) if task.curve else points[-1:]
        """Where each replicate gets the full check."""
        seeds = [sequence(task.seed, task.stream, task.first + r) for r in range(task.seeds)]
        self.learners = [QLearner(board, hyperparameters, seed) for seed in seeds]
        self.checks = [UNCHECKED] * task.seeds
        """The last full check of each replicate."""
        self.games_to_optimal: list[int | None] = [None] * task.seeds
        self.history: list[CurvePoint] = []
        self.learner_cpu_s = self.earlier_cpu_s = 0.0

    @property
    def points(self) -> int:
        """Grid points that every replicate has passed."""
        return bisect_right(self.grid, min(learner.games for learner in self.learners))

    @property
    def games(self) -> int:
        """Games at the last grid point that every replicate has passed."""
        return self.grid[self.points - 1] if self.points else 0

    @property
    def next_rung(self) -> int:
        """Games after which ASHA judges next: at the first point of the curve at or after a rung. The budget after the last."""
        judged = (next((point for point in self.full if point >= rung), self.task.games) for rung in rungs(self.task.games))
        return next((point for point in judged if point > self.games), self.task.games)

    @property
    def played(self) -> int:
        """Games played so far, all replicates together."""
        return sum(learner.games for learner in self.learners)

    @property
    def finished(self) -> bool:
        """Whether every replicate has passed its cap, or the whole budget where there is none."""
        return self.points == self._end

    def advance(self, deadline: float, target: int) -> None:
        """Train and check until every replicate has passed `target` games or the monotonic clock `deadline`.

        A chunk or check that has begun is finished first.
        """
        start = time.process_time()
        while not self.finished and self.games < target:
            stop = self._next_stop(target)
            for r, learner in enumerate(self.learners):
                if learner.games < stop and not self._train(r, stop, deadline):
                    break
            if self.task.curve and stop in self.full and all(learner.games == stop for learner in self.learners):
                self.history.append(self._curve_point(stop))
            if time.monotonic() > deadline:
                break
        self.learner_cpu_s += time.process_time() - start

    def _next_stop(self, target: int) -> int:
        """Where all replicates meet next: not beyond a full check nor the target, and not much more than `CHUNK` games on."""
        far = min(target, self.games + CHUNK)
        later = self.grid[self.points : self._end]
        return next((point for point in later if point in self.full or point >= far), later[-1])

    def _train(self, r: int, stop: int, deadline: float) -> bool:
        """Train and check replicate `r` up to so many games, a point of the grid; whether the time was enough."""
        learner = self.learners[r]
        while learner.games < stop:
            near = min(stop, learner.games + CHUNK)
            points = self.grid[bisect_right(self.grid, learner.games) : bisect_right(self.grid, near)]
            if points:
                self.games_to_optimal[r] = train_and_check(learner, points, self.games_to_optimal[r])
            else:
                learner.train(near - learner.games)
            if learner.games == stop and stop in self.full:
                self.checks[r] = check(learner)
            if time.monotonic() > deadline:
                return False
        return True

    def progress(self) -> Progress:
        """How far they have come.

        `games` is the last grid point that all have passed; the numbers about what they learned are of each one's last
        check, full or not, which may be at a later point.
        """
        least = bounds(self.games_to_optimal, self.games, self.grid)
        return Progress(
            mean_log=mean_log(least),
            par10=par10(least),
            median=median(self.games_to_optimal),
            solved=sum(games is not None for games in self.games_to_optimal),
            exploitability=fmean(c.exploitability for c in self.checks),
            loss_vs_random=fmean(c.loss_vs_random for c in self.checks),
            games=self.games,
            learner_cpu_s=self.learner_cpu_s,
            games_to_optimal=tuple(self.games_to_optimal),
            played=self.played,
            share=self.played / (self.grid[self._end - 1] * self.task.seeds),
            earlier_cpu_s=self.earlier_cpu_s,
            history=tuple(self.history),
        )

    def save(self, path: Path, attempt: str = "") -> None:
        """Write a file as `write` does, whole or not at all."""
        with files.atomic(path) as file:
            self.write(file, attempt)

    def write(self, file: IO[bytes], attempt: str = "", packed: bool = False) -> None:
        """Write everything that `advance` changes; `attempt` names this start of the program."""
        facts = {
            **self._identity(),
            "games": [learner.games for learner in self.learners],
            "checks": [[c.exploitability, c.loss_vs_random] for c in self.checks],
            "games_to_optimal": self.games_to_optimal,
            "history": [asdict(point) for point in self.history],
            "learner_cpu_s": self.learner_cpu_s,
            "earlier_cpu_s": self.earlier_cpu_s,
            "attempt": attempt,
        }
        (np.savez_compressed if packed else np.savez)(
            file,
            facts=np.array(json.dumps(facts)),
            generators=np.stack([learner.generator for learner in self.learners]),
            # One by one: all in one array they would be in memory a second time.
            **{_table_name(r): learner.table for r, learner in enumerate(self.learners)},  # type: ignore[arg-type]
        )

    def restore(self, source: Path | BinaryIO, attempt: str = "") -> str | None:
        """Go on from a saved state. Where it is damaged or another trial's, nothing changes and the return says so.

        What was learned in an attempt of another name counts as earlier from now on. Raises OSError or ValueError when the
        file is damaged while it is read.
        """
        try:
            with np.load(source) as saved:
                facts, generators = json.loads(str(saved["facts"])), saved["generators"]
                if any(facts[name] != value for name, value in self._identity().items()):
                    return "belongs to another trial"
                games = [int(number) for number in facts["games"]]
                checks = [Check(*values) for values in facts["checks"]]
                history = [from_json(CurvePoint, point) for point in facts["history"]]
                games_to_optimal = list(facts["games_to_optimal"])
                learner_cpu_s = float(facts["learner_cpu_s"])
                earlier_cpu_s = float(facts["earlier_cpu_s"]) if facts["attempt"] == attempt else learner_cpu_s
                sizes = {len(generators), len(games), len(checks), len(games_to_optimal)}
                if sizes != {len(self.learners)} or generators.shape[1:] != (4,):
                    raise ValueError("sizes")
                for r, learner in enumerate(self.learners):  # each is read whole, and so its checksum looked at
                    if saved[_table_name(r)].shape != learner.table.shape:
                        raise ValueError("sizes")
        except Exception as error:  # a damaged file can raise nearly anything; then the trial starts over
            return f"is damaged ({type(error).__name__})"
        if not isinstance(source, Path):
            source.seek(0)
        with np.load(source) as saved:  # again, since all tables at once may be too much for the memory
            for r, learner in enumerate(self.learners):
                learner.restore({"table": saved[_table_name(r)], "generator": generators[r], "games": games[r]})
        self.checks, self.history, self.games_to_optimal = checks, history, games_to_optimal
        self.learner_cpu_s, self.earlier_cpu_s = learner_cpu_s, earlier_cpu_s
        return None

    def _curve_point(self, games: int) -> CurvePoint:
        values = np.array([(c.exploitability, c.loss_vs_random) for c in self.checks])
        exploitability, loss = np.quantile(values, (0.1, 0.5, 0.9), axis=0).T.round(6).tolist()
        return CurvePoint(
            games=games,
            optimal=sum(check.optimal for check in self.checks),
            exploitability=tuple(exploitability),
            loss_vs_random=tuple(loss),
            mean_loss=fmean(check.loss_vs_random for check in self.checks),
        )

    def _identity(self) -> dict[str, object]:
        """What a saved state must agree in, as JSON types."""
        task = {name: int(value) if isinstance(value, int) else value for name, value in asdict(self.task).items()}
        return {"format": FORMAT, "task": task, "config": self.hyperparameters.as_dict()}


def _table_name(replicate: int) -> str:
    """A replicate's table in a saved state."""
    return f"table_{replicate}"

"""Ray Tune beside a bare process pool: the same configurations, kernel and checks, told to an Optuna study.

The peer is what one would write by hand: no dashboard, no tracking, no resuming. Runs alternate.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from math import inf
from statistics import median

import optuna

from benchmarks.common import arguments, search, show, write
from tictactoe.core.learner import Hyperparameters
from tictactoe.experiment.record import Task
from tictactoe.experiment.replicates import Replicates
from tictactoe.experiment.space import sample


def train(hyperparameters: Hyperparameters, task: Task) -> tuple[float, float]:
    """PAR-10 and learner CPU seconds of one configuration."""
    replicates = Replicates(task, hyperparameters)
    replicates.advance(inf, task.games)
    return replicates.progress().par10, replicates.learner_cpu_s


def peer(task: Task, samples: int, slots: int) -> tuple[float, float, float]:
    """Wall seconds, learner CPU seconds and best PAR-10 of an Optuna study over a process pool."""
    began = time.monotonic()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.RandomSampler(seed=task.seed))
    cpu = 0.0
    with ProcessPoolExecutor(slots) as pool:
        trials = {}
        for configuration in sample(samples, task.seed):
            trial = study.ask()
            trial.set_user_attr("config", configuration.as_dict())
            trials[pool.submit(train, configuration, task)] = trial
        for future in as_completed(trials):
            score, seconds = future.result()
            study.tell(trials[future], score)
            cpu += seconds
    return time.monotonic() - began, cpu, study.best_value


def main() -> None:
    options = arguments(__doc__, repetitions=3, slots=2, samples=64, seeds=32, games=50_000)
    task = Task("3x3x3", options.seeds, options.games, seed=0)
    ours, theirs = [], []
    for _ in range(options.repetitions):
        run = search(
            "--num-cpus", str(options.slots), "--num-samples", str(options.samples), "--seeds", str(options.seeds),
            "--games", str(options.games), "--scheduler", "none", WANDB_MODE="disabled",
        )  # fmt: skip
        journal = run["journal"]
        span = max(r["ended_s"] for r in journal) - min(r["started_s"] for r in journal)
        ours.append((run["process_s"], span, run["summary"]["cost"]["learner_cpu_s"], min(r["par10"] for r in journal)))
        wall, cpu, best = peer(task, options.samples, options.slots)
        theirs.append((wall, wall, cpu, best))
        assert best == ours[-1][3], "both must find the same"
    names = ("process s", "trials s", "learner CPU s", "best PAR-10")
    rows = [
        {"program": program} | {name: median(values) for name, values in zip(names, zip(*figures, strict=True), strict=True)}
        for program, figures in (("this (Ray Tune)", ours), ("Optuna + process pool", theirs))
    ]
    ratios = {"program": "ratio"} | {
        name: median(a[i] / b[i] for a, b in zip(ours, theirs, strict=True)) for i, name in enumerate(names)
    }
    title = f"{options.samples} configurations x {options.seeds} seeds x {options.games:,} games, {options.slots} slots"
    write(options.json, show(f"{title}, medians of {options.repetitions}", [*rows, ratios]))


if __name__ == "__main__":
    main()

"""What a trial costs beyond learning: slot seconds that no learner used, of searches that race and of one that does not.

And what checkpoints cost.

A slot is one of the trials that run at a time; slot seconds are slots x (end of the last - start of the first
trial). The rest of the wall time is Ray's start, and the results at the end.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import arguments, search, show, write
from tictactoe.core.learner import Hyperparameters
from tictactoe.experiment.record import Task
from tictactoe.experiment.replicates import Replicates
from tictactoe.tuning.block import save_pause

WHOLE = ("--scheduler", "none", "--num-samples", "64", "--seeds", "32")
"""Trials that all play their whole budget."""
SEARCHES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("default", (), "disabled"),
    ("default", (), "offline"),
    ("default with Optuna", ("--search", "optuna"), "disabled"),
    ("64 whole trials", WHOLE, "disabled"),
    ("64 whole trials", WHOLE, "offline"),
)
"""What each is called, its options, and what becomes of W&B's runs."""


def main() -> None:
    options = arguments(__doc__, repetitions=3, slots=2)
    rows = []
    for called, command, mode in SEARCHES:
        runs = [search("--num-cpus", str(options.slots), *command, WANDB_MODE=mode) for _ in range(options.repetitions)]
        figures = []
        for run in runs:
            journal, cost = run["journal"], run["summary"]["cost"]
            span = max(r["ended_s"] for r in journal) - min(r["started_s"] for r in journal)
            figures.append((
                (span * options.slots - cost["learner_cpu_s"]) / len(journal),
                cost["learner_share"], cost["startup_s"], span, run["process_s"],
            ))  # fmt: skip
        names = ("overhead slot-s/trial", "learner share", "startup s", "trials s", "process s")
        rows.append(
            {"search": called, "W&B": mode}
            | {name: median(values) for name, values in zip(names, zip(*figures, strict=True), strict=True)}
        )
    overhead = show(f"Overhead, medians of {options.repetitions} runs", rows)
    checkpoints = show("What checkpoints cost", [checkpoint("3x3x3", 32, 50_000), checkpoint("4x4x4", 1, 500_000)])
    write(options.json, overhead, checkpoints)


def checkpoint(board: str, seeds: int, games: int) -> dict[str, Any]:
    """Time to save a configuration's replicates, and its share of a trial that saves as often as it may."""
    replicates = Replicates(Task(board, seeds, games, seed=0), Hyperparameters())
    replicates.advance(float("inf"), games)
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(5):
            began = time.perf_counter()
            replicates.save(Path(folder, "state.npz"))
            seconds.append(time.perf_counter() - began)
    cost = median(seconds)
    share = cost / (cost + save_pause(cost))
    return {"board": board, "seeds": seeds, "ms/checkpoint": 1000 * cost, "share of a trial at most": share}


if __name__ == "__main__":
    main()

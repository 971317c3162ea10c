"""Results of a small search without Ray, for tests of the report: real learners, real checks."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tictactoe.core.evaluation import evaluate
from tictactoe.core.game import Board
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.core.policy import Policy, settles_ties
from tictactoe.core.seeds import Stream, sequence
from tictactoe.experiment.journal import Journal
from tictactoe.experiment.replicates import Job, Replicates
from tictactoe.experiment.space import sample

GOOD = Hyperparameters(alpha_start=0.9, alpha_end=0.9, q_init=0.1, replay="backward")
"""Optimal play on 3x3x3 within 1,000 games."""


def results(folder: Path, board: str = "3x3x3", trials: int = 24, seeds: int = 4, games: int = 3000) -> QLearner:
    """Write summary.json, journal.jsonl and policy.json; return the learner behind the policy."""
    folder.mkdir(parents=True, exist_ok=True)
    job, start = Job(board, seeds, games, seed=0), time.monotonic()
    records = []
    for index, hyperparameters in enumerate([GOOD, *sample(trials - 1, 0)]):
        replicates, began = Replicates(job, hyperparameters), time.monotonic() - start
        replicates.advance(float("inf"), games)
        metrics = replicates.metrics()
        names = ("games_to_optimal", "par10", "solved", "exploitability", "loss_vs_random", "games", "played")
        records.append(
            {"index": index, "config": hyperparameters.as_dict(), **{name: metrics[name] for name in names}}
            | {"median": None if metrics["median"] == float("inf") else metrics["median"], "history": metrics["history"]}
            | {"learner_cpu_s": metrics["learner_cpu_s"], "worker": 100 + index % 2, "stopped": False, "attempt": 1}
            | {"started_s": began, "ended_s": time.monotonic() - start}
        )
    best = min(records, key=lambda record: (record["par10"], record["index"]))
    times = [float("inf") if value is None else value for value in best["games_to_optimal"]]
    learner = QLearner(
        Board.parse(board), Hyperparameters(**best["config"]), sequence(0, Stream.SEARCH, times.index(min(times)))
    )
    learner.train(games)
    policy, worth = Policy.from_learner(learner), evaluate(learner, settled=settles_ties(learner.board))
    policy.save(folder / "policy.json")
    (folder / "journal.jsonl").write_text("".join(map(Journal.line, records)))
    summary = {
        "status": "finished",
        "truncated": False,
        "board": board,
        "seed": 0,
        "settings": {"num_samples": trials, "seeds": seeds, "games": games, "search": "random", "scheduler": "none"},
        "num_trials": trials,
        "num_errors": 0,
        "cost": {"learner_cpu_s": 1.0, "learner_share": 0.75, "games": 1_000_000, "wall_s": 40.2, "startup_s": 6.7},
        "versions": {"python": "3.12"},
        "best": {"seeds": seeds, **{name: best[name] for name in ("index", "config", "par10", "median", "solved")}},
        "policy": {
            "optimal": worth.optimal,
            "exploitability": worth.exploitability,
            "vs_random": {"X": asdict(worth.as_x), "O": asdict(worth.as_o)},
        },
        "digest": "sha256:0123",
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return learner


def change(folder: Path, **values: Any) -> dict[str, Any]:
    """Set entries of summary.json; return all of it."""
    summary = json.loads((folder / "summary.json").read_text()) | values
    (folder / "summary.json").write_text(json.dumps(summary))
    return summary


def select(folder: Path) -> None:
    """Add what a selection on fresh seeds writes: four finalists, two of them tied, one hardly ever solved."""
    records = sorted(map(json.loads, (folder / "journal.jsonl").read_text().splitlines()), key=lambda r: r["par10"])[:4]
    finalists = [
        {
            "index": record["index"],
            "config": record["config"],
            "search_par10": record["par10"],
            "par10": 1.25 * record["par10"],
            "median": 444.0 + place if place < 3 else None,
            "interval": [400.0 + place, 500.0 + place if place < 3 else None],
            "confidence": 0.9375,
            "seeds": 64,
            "tied": place < 2,
        }
        for place, record in enumerate(records)
    ]
    selection = {"method": "races <on> fresh seeds", "rounds": 3, "learner_cpu_s": 3.2, "gap": 1.25, "finalists": finalists}
    fresh = {name: finalists[0][name] for name in ("par10", "median", "interval", "confidence", "seeds")}
    change(folder, selection=selection, best=change(folder)["best"] | {"fresh": fresh})

"""The files of a search: what it found, what it cost, and a digest that says whether two searches agree."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tictactoe import files
from tictactoe.core.evaluation import evaluate
from tictactoe.core.game import Board
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.core.policy import Policy, settles_ties
from tictactoe.core.seeds import Stream, sequence
from tictactoe.experiment.journal import Journal, checksum
from tictactoe.experiment.selection import Selection
from tictactoe.settings import Settings

DIGEST_VERSION = 2


@dataclass
class Outcome:
    """What a search came to."""

    records: list[dict[str, Any]]
    """Finished trials in index order, as in the journal."""
    errors: dict[int, str] = field(default_factory=dict)
    """Why trials failed, by index."""
    truncated: bool = False
    """Whether the time budget ended it."""
    interrupted: bool = False
    cost: dict[str, float] = field(default_factory=dict)
    """What this attempt took; see `tuning.search`."""


def compile_results(
    folder: Path, settings: Settings, outcome: Outcome, selection: Selection
) -> tuple[dict[str, Any], QLearner]:
    """Write trials.csv and policy.json; return what summary.json is to say, and the learner behind the policy."""
    files.write(folder / "trials.csv", _csv(outcome.records))
    best = next(record for record in outcome.records if record["index"] == selection.winner)
    learner = best_learner(settings.board, settings.games, settings.seed, best)
    policy = Policy.from_learner(learner)
    policy.save(folder / "policy.json")
    result = evaluate(learner, settled=settles_ties(learner.board))
    summary = _frame(settings, outcome, "finished") | {
        "best": {
            "index": best["index"],
            "config": best["config"],
            "par10": best["par10"],
            "median": best["median"],
            "solved": best["solved"],
            "seeds": settings.seeds,
            "fresh": selection.fresh,
        },
        "selection": selection.summary(),
        "policy": {
            "optimal": result.optimal,
            "exploitability": result.exploitability,
            "vs_random": {"X": asdict(result.as_x), "O": asdict(result.as_o)},
        },
        "digest": digest(settings, outcome.records, selection, policy),
        "digest_version": DIGEST_VERSION,
        "files": {name: files.sha256(folder / name) for name in ("trials.csv", "policy.json")},
    }
    return summary, learner


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write summary.json, with a checksum of it."""
    plain = json.loads(json.dumps(summary, allow_nan=False))
    files.write(folder / "summary.json", json.dumps(plain | {"crc32": checksum(plain)}, indent=1))


def write_unfinished(folder: Path, settings: Settings, status: str) -> None:
    """Write a summary that says that the search is "interrupted" or has "failed"."""
    records = Journal(folder / "journal.jsonl").read()
    write_summary(folder, _frame(settings, Outcome(records), status))


def is_whole(summary: dict[str, Any]) -> bool:
    """Whether a summary is as it was written."""
    return summary.get("crc32") == checksum({name: value for name, value in summary.items() if name != "crc32"})


def best_learner(board: str, games: int, seed: int, record: dict[str, Any]) -> QLearner:
    """The record's replicate with the fewest games to optimal (the first of equals), trained again."""
    to_optimal = [math.inf if value is None else value for value in record["games_to_optimal"]]
    replicate = to_optimal.index(min(to_optimal))
    learner = QLearner(Board.parse(board), Hyperparameters(**record["config"]), sequence(seed, Stream.SEARCH, replicate))
    learner.train(games)
    return learner


def winner_learner(folder: Path) -> QLearner:
    """The learner behind a finished search's policy.json, trained again: the same bits."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    record = next(r for r in Journal(folder / "journal.jsonl").read() if r["index"] == summary["best"]["index"])
    return best_learner(summary["board"], summary["settings"]["games"], summary["seed"], record)


def digest(settings: Settings, records: list[dict[str, Any]], selection: Selection, policy: Policy) -> str:
    """SHA-256 over what decides whether two searches found the same; nothing timed.

    Of the canonical JSON of exactly: board, seed, budget, seeds, every trial's configuration and its games to
    optimal per replicate in index order, every finalist's index and its games to optimal per fresh replicate in
    index order, the winner's configuration, and its policy.
    """
    content = {
        "board": settings.board,
        "seed": settings.seed,
        "budget": settings.games,
        "seeds": settings.seeds,
        "trials": [{"config": r["config"], "games_to_optimal": r["games_to_optimal"]} for r in records],
        "fresh": [{"index": index, "games_to_optimal": games} for index, games in sorted(selection.games_to_optimal.items())],
        "winner": next(record["config"] for record in records if record["index"] == selection.winner),
        "policy": None,
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    text = text.replace('"policy":null', f'"policy":{policy.to_json()}')  # canonical already, and large
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _frame(settings: Settings, outcome: Outcome, status: str) -> dict[str, Any]:
    return {
        "status": status,
        "truncated": outcome.truncated,
        "board": settings.board,
        "seed": settings.seed,
        "settings": settings.model_dump(
            mode="json", include={"num_samples", "seeds", "games", "search", "scheduler", "cpus_per_trial"}
        ),
        "num_trials": len(outcome.records) + len(outcome.errors),
        "num_errors": len(outcome.errors),
        "errors": {str(index): error for index, error in sorted(outcome.errors.items())},
        "cost": outcome.cost,
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("ray", "numpy", "numba", "optuna", "wandb")},
    }


def _csv(records: list[dict[str, Any]]) -> str:
    columns = ("par10", "median", "solved", "exploitability", "loss_vs_random", "games", "learner_cpu_s", "stopped")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys = list(records[0]["config"]) if records else []
    writer.writerow(["trial", *keys, *columns])
    for record in records:
        values = ["inf" if record[column] is None else record[column] for column in columns]
        writer.writerow([record["index"], *(record["config"][key] for key in keys), *values])
    return text.getvalue()

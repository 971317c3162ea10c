"""The files of a search: what it found, what it cost, and a digest that says whether two searches agree."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import math
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from tictactoe.evaluation import evaluate
from tictactoe.game import Board
from tictactoe.interrupt import Interrupt
from tictactoe.learner import Hyperparameters, QLearner
from tictactoe.policy import Policy, settles_ties
from tictactoe.settings import Settings, SettingsError
from tictactoe.tuning.journal import Journal
from tictactoe.tuning.replicates import replicate_seed
from tictactoe.tuning.search import Outcome, fingerprint
from tictactoe.tuning.selection import Selection

DIGEST_VERSION = 2


class Folder:
    """The folder of one search, locked while this object holds it.

    Raises SettingsError when another process holds it, or another search's results are in it.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self._settings = settings
        path.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(path)
        if settings.fresh and any(child.name != "lock" for child in path.iterdir()):
            aside = _aside(path)
            path.rename(aside)
            self._lock.close()
            path.mkdir()
            self._lock = _lock(path)
            with suppress(FileNotFoundError):  # which the reaper of a killed run may still hold
                (aside / "lock.reaper").rename(path / "lock.reaper")
        self.notes: list[str] = []
        """What was found damaged and will be mended, in words."""
        known = self._identity()
        wanted = json.loads(json.dumps(fingerprint(settings)))
        if known["fingerprint"] != wanted:
            differing = sorted(k for k in {*known["fingerprint"], *wanted} if known["fingerprint"].get(k) != wanted.get(k))
            raise SettingsError(
                f"{path} holds a search with another {', '.join(differing)}; choose another --name, or --fresh to move it aside"
            )
        self.created: str = known["created"]
        """When the search was begun, in digits; with the name it tells it from all others."""
        self.notes += self._mended_journal() or self._damage()

    def _identity(self) -> dict[str, Any]:
        """What search.json says; written where it is not there, or where the folder's name says the same."""
        path = self.path / "search.json"
        known = _read_json(path)
        if known is not None and {"fingerprint", "created"} <= known.keys():
            return known
        if path.exists() or (self.path / "journal.jsonl").exists():
            if self._settings.name is not None:
                raise SettingsError(f"{path}: missing or damaged; start over with --fresh, which keeps the old results aside")
            self.notes.append("search.json is missing or damaged: written again")
        known = {"fingerprint": fingerprint(self._settings), "created": datetime.now(UTC).strftime("%Y%m%d%H%M%S")}
        write_atomically(path, json.dumps(known, indent=1))
        return json.loads(json.dumps(known))

    def _mended_journal(self) -> list[str]:
        """Take damaged lines out of the journals, and name them."""
        found = []
        for name, lost in (("journal.jsonl", "its trial is run again"), ("fresh.jsonl", "its replicates are run again")):
            journal = Journal(self.path / name)
            whole = journal.read()
            if journal.damaged:
                write_atomically(journal.path, "".join(map(Journal.line, whole)))
            found += [f"{name}, line {number}, was damaged: {lost}" for number in journal.damaged]
        return found

    def _damage(self) -> list[str]:
        """What is damaged in the files of a finished search, and what will be done about it."""
        summary = self.summary()
        if summary is None:
            return ["summary.json is damaged: written again"] if (self.path / "summary.json").exists() else []
        if summary.get("status") != "finished":
            return []
        wanted = summary.get("num_trials", 0) - summary.get("num_errors", 0)
        missing = wanted - len(Journal(self.path / "journal.jsonl").read())
        found = [f"journal.jsonl lacks {missing} trials: they are run again"] if missing else []
        damaged = [name for name, known in summary.get("files", {}).items() if _sha256(self.path / name) != known]
        return found + [f"{name} is missing or damaged: written again" for name in damaged]

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.close()

    @property
    def finished(self) -> bool:
        """Whether this search has been carried through, and its files are as they were written."""
        return (self.summary() or {}).get("status") == "finished" and not self._damage()

    @contextmanager
    def unfinished_until_written(self, interrupt: Interrupt) -> Iterator[None]:
        """summary.json says "interrupted" unless and until the results are written; "failed" after an error."""
        if self.finished:
            yield
            return
        write_unfinished(self.path, self._settings, "interrupted")
        try:
            yield
        except SettingsError:
            raise  # nothing has been run
        except Exception:
            with suppress(OSError):  # a full disk may be the reason; then it stays "interrupted"
                write_unfinished(self.path, self._settings, "interrupted" if interrupt.event.is_set() else "failed")
            raise

    def fail(self, reason: str, interrupt: Interrupt) -> None:
        """Say that the search has failed, and end the process whatever its main thread does."""
        with suppress(OSError):
            write_unfinished(self.path, self._settings, "failed")
        print(f"error: {reason}; finished trials are kept, run the same command again to go on", file=sys.stderr, flush=True)
        interrupt.leave(1)

    def summary(self) -> dict[str, Any] | None:
        """summary.json, None where there is none that can be read."""
        return _read_json(self.path / "summary.json")


def compile_results(
    folder: Path, settings: Settings, outcome: Outcome, selection: Selection
) -> tuple[dict[str, Any], QLearner]:
    """Write trials.csv and policy.json; return what summary.json is to say, and the learner behind the policy."""
    write_atomically(folder / "trials.csv", _csv(outcome.records))
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
        "files": {name: _sha256(folder / name) for name in ("trials.csv", "policy.json")},
    }
    return summary, learner


def finish(folder: Path, summary: dict[str, Any]) -> None:
    """Write summary.json: from now on the search is finished."""
    write_atomically(folder / "summary.json", json.dumps(summary, indent=1, allow_nan=False))


def write_unfinished(folder: Path, settings: Settings, status: str) -> None:
    """Write a summary that says that the search is "interrupted" or has "failed"."""
    records = Journal(folder / "journal.jsonl").read()
    write_atomically(folder / "summary.json", json.dumps(_frame(settings, Outcome(records), status), indent=1, allow_nan=False))


def best_learner(board: str, games: int, seed: int, record: dict[str, Any]) -> QLearner:
    """The record's replicate with the fewest games to optimal (the first of equals), trained again."""
    to_optimal = [math.inf if value is None else value for value in record["games_to_optimal"]]
    replicate = to_optimal.index(min(to_optimal))
    learner = QLearner(Board.parse(board), Hyperparameters(**record["config"]), replicate_seed(seed, replicate))
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


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole or not at all, through to the disk."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


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


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _lock(path: Path) -> IO[str]:
    file = (path / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(file.fileno()), (path / "lock").stat()):  # moved aside by another just now
            raise BlockingIOError
    except OSError:
        file.close()
        raise SettingsError(f"{path} is in use by another search; wait for it, or choose another --name") from None
    return file


def _aside(path: Path) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}.old-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.old-{stamp}-{number}")
    return aside

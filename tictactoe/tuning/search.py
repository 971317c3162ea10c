"""The search: which configurations, in what order, stopped when; new or resumed. Ray Tune does the work."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import optuna
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from tictactoe.interrupt import Interrupt
from tictactoe.settings import Settings
from tictactoe.tuning.space import SPACE, describe, hyperparameters, sample
from tictactoe.tuning.trial import RUNGS, Job, QLearningTrial, Replicates

LOST_WORKER_RETRIES = 3
"""How often a trial is repeated whose process died; a trial that raises is not."""


class Observer(Protocol):
    """What wants to hear of trials while the search runs. Called from the driver; must not block."""

    def search_started(self, finished: list[dict[str, Any]]) -> None: ...

    def trial_started(self, index: int, config: dict[str, Any]) -> None: ...

    def trial_reported(self, index: int, metrics: dict[str, Any]) -> None: ...

    def trial_finished(self, record: dict[str, Any]) -> None: ...

    def trial_failed(self, index: int, error: str) -> None: ...


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
    """What this attempt took; see `_cost`."""


def fingerprint(settings: Settings) -> dict[str, Any]:
    """What decides the results, and so names a search, and must be equal for a search to go on."""
    packages = ["ray", "numpy", *(["optuna"] if settings.search == "optuna" else [])]
    shared = settings.model_dump(include={"board", "num_samples", "seeds", "games", "seed", "search", "scheduler"})
    return shared | {"space": describe(), "versions": {package: version(package) for package in packages}}


def search_name(settings: Settings) -> str:
    """`--name`, or the board and 8 hexadecimal digits of the fingerprint."""
    text = json.dumps(fingerprint(settings), sort_keys=True)
    return settings.name or f"{settings.board}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


class Journal:
    """Finished trials, one JSON line each, on disk before anybody hears of them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """All whole records, in index order; a torn or damaged line is as good as none."""
        records = {}
        lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        for line in lines:
            try:
                record = json.loads(line)
                records[int(record["index"])] = record
            except (ValueError, TypeError, KeyError):
                continue
        return [records[index] for index in sorted(records)]

    def append(self, record: dict[str, Any]) -> None:
        """Write one record through to the disk."""
        with self.path.open("ab+") as file:
            torn = file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
            file.write(b"\n" * bool(torn) + json.dumps(record, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def run(settings: Settings, folder: Path, interrupt: Interrupt, observers: Sequence[Observer]) -> Outcome:
    """Run what is left of a search in the Ray that is up, and return all of it.

    Raises RuntimeError, with the first reason, when no trial finished.
    """
    journal = Journal(folder / "journal.jsonl")
    records = journal.read()
    missing = [index for index in range(settings.num_samples) if index not in {record["index"] for record in records}]
    for observer in observers:
        observer.search_started(records)
    relay = _Relay(journal, observers)
    start = time.monotonic()
    if missing and not interrupt.event.is_set():
        tuner = _tuner(settings, folder, missing, records, relay)
        ray.wait(warm := warm_up(settings), num_returns=len(warm), timeout=60)
        interrupt.fitting = True
        if not interrupt.event.is_set():
            tuner.fit()
        interrupt.fitting = False
    records = journal.read()
    outcome = Outcome(records, relay.errors, interrupted=interrupt.event.is_set())
    outcome.cost = _cost(settings, records, missing, relay)
    done = len(records) + len(relay.errors)
    if done < settings.num_samples and not outcome.interrupted:
        outcome.truncated = settings.time_budget is not None and time.monotonic() - start >= settings.time_budget
        if not outcome.truncated:
            raise RuntimeError(f"Ray Tune ended after {done} of {settings.num_samples} trials; run again to go on")
    if not records and not outcome.interrupted:
        first = next(iter(sorted(relay.errors.items())), None)
        if first is None:
            raise RuntimeError(f"no trial finished within --time-budget {settings.time_budget:g}; give it more seconds")
        raise RuntimeError(f"all {len(relay.errors)} trials failed; the first error (trial_{first[0]:05d}): {first[1]}")
    return outcome


def _cost(settings: Settings, records: list[dict[str, Any]], missing: list[int], relay: _Relay) -> dict[str, float]:
    """Learner CPU seconds and games of all trials; the learner's share of the slot seconds of this attempt's trials."""
    ours = [record for record in records if record["index"] in set(missing)]
    cpu, played = (sum(record[name] for record in records) for name in ("learner_cpu_s", "played"))
    span = max((r["ended_s"] for r in ours), default=0.0) - min((r["started_s"] for r in ours), default=0.0)
    share = sum(r["learner_cpu_s"] for r in ours) / (span * slots(settings)) if span > 0 else 0.0
    return {"learner_cpu_s": cpu, "learner_share": share, "games": played, "games_per_cpu_s": played / cpu if cpu else 0.0}


def slots(settings: Settings) -> int:
    """Trials that run at a time in the Ray that is up."""
    resources = ray.cluster_resources()
    fitting = resources.get("CPU", 0) // settings.cpus_per_trial
    if settings.gpus_per_trial:
        fitting = min(fitting, resources.get("GPU", 0) // settings.gpus_per_trial)
    return min(int(fitting), settings.max_concurrent or settings.num_samples, settings.num_samples)


def warm_up(settings: Settings) -> list[ray.ObjectRef]:
    """Have as many worker processes as there are slots import and compile what a trial needs.

    Tune gives a waiting trial the first free actor and cancels the one that is starting for it. Trials shorter
    than the start of a process would so run one at a time for ever; from warm processes actors start at once.
    """
    task = _load.options(num_cpus=settings.cpus_per_trial)
    return [task.remote(settings.board, settings.games) for _ in range(slots(settings))]


@ray.remote
def _load(board: str, games: int) -> None:
    job = Job(board, seeds=1, games=games, seed=0)
    Replicates(job, hyperparameters({"gamma": 0.9})).warm_up()


def _tuner(settings: Settings, folder: Path, missing: list[int], records: list[dict[str, Any]], relay: _Relay) -> tune.Tuner:
    partial_dir = folder / "tune" / "partial"
    partial_dir.mkdir(parents=True, exist_ok=True)
    job = Job(settings.board, settings.seeds, settings.games, settings.seed, str(partial_dir), settings.trial_timeout)
    searcher = None
    trials: Any
    if settings.search == "random":
        configurations = sample(settings.num_samples, settings.seed)
        trials = tune.grid_search([{"index": i, "hyperparameters": configurations[i].as_dict()} for i in missing])
    else:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        searcher = _IndexedOptuna(missing, metric="log_par10", mode="min", seed=settings.seed)
        trials = {"hyperparameters": SPACE}
    scheduler = None
    if settings.scheduler == "asha":
        # Loss against random after 9 % of the budget ranks configurations nearly as at its end (rank correlation
        # .8), earlier not; exploitability does so only late.
        scheduler = ASHAScheduler(
            time_attr="games",
            metric="loss_vs_random",
            mode="min",
            max_t=settings.games,
            grace_period=-(-settings.games // RUNGS**2),
            reduction_factor=RUNGS,
        )
    return tune.Tuner(
        tune.with_resources(QLearningTrial, {"cpu": settings.cpus_per_trial, "gpu": settings.gpus_per_trial}),
        param_space={"trial": trials, "job": asdict(job)},
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=1 if searcher is None else len(missing),
            max_concurrent_trials=settings.max_concurrent,
            time_budget_s=settings.time_budget,
            reuse_actors=True,
            trial_name_creator=lambda trial: f"trial_{trial.config['trial']['index']:05d}",
            trial_dirname_creator=lambda trial: f"trial_{trial.config['trial']['index']:05d}",
            metric=None if searcher or scheduler else "par10",
            mode=None if searcher or scheduler else "min",
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder),
            callbacks=[relay],
            verbose=1 if settings.verbose else 0,
            failure_config=tune.FailureConfig(max_failures=LOST_WORKER_RETRIES),
        ),
    )


class _IndexedOptuna(OptunaSearch):
    """Optuna's TPE (Bergstra et al., 2011, NeurIPS), numbering the trials it suggests with `indices`."""

    def __init__(self, indices: list[int], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._indices = iter(indices)

    def suggest(self, trial_id: str) -> Any:
        suggested = super().suggest(trial_id)
        if isinstance(suggested, dict):
            suggested.setdefault("trial", {})["index"] = next(self._indices)
        return suggested


class _Relay(tune.Callback):
    """Writes finished trials to the journal, then tells the observers."""

    def __init__(self, journal: Journal, observers: Sequence[Observer]) -> None:
        self.journal = journal
        self.observers = observers
        self.errors: dict[int, str] = {}
        self.start = time.monotonic()
        self._started: dict[int, float] = {}
        self._finished: set[int] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles callbacks for its own kind of resuming, which is not used."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        index = trial.config["trial"]["index"]
        self._started[index] = time.monotonic() - self.start
        for observer in self.observers:
            observer.trial_started(index, trial.config["trial"]["hyperparameters"])

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        index = trial.config["trial"]["index"]
        if result.get("error"):
            self._failed(index, result["error"])
            return
        for observer in self.observers:
            observer.trial_reported(index, result)
        if result["final"]:
            self._finish(trial, result, stopped=False)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Also called for trials that a scheduler or the time budget ended."""
        index, result = trial.config["trial"]["index"], trial.last_result
        if index not in self._finished and index not in self.errors and result.get("games"):
            self._finish(trial, result, stopped=True)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        lines = str(trial.get_pickled_error() or "").strip().splitlines()
        self._failed(trial.config["trial"]["index"], lines[0] if lines else "its process died")

    def _failed(self, index: int, error: str) -> None:
        if index not in self.errors:
            self.errors[index] = error
            for observer in self.observers:
                observer.trial_failed(index, error)

    def _finish(self, trial: Any, result: dict[str, Any], stopped: bool) -> None:
        index = trial.config["trial"]["index"]
        record = {
            "index": index,
            "config": hyperparameters(trial.config["trial"]["hyperparameters"]).as_dict(),
            "games_to_optimal": result["games_to_optimal"],
            "par10": result["par10"],
            "median": result["median"] if result["median"] != float("inf") else None,
            **{name: result[name] for name in ("solved", "exploitability", "loss_vs_random", "games", "played")},
            "learner_cpu_s": result["learner_cpu_s"],
            "started_s": self._started.get(index, 0.0),
            "ended_s": time.monotonic() - self.start,
            "worker": result.get("pid"),
            "stopped": stopped,
            "history": result["history"],
        }
        self.journal.append(record)
        self._finished.add(index)
        for observer in self.observers:
            observer.trial_finished(record)

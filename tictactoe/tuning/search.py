"""The search: which configurations, in what order, stopped when; new or resumed. Ray Tune does the work."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
from ray import tune

from tictactoe.experiment.journal import Journal
from tictactoe.experiment.replicates import Job, state_file
from tictactoe.experiment.results import Outcome
from tictactoe.experiment.space import sample
from tictactoe.process.interrupt import Interrupt
from tictactoe.settings import Settings
from tictactoe.tuning.algorithms import JournaledASHA, LaggedOptuna
from tictactoe.tuning.cluster import node_resources
from tictactoe.tuning.relay import Observer, Relay
from tictactoe.tuning.trial import READY, QLearningTrial

LOST_WORKER_RETRIES = 3
"""How often a trial is repeated whose process died; a trial that raises is not."""


def run(settings: Settings, folder: Path, interrupt: Interrupt, observers: Sequence[Observer]) -> Outcome:
    """Run what is left of a search in the Ray that is up, and return all of it.

    Raises RuntimeError, with the first reason, when no trial finished.
    """
    journal = Journal(folder / "journal.jsonl")
    records = journal.read()
    missing = [index for index in range(settings.num_samples) if index not in {record["index"] for record in records}]
    for observer in observers:
        observer.search_started(records)
    attempt = 1 + max((record["attempt"] for record in records), default=0)
    partial_dir = folder / "unfinished"
    relay = Relay(journal, attempt, observers, interrupt.end_fit, partial_dir)
    start = time.monotonic()
    if missing and not interrupt.event.is_set():
        _clear(partial_dir, missing)
        job = Job(
            settings.board, settings.seeds, settings.games, settings.seed, str(partial_dir), settings.trial_timeout,
            settings.cpus_per_trial, settings.gpus_per_trial, slots=min(slots(settings), len(missing)), attempt=uuid4().hex,
        )  # fmt: skip
        tuner = _tuner(settings, folder, job, missing, records, relay)
        interrupt.fitting = True
        try:
            if not interrupt.event.is_set():
                tuner.fit()
        except Exception as error:
            if relay.unwritable is None and not interrupt.event.is_set():
                reason = (str(error).strip() or type(error).__name__).splitlines()[-1][:300]
                raise RuntimeError(f"Ray Tune ended early: {reason}; {settings.go_on}") from error
        finally:
            interrupt.fitting = False
    if relay.unwritable is not None:
        raise RuntimeError(
            f"{journal.path}: {relay.unwritable.strerror}; finished trials are safe: mend that, then {settings.go_on}"
        )
    records = journal.read()
    outcome = Outcome(records, relay.errors, interrupted=interrupt.event.is_set())
    outcome.cost = _cost(settings, records) | {"attempts": attempt}
    done = len(records) + len(relay.errors)
    if done < settings.num_samples and not outcome.interrupted:
        outcome.truncated = settings.time_budget is not None and time.monotonic() - start >= settings.time_budget
        if not outcome.truncated:
            raise RuntimeError(f"Ray Tune ended after {done} of {settings.num_samples} trials; {settings.go_on}")
    if not records and not outcome.interrupted:
        first = next(iter(sorted(relay.errors.items())), None)
        if first is None:
            raise RuntimeError(f"no trial finished within --time-budget {settings.time_budget:g}; give it more seconds")
        raise RuntimeError(f"all {len(relay.errors)} trials failed; the first error (trial_{first[0]:05d}): {first[1]}")
    return outcome


def _cost(settings: Settings, records: list[dict[str, Any]]) -> dict[str, float]:
    """Learner CPU seconds and games of all trials, and the learner's share of the slots' seconds between the first
    trial's start and the last one's end in each attempt that has finished any; what a trial brought along from an
    attempt before its own is no part of that share."""
    cpu, brought, played = (sum(record[name] for record in records) for name in ("learner_cpu_s", "earlier_cpu_s", "played"))
    attempts = [[r for r in records if r["attempt"] == number] for number in {r["attempt"] for r in records}]
    spans = [max(r["ended_s"] for r in ours) - min(r["started_s"] for r in ours) for ours in attempts]
    share = (cpu - brought) / (sum(spans) * slots(settings)) if sum(spans) > 0 else 0.0
    return {"learner_cpu_s": cpu, "learner_share": share, "games": played, "games_per_cpu_s": played / cpu if cpu else 0.0}


def slots(settings: Settings) -> int:
    """Trials that run at a time in the Ray that is up."""
    fitting = 0
    for resources in node_resources():
        here = resources.get("CPU", 0.0) // settings.cpus_per_trial
        if settings.gpus_per_trial:
            here = min(here, resources.get("GPU", 0.0) // settings.gpus_per_trial)
        fitting += int(here)
    return min(fitting, settings.max_concurrent or settings.num_samples, settings.num_samples)


class TimeBudget(tune.Stopper):
    """Ends the search after some seconds. Ray Tune's own one goes by the wall clock, which may be set meanwhile."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return time.monotonic() >= self._end


def _clear(partial_dir: Path, missing: list[int]) -> None:
    """Make the folder of unfinished trials, or leave nothing in it but their states."""
    partial_dir.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(partial_dir / READY, ignore_errors=True)
    wanted = {state_file(partial_dir, index) for index in missing}
    for path in partial_dir.iterdir():  # marks of hung trials too: now they get another chance
        if path not in wanted:
            path.unlink()


def _tuner(
    settings: Settings, folder: Path, job: Job, missing: list[int], records: list[dict[str, Any]], relay: Relay
) -> tune.Tuner:
    searcher = None
    param_space: dict[str, Any] = {"job": asdict(job)}
    if settings.search == "random":
        configurations = sample(settings.num_samples, settings.seed)
        trials = [{"index": index, "hyperparameters": configurations[index].as_dict()} for index in missing]
        param_space["trial"] = tune.grid_search(trials)
    else:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        searcher = LaggedOptuna(settings.seed, missing, records)
    scheduler = JournaledASHA(settings.games, records) if settings.scheduler == "asha" else None
    return tune.Tuner(
        QLearningTrial,
        param_space=param_space,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=1 if searcher is None else len(missing),
            # Said to a searcher in any case: else Tune asks it for a trial only once all earlier ones have started, and
            # trials shorter than a process's start run one at a time.
            max_concurrent_trials=settings.max_concurrent if searcher is None else slots(settings),
            reuse_actors=True,
            trial_name_creator=lambda trial: f"trial_{trial.config['trial']['index']:05d}",
            trial_dirname_creator=lambda trial: f"trial_{trial.config['trial']['index']:05d}",
            metric=None if searcher or scheduler else "par10",
            mode=None if searcher or scheduler else "min",
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder),
            stop=None if settings.time_budget is None else TimeBudget(settings.time_budget),
            callbacks=[relay],
            verbose=1 if settings.verbose else 0,
            # Trials save themselves; what Tune would save at their end is empty, and fails them on a full disk.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=LOST_WORKER_RETRIES),
        ),
    )

"""The search: which configurations, in what order, stopped when; new or resumed. Ray Tune does the work."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
from ray import tune
from ray.tune.search import Searcher

from tictactoe.experiment import journal as journals
from tictactoe.experiment.fingerprint import LAG
from tictactoe.experiment.record import Failure, Record, Task
from tictactoe.experiment.results import Outcome, all_failed
from tictactoe.experiment.slots import slot_seconds
from tictactoe.experiment.space import draws
from tictactoe.experiment.summary import TrialsCost
from tictactoe.process.interrupt import Interrupt
from tictactoe.process.resources import shares
from tictactoe.settings import Settings
from tictactoe.text import reason, trial_name
from tictactoe.tuning import controller
from tictactoe.tuning.algorithms import JournaledASHA, LaggedOptuna, RandomSearch
from tictactoe.tuning.cluster import node_resources
from tictactoe.tuning.relay import Observer, Relay
from tictactoe.tuning.trial import Execution, QLearningTrial, state_file

STATES = "unfinished"
"""Name of the folder that holds the states of unfinished trials."""
LOST_WORKER_RETRIES = 3
"""How often a trial is repeated whose process died; a trial that raises is not."""


def run(settings: Settings, folder: Path, interrupt: Interrupt, observers: Sequence[Observer]) -> Outcome | None:
    """Run what is missing of a search in the Ray that is up, and return all of it; None when interrupted.

    Raises RuntimeError, with the first reason, when no trial finished.
    """
    records, failures = journals.read_trials(folder)
    entries: list[Record | Failure] = [*records, *failures]
    attempt = 1 + max((entry.attempt for entry in entries), default=0)
    failures = [failure for failure in failures if failure.is_final(settings)]
    done = {record.index for record in records} | {failure.index for failure in failures}
    missing = [index for index in range(settings.num_samples) if index not in done]
    for observer in observers:
        observer.search_started(records, failures)
    start = time.monotonic()
    if missing and not interrupt.event.is_set():
        _fit(settings, folder, attempt, missing, records, failures, interrupt, observers)
    if interrupt.event.is_set():
        return None
    records, failures = journals.read_trials(folder)
    # A failure of an earlier attempt that was to be run again has not ended yet.
    ended = len(records) + sum(failure.attempt == attempt or failure.is_final(settings) for failure in failures)
    truncated = ended < settings.num_samples
    if truncated and (settings.time_budget is None or time.monotonic() - start < settings.time_budget):
        raise RuntimeError(f"Ray Tune ended after {ended} of {settings.num_samples} trials; {settings.go_on}")
    if not truncated:
        shutil.rmtree(folder / STATES, ignore_errors=True)
    if not records and failures:
        raise RuntimeError(all_failed(failures))
    if not records:
        raise RuntimeError(f"no trial finished within --time-budget {settings.time_budget:g}; give it more seconds")
    return Outcome(records, failures, truncated, _cost(records, attempt))


def slots(settings: Settings) -> int:
    """Trials that run at a time in the Ray that is up."""
    fitting = 0
    for resources in node_resources():
        here = shares(resources.get("CPU", 0.0), settings.cpus_per_trial)
        if settings.gpus_per_trial:
            here = min(here, shares(resources.get("GPU", 0.0), settings.gpus_per_trial))
        fitting += here
    return min(fitting, settings.max_concurrent or settings.num_samples, settings.num_samples)


def startable(settings: Settings, missing: Sequence[int]) -> int:
    """How many of the missing trials may start before any has ended."""
    return len(missing) if settings.search == "random" else sum(index < missing[0] + LAG for index in missing)


class TimeBudget(tune.Stopper):
    """Ends the search after some seconds. Ray Tune's own one goes by the wall clock, which may be set meanwhile."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return time.monotonic() >= self._end


def _fit(
    settings: Settings,
    folder: Path,
    attempt: int,
    missing: list[int],
    records: list[Record],
    failures: list[Failure],
    interrupt: Interrupt,
    observers: Sequence[Observer],
) -> None:
    """Have Ray Tune run the missing trials. Raises RuntimeError when it cannot go on, or the journal cannot be written."""
    state_dir, journal = folder / STATES, journals.trials(folder)
    _clear(state_dir, missing)
    task = Task(settings.board, settings.seeds, settings.games, settings.seed)
    execution = Execution(
        str(state_dir),
        settings.trial_timeout,
        settings.cpus_per_trial,
        settings.gpus_per_trial,
        slots=min(slots(settings), startable(settings, missing)),
        attempt=uuid4().hex,
    )
    relay = Relay(journal, attempt, observers, interrupt.end_fit, interrupt.event.is_set, state_dir)
    tuner = _tuner(settings, folder, task, execution, missing, records, failures, relay)
    controller.use()
    interrupt.fitting = True
    try:
        if not interrupt.event.is_set():
            tuner.fit()
    except Exception as error:
        if relay.unwritable is None and not interrupt.event.is_set():
            raise RuntimeError(f"Ray Tune ended early: {reason(error, slice(-1, None))}; {settings.go_on}") from error
    finally:
        interrupt.fitting = False
    if relay.unwritable is not None:
        raise RuntimeError(
            f"{journal.path}: {relay.unwritable.strerror}; finished trials are safe: mend that, then {settings.go_on}"
        )


def _cost(records: list[Record], attempts: int) -> TrialsCost:
    """What the trials took."""
    cpu = sum(record.learner_cpu_s for record in records)
    games = sum(record.played for record in records)
    spent = slot_seconds(records)
    return TrialsCost(
        learner_cpu_s=cpu,
        learner_share=spent.share(spent.learning),
        games=games,
        games_per_cpu_s=games / cpu if cpu else 0.0,
        attempts=attempts,
    )


def _clear(state_dir: Path, missing: list[int]) -> None:
    """Make the folder of unfinished trials, or leave nothing in it but their states."""
    state_dir.mkdir(parents=True, exist_ok=True)
    wanted = {state_file(state_dir, index) for index in missing}
    for path in state_dir.iterdir():  # marks of hung trials too: now they get another chance
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path not in wanted:
            path.unlink()


def _tuner(
    settings: Settings,
    folder: Path,
    task: Task,
    execution: Execution,
    missing: list[int],
    records: list[Record],
    failures: list[Failure],
    relay: Relay,
) -> tune.Tuner:
    searcher: Searcher
    if settings.search == "random":
        wanted, all_of_them = set(missing), islice(draws(settings.seed), settings.num_samples)
        searcher = RandomSearch((index, drawn) for index, drawn in enumerate(all_of_them) if index in wanted)
    else:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        searcher = LaggedOptuna(settings.seed, missing, records, failures)
    scheduler = JournaledASHA(settings.games, records) if settings.scheduler == "asha" else None
    return tune.Tuner(
        QLearningTrial,
        param_space={"task": asdict(task), "execution": asdict(execution)},
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=len(missing),
            # Said in any case: else Tune asks for a trial only once all earlier ones have started, and trials shorter than a
            # process's start run one at a time.
            max_concurrent_trials=slots(settings),
            reuse_actors=True,
            trial_name_creator=lambda trial: trial_name(trial.config["trial"]["index"]),
            trial_dirname_creator=lambda trial: trial_name(trial.config["trial"]["index"]),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder),
            stop=None if settings.time_budget is None else TimeBudget(settings.time_budget),
            callbacks=[relay, controller.NoProgress()],
            verbose=1 if settings.verbose else 0,
            # Trials save themselves; what Tune would save at their end is empty, and fails them on a full disk.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=LOST_WORKER_RETRIES),
        ),
    )

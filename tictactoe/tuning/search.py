"""The search: which configurations, in what order, stopped when; new or resumed. Ray Tune does the work."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from ray import tune
from ray.tune.search import Searcher

from tictactoe.experiment import journal as journals
from tictactoe.experiment.observer import Observer
from tictactoe.experiment.record import Failure, NodeEvent, Record, Task, by_kind
from tictactoe.experiment.results import Outcome, all_failed
from tictactoe.experiment.rounds import Standing, races, rounds, standing
from tictactoe.experiment.slots import slot_limit, slot_seconds
from tictactoe.experiment.space import draws
from tictactoe.experiment.summary import RoundSummary, TrialsCost
from tictactoe.process import processes
from tictactoe.process.interrupt import Interrupt
from tictactoe.settings import Settings
from tictactoe.text import count, reason
from tictactoe.tuning import controller
from tictactoe.tuning.algorithms import JournaledASHA, LaggedOptuna, RandomSearch, Study
from tictactoe.tuning.nodes import Nodes
from tictactoe.tuning.race import Drawn, RaceSearch, Suggested
from tictactoe.tuning.relay import Relay
from tictactoe.tuning.trial import Execution, QLearningTrial, state_file

STATES = "unfinished"
"""Name of the folder that holds the states of unfinished trials."""
LOST_WORKER_RETRIES = 3
"""How often a trial is repeated whose process died; a trial that raises is not."""


def run(settings: Settings, folder: Path, interrupt: Interrupt, observers: Sequence[Observer], nodes: Nodes) -> Outcome | None:
    """Run what is missing of a search on the nodes of the Ray that is up, and return all of it; None when interrupted.

    Raises RuntimeError, with the first reason, when no trial finished.
    """
    journal = journals.trials(folder)
    entries, events = journal.read(), journals.nodes(folder)
    attempt = 1 + max((entry.attempt for entry in [*entries, *events.read()]), default=0)
    before = _standing(settings, entries, lambda failure: failure.is_final(settings))
    for observer in observers:
        observer.search_started(before)
    start = time.monotonic()
    nodes.begin(events, attempt, start, observers)
    if before.missing and not interrupt.event.is_set():
        _fit(settings, folder, attempt, start, before, interrupt, observers, nodes)
    if interrupt.event.is_set():
        return None
    # What comes next has use for their memory. They have saved what they have to, but would take a second to end.
    processes.end(processes.workers(QLearningTrial.__name__), 0.0)
    entries = journal.read()
    after = _standing(settings, entries, lambda failure: failure.attempt == attempt or failure.is_final(settings))
    truncated = bool(after.missing)
    if truncated and (settings.time_budget is None or time.monotonic() - start < settings.time_budget):
        raise RuntimeError(f"Ray Tune ended with {count(len(after.missing), 'trial')} still to run; {settings.go_on}")
    if truncated:  # what was to be run again, and was not, has failed so far
        after = _standing(settings, entries, lambda failure: True)
    else:
        shutil.rmtree(folder / STATES, ignore_errors=True)
        counted: list[Record | Failure] = [*after.records, *after.failures]
        if len(counted) < len(entries):
            journal.rewrite(counted)
    records, failures = after.latest
    if not records and failures:
        raise RuntimeError(all_failed(failures))
    if not records:
        raise RuntimeError(f"no trial finished within --time-budget {settings.time_budget:g}; give it more seconds")
    cost = _cost(settings, after.records, events.read(), attempt)
    return Outcome(records, failures, truncated, cost, _rounds(settings, after.records))


def _standing(settings: Settings, entries: Sequence[Record | Failure], counts: Callable[[Failure], bool]) -> Standing:
    """How far the search is, by its journal and those failures that count."""
    records, failures = by_kind(entries)
    return standing(rounds(settings), records, [failure for failure in failures if counts(failure)])


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
    start: float,
    before: Standing,
    interrupt: Interrupt,
    observers: Sequence[Observer],
    nodes: Nodes,
) -> None:
    """Have Ray Tune run the missing trials. `start` is the zero of their times, by the monotonic clock.

    Raises RuntimeError when it cannot go on, or the journal cannot be written.
    """
    state_dir, journal = folder / STATES, journals.trials(folder)
    _clear(state_dir, before)
    execution = Execution(
        str(state_dir),
        settings.trial_timeout,
        settings.cpus_per_trial,
        settings.gpus_per_trial,
        nodes.home,
        saved=tuple(path.name for path in state_dir.iterdir()),
        attempt=uuid4().hex,
        judged=settings.scheduler == "asha",
    )
    searcher = _searcher(settings, before, nodes, observers)
    heard = [*observers, searcher] if isinstance(searcher, RaceSearch) else observers
    relay = Relay(journal, attempt, start, heard, interrupt.end_fit, interrupt.event.is_set, state_dir, settings)
    tuner = _tuner(settings, folder, execution, searcher, before, relay)
    controller.use(nodes)
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


def _cost(settings: Settings, records: list[Record], events: list[NodeEvent], attempts: int) -> TrialsCost:
    """What the trials took, all rounds together."""
    cpu = sum(record.learner_cpu_s for record in records)
    games = sum(record.played for record in records)
    spent = slot_seconds(records, events, slot_limit(settings))
    return TrialsCost(
        learner_cpu_s=cpu,
        learner_share=spent.share(spent.learning),
        games=games,
        games_per_cpu_s=games / cpu if cpu else 0.0,
        attempts=attempts,
    )


def _rounds(settings: Settings, records: list[Record]) -> tuple[RoundSummary, ...]:
    """What each round was, of those that have begun."""
    result = []
    for number, round in enumerate(rounds(settings)):
        own = [record for record in records if record.round == number]
        if own:
            result.append(
                RoundSummary(
                    trials=len(own),
                    seeds=round.seeds,
                    games=round.games,
                    played=sum(record.played for record in own),
                    learner_cpu_s=sum(record.learner_cpu_s for record in own),
                )
            )
    return tuple(result)


def _clear(state_dir: Path, before: Standing) -> None:
    """Make the folder of unfinished trials, or leave nothing in it but their states."""
    state_dir.mkdir(parents=True, exist_ok=True)
    wanted = {state_file(state_dir, index, before.number) for index in before.missing}
    for path in state_dir.iterdir():  # marks of hung trials too: now they get another chance
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path not in wanted:
            path.unlink()


def _searcher(settings: Settings, before: Standing, nodes: Nodes, observers: Sequence[Observer]) -> Searcher:
    """What hands out the missing trials."""
    drawn = partial(draws, settings.seed, settings.board)
    if races(settings):
        source = Suggested(Study(settings.seed, settings.board)) if settings.search == "optuna" else Drawn(drawn)
        return RaceSearch(rounds(settings), source, before.records, before.failures, lambda: nodes.slots, observers)
    (whole,) = rounds(settings)
    if settings.search == "optuna":
        study = Study(settings.seed, settings.board)
        return LaggedOptuna(study, whole, settings.lag, before.missing, before.records, before.failures)
    wanted = set(before.missing)
    all_of_them = enumerate(islice(drawn(), settings.num_samples))
    return RandomSearch(whole, ((index, configuration) for index, configuration in all_of_them if index in wanted))


def _tuner(
    settings: Settings, folder: Path, execution: Execution, searcher: Searcher, before: Standing, relay: Relay
) -> tune.Tuner:
    task = Task(settings.board, settings.seeds, settings.games, settings.seed)
    scheduler = JournaledASHA(settings.games, before.records) if settings.scheduler == "asha" else None
    return tune.Tuner(
        QLearningTrial,
        param_space={"task": asdict(task), "execution": asdict(execution)},
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,  # until the searcher has no more
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.config["batch"].name,
            trial_dirname_creator=lambda trial: trial.config["batch"].name,
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

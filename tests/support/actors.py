"""Ray's part below Tune's controller, played in this process: what is asked of processes is answered when a test says so."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray.tune.execution.class_cache
from ray.air.execution._internal import actor_manager, event_manager
from ray.train._internal import storage
from ray.tune import Callback, Experiment
from ray.tune.execution.tune_controller import TuneController
from ray.tune.search import Searcher, SearchGenerator

from tests.support import records as made
from tictactoe.experiment.rounds import Round
from tictactoe.tuning.search import LOST_WORKER_RETRIES
from tictactoe.tuning.trial import AGAIN, NODE_LOST, Batch, Execution, QLearningTrial

_order = count()


class Future:
    """An answer to come: a value, or an exception."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.answered: int | None = None
        """Its place among all that have been answered."""

    def resolve(self, answer: Any) -> None:
        if self.answered is None:
            self.answer, self.answered = answer, next(_order)


class Process:
    """An actor, which is there once `__ray_ready__` is answered. `asked` holds its open calls by their methods' names."""

    def __init__(self, node: str, config: dict[str, Any]) -> None:
        self.node, self.config = node, config
        self.asked: dict[str, Future] = {}
        self.lost: Exception | None = None
        self.ended = False
        """Whether it was told to go."""

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *arguments, **options: self._ask(name, arguments))

    def _ask(self, name: str, arguments: Sequence[Any]) -> Future:
        future = Future()
        if name == "reset":
            (self.config,) = arguments
        self.ended |= name in ("stop", "__ray_terminate__")
        if self.lost:
            future.resolve(self.lost)
        elif name in ("stop", "__ray_terminate__"):
            future.resolve(None)
        else:
            self.asked[name] = future
        return future

    def answer(self, name: str, answer: Any = None) -> None:
        """Answer what it was asked for."""
        self.asked.pop(name).resolve(answer)

    def lose(self, error: Exception) -> None:
        """All that it was asked for, and will be, fails."""
        self.lost = error
        for future in self.asked.values():
            future.resolve(error)
        self.asked.clear()


class Ray:
    """Stands where those modules of Ray's have `ray`."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.processes: list[Process] = []
        """All that were ever started."""
        self.waited_in_vain = False
        """Whether at the last wait nothing was answered."""
        self.actor, self.ObjectRef = SimpleNamespace(ActorClass=_Class), Future
        for module in (actor_manager, event_manager, ray.tune.execution.class_cache):
            patch.setattr(module, "ray", self)
        patch.setattr(storage, "_get_ray_train_session_dir", lambda: str(folder / "session"))

    def remote(self, **options: Any) -> Callable[[type], _Class]:
        return lambda kind: _Class(self.processes, options)

    def wait(self, futures: list[Future], num_returns: int, timeout: float | None) -> tuple[list[Future], list[Future]]:
        """The first that was answered, if there is one, and the others."""
        ready = min((one for one in futures if one.answered is not None), key=lambda one: one.answered or 0, default=None)
        self.waited_in_vain = ready is None
        return [ready] if ready else [], [one for one in futures if one is not ready]

    def get(self, future: Future) -> Any:
        if isinstance(future.answer, Exception):
            raise future.answer
        return future.answer

    def kill(self, process: Process) -> None:
        process.ended = True


class _Class:
    """A class whose objects are processes."""

    def __init__(self, processes: list[Process], options: dict[str, Any]) -> None:
        self._processes, self._options = processes, options

    def options(self, **options: Any) -> _Class:
        return _Class(self._processes, self._options | options)

    def remote(self, config: dict[str, Any], storage: Any) -> Process:
        process = Process(self._options["scheduling_strategy"].node_id, config)
        self._processes.append(process)
        return process


class Handed(Searcher):
    """Hands out `waiting` trials, and says that there are no more once it is `finished`."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.waiting, self.finished = list(range(number)), False

    def suggest(self, trial_id: str) -> Any:
        if not self.waiting:
            return Searcher.FINISHED if self.finished else None
        index = self.waiting.pop(0)
        return {"batch": Batch.of(0, Round(9, 1, 100), [(index, made.config(index))])}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class Told(Callback):
    """What callbacks hear: an event and the trial's index; of a trial that is tried again, whether its node was lost."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.events.append(("started", index(trial)))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.events.append(("again", index(trial), trial.config.get(AGAIN) == NODE_LOST))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.events.append(("failed", index(trial)))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.events.append(("ended", index(trial)))


def index(trial: Any) -> int:
    """Of the one trial in one of Tune's."""
    ((number, _),) = trial.config["batch"].trials
    return int(number)


class Tune:
    """A search of some trials by a controller of this kind, as `tune.run` makes it; a `searcher` names its own."""

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        folder: Path,
        kind: Callable[..., TuneController],
        trials: int,
        searcher: Searcher | None = None,
    ) -> None:
        self.ray, self.told = Ray(patch, folder), Told()
        self.searcher: Any = searcher or Handed(trials)
        search = SearchGenerator(self.searcher)
        experiment = Experiment(
            "tune",
            QLearningTrial,
            config={"execution": asdict(Execution())},
            num_samples=sys.maxsize,
            storage_path=str(folder),
            max_failures=LOST_WORKER_RETRIES,
            trial_dirname_creator=lambda trial: str(index(trial)),
        )
        self.controller = kind(search_alg=search, storage=experiment.storage, reuse_actors=True, callbacks=[self.told])
        search.add_configurations([experiment])
        self.controller.setup_experiments([experiment], search.total_samples)
        self.settle()

    @property
    def processes(self) -> list[Process]:
        """All that were ever started."""
        return self.ray.processes

    @property
    def events(self) -> list[tuple[Any, ...]]:
        """Those that have not been looked at."""
        events, self.told.events = self.told.events, []
        return events

    def settle(self) -> None:
        """Let the controller take notice of all that has happened."""
        idle = 0
        while idle < 3 and not self.controller.is_finished():
            self.ray.waited_in_vain = True  # also where there is nothing to wait for
            self.controller.step()
            idle = idle + 1 if self.ray.waited_in_vain else 0

    def answer(self, process: int, name: str, answer: Any = None) -> None:
        """Have a process answer."""
        self.processes[process].answer(name, answer)
        self.settle()

    def end(self, process: int) -> None:
        """Have the trial that a process runs end well."""
        self.answer(process, "train", {"done": True, "mean_log": 1.0})

    def lose(self, process: int, error: Exception) -> None:
        """Have a process be lost."""
        self.processes[process].lose(error)
        self.settle()

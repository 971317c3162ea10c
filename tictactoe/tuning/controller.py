"""What of Ray Tune goes through all trials, and not only those that run."""

from __future__ import annotations

import importlib
from typing import Any

from ray.tune.execution.tune_controller import TuneController
from ray.tune.progress_reporter import TrialProgressCallback


class ForgetfulController(TuneController):
    """Tune's controller, but trials that have ended are forgotten: the journal has them. And processes are kept.

    Tune keeps every trial to the end, goes through all of them at each event, and writes all of them, 20 kB each, into a
    snapshot again and again. In a search of 100,000 trials that takes longer and longer, and all the memory.
    """

    processes = 0
    """So many processes are kept while no trial waits for one: between two rounds of a race."""
    _keeps_processes = False

    def _schedule_trial_actor(self, trial: Any) -> None:
        if not self._keeps_processes:
            self._keeps_processes = True
            self._actor_cache.increase_max(trial.placement_group_factory, self.processes)
        super()._schedule_trial_actor(trial)

    def on_step_end(self) -> None:
        super().on_step_end()  # type: ignore[no-untyped-call]
        ended = [trial for trial in (*self._stopped_trials, *self._failed_trials) if trial not in self._trial_to_actor]
        for trial in ended:
            self._stopped_trials.discard(trial)
            self._failed_trials.discard(trial)
            self._live_trials.discard(trial)
            self._trials_to_cache.discard(trial)
            self._trial_metadata.pop(trial.trial_id, None)
            self._trials.remove(trial)


class NoProgress(TrialProgressCallback):
    """In place of Tune's own, which keeps every trial to print it."""

    def log_result(self, trial: Any, result: dict[str, Any], error: bool = False) -> None:
        """Nothing: the search's observers show results."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Nothing, as `log_result`."""


def use(processes: int) -> None:
    """Have `Tuner.fit` use it, and keep so many processes from one round to the next."""
    ForgetfulController.processes = processes
    importlib.import_module("ray.tune.tune").TuneController = ForgetfulController  # type: ignore[attr-defined]

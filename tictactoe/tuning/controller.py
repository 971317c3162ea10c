"""Ray Tune's control loop, mended where a search of short trials, or one on several nodes, needs it."""

from __future__ import annotations

import importlib
import time
from collections import Counter
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback

from tictactoe.text import reason
from tictactoe.tuning.nodes import Node, Nodes
from tictactoe.tuning.placement import Slot, SlotManager
from tictactoe.tuning.trial import AGAIN, NODE_LOST

AHEAD = 2
"""Tune asks for so many trials a slot before they can run: what processes that are free take next."""
LOST_NODE_RETRIES = 10
"""How often a trial is repeated whose node was lost. After the next loss it has failed: that may be its fault after all."""


class ActorManager(RayActorManager):
    """Tune's processes. Knows which node a lost one was on, and takes each way of being lost for one.

    Tune knows of processes that end. Of results that go down with their node, and of processes that cannot be started any
    more, it does not, and would end the search.
    """

    def __init__(self, resource_manager: SlotManager) -> None:
        super().__init__(resource_manager=resource_manager)
        self._node_of_ended: WeakKeyDictionary[Any, Node] = WeakKeyDictionary()

    def node(self, actor: Any) -> Node | None:
        """The node of a process that runs, starts or has ended; None for one that waits for a slot."""
        if actor in self._live_actors_to_ray_actors_resources:
            slot = self._live_actors_to_ray_actors_resources[actor][1]
            assert isinstance(slot, Slot)
            return slot.node
        return self._node_of_ended.get(actor)

    def next(self, timeout: float | None = None) -> bool:
        if not (self.live_actors or self.num_pending_actors):
            time.sleep(timeout or 0.0)  # Ray does not wait for nothing
            return False
        return bool(super().next(timeout))

    def _cleanup_actor(self, tracked_actor: Any) -> None:
        if node := self.node(tracked_actor):
            self._node_of_ended[tracked_actor] = node
        super()._cleanup_actor(tracked_actor)

    def _actor_start_failed(self, tracked_actor: Any, exception: Exception) -> None:
        super()._actor_start_failed(tracked_actor, _as_lost(exception))

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        super()._actor_task_failed(tracked_actor_task, _as_lost(exception))


def _as_lost(error: Exception) -> Exception:
    """The error of a lost process, where one says the same in other words; that one is its cause."""
    if isinstance(error, RayError) and not isinstance(error, (RayActorError, RayTaskError)):
        lost = RayActorError(error_msg=str(error))
        lost.__cause__ = error
        return lost
    return error


class Controller(TuneController):
    """Tune's controller, which runs trials on the slots of `nodes`. It differs in four ways.

    - A free process takes the next trial that has none. Tune's takes any trial, also one whose own process is on its way,
      which it ends: trials shorter than a process's start would run in one process for ever.
    - A process that is lost just between two trials costs one retry. Tune counts it twice, and forgets that the trial is not
      being set up any longer.
    - A trial whose node was lost loses no retry, up to a bound.
    - Trials that have ended are forgotten: the journal has them. Tune keeps every trial to the end, goes through all of them
      at each event, and writes all of them, 20 kB each, into a snapshot again and again. In a search of 100,000 trials that
      takes longer and longer, and all the memory.
    """

    def __init__(self, nodes: Nodes, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._nodes, self._slots = nodes, SlotManager(nodes)
        self._actor_manager = self._actors = ActorManager(self._slots)
        self._lost_nodes: Counter[str] = Counter()
        """Of each trial that runs or waits."""
        nodes.running = self._running_on

    @property
    def _max_pending_trials(self) -> int:
        return max(1, AHEAD * self._nodes.slots)

    @_max_pending_trials.setter
    def _max_pending_trials(self, number: int) -> None:
        """Nothing: Tune would say one at a time, or two hundred."""

    def __getstate__(self) -> dict[str, Any]:
        """Without what Tune's own kind of resuming, which is not used, could not write."""
        state = super().__getstate__()  # type: ignore[no-untyped-call]
        return {name: value for name, value in state.items() if name not in ("_nodes", "_slots", "_actors", "_lost_nodes")}

    def on_step_begin(self) -> None:
        self._nodes.update()
        all_idle: list[list[Any]] = list(self._actor_cache._cached_objects.values())
        for idle in all_idle:
            for actor in [actor for actor in idle if self._actors.node(actor) not in self._nodes]:
                # Lost with its node: a trial that was given it would be lost once more.
                idle.remove(actor)
                self._actor_cache._num_cached_objects -= 1
                actor.set_on_stop(None)
                actor.set_on_error(None)
                self._remove_actor(actor)

    def on_step_end(self) -> None:
        super().on_step_end()  # type: ignore[no-untyped-call]
        ended = [trial for trial in (*self._stopped_trials, *self._failed_trials) if trial not in self._trial_to_actor]
        for trial in ended:
            self._stopped_trials.discard(trial)
            self._failed_trials.discard(trial)
            self._live_trials.discard(trial)
            self._trials_to_cache.discard(trial)
            if trial in self._staged_trials:  # it failed before it began
                self._unstage_trial_with_resources(trial)
            self._trial_metadata.pop(trial.trial_id, None)
            self._lost_nodes.pop(trial.trial_id, None)
            self._trials.remove(trial)

    def _maybe_add_actors(self) -> None:
        """Give trials that wait free processes, and new ones as far as there are slots: to those first that were lost."""
        waiting = [trial for trial in self._pending_trials_list if trial in self._pending_trials]
        self._pending_trials_list = sorted(waiting, key=lambda trial: AGAIN not in trial.config)
        for trial in self._pending_trials_list:
            if trial in self._resetting_trials or self._is_on_its_way(trial):
                continue
            if trial not in self._staged_trials:  # processes are kept for these, also once the searcher has no more
                self._staged_trials.add(trial)
                self._actor_cache.increase_max(trial.placement_group_factory)
            if trial in self._trial_to_actor:  # it waits for a slot that was lost
                self._maybe_reuse_cached_actor(trial)
            elif self._actor_cache.has_cached_object(trial.placement_group_factory) or self._slots.free > 0:
                self._schedule_trial_actor(trial)

    def _is_on_its_way(self, trial: Trial) -> bool:
        """Whether a trial's own process is being started."""
        actor = self._trial_to_actor.get(trial)
        return actor is not None and self._actors.is_actor_started(actor)

    def _maybe_cache_trial_actor(self, trial: Trial) -> bool:
        """A process is kept for what comes next, also where no trial waits: between two rounds of a race."""
        missing = self._nodes.slots - self._actor_cache.total_max_objects
        self._actor_cache.increase_max(trial.placement_group_factory, max(0, missing))
        return bool(super()._maybe_cache_trial_actor(trial))

    def _cleanup_cached_actors(self, force_all: bool = False) -> None:
        if force_all:
            super()._cleanup_cached_actors(force_all=True)

    def _actor_failed(self, tracked_actor: Any, exception: Exception) -> None:
        node, trial = self._actors.node(tracked_actor), self._actor_to_trial[tracked_actor]
        if isinstance(exception, RayActorError) and node is not None and self._is_nodes_fault(node, exception):
            self._lost_nodes[trial.trial_id] += 1
            exception._preempted = True  # as Tune has it for a node that is taken away with a notice
            if self._lost_nodes[trial.trial_id] > LOST_NODE_RETRIES:
                trial.run_metadata.num_failures = trial.max_failures + 1  # it has no retry left
        super()._actor_failed(tracked_actor, exception)

    def _is_nodes_fault(self, node: Node, error: RayActorError) -> bool:
        cause = error.__cause__ if isinstance(error.__cause__, RayError) else error
        return self._nodes.is_at_fault(node, cause) or error.preempted

    def _trial_task_failure(self, trial: Trial, exception: Exception) -> None:
        if isinstance(exception, RayActorError) and trial.status != Trial.RUNNING:
            return  # Tune tells it twice: of the process, and of the task that was to set the trial up in it
        self._resetting_trials.discard(trial)
        trial.config[AGAIN] = NODE_LOST if getattr(exception, "preempted", False) else reason(exception)
        super()._trial_task_failure(trial, exception)

    def _running_on(self, node: Node) -> int:
        """How many trials run on a node, or are about to."""
        return sum(self._actors.node(actor) is node for actor in self._trial_to_actor.values())


class NoProgress(TrialProgressCallback):
    """In place of Tune's own, which keeps every trial to print it."""

    def log_result(self, trial: Any, result: dict[str, Any], error: bool = False) -> None:
        """Nothing: the search's observers show results."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Nothing, as `log_result`."""


def use(nodes: Nodes) -> None:
    """Have `Tuner.fit` use it, on these nodes."""
    importlib.import_module("ray.tune.tune").TuneController = partial(Controller, nodes)  # type: ignore[attr-defined]

"""Processes and nodes that are lost while Tune's controller runs, without Ray."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

import pytest
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    ActorUnschedulableError,
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    RayTaskError,
)
from ray.tune.execution.tune_controller import TuneController

from tests.support import records as made
from tests.support.actors import Tune, index
from tests.support.nodes import HOME, Listed, id_of
from tictactoe.tuning.controller import LOST_NODE_RETRIES, Controller
from tictactoe.tuning.search import LOST_WORKER_RETRIES
from tictactoe.tuning.trial import AGAIN

OTHER, THIRD = "10.0.0.2", "10.0.0.3"
DIED = "The actor died unexpectedly before finishing this task."
Start = Callable[..., Tune]


def of_a_result() -> list[Exception]:
    """What Ray may say of a result that went down with its node."""
    return [ActorDiedError(), NodeDiedError("lost"), ObjectLostError("ab", None, "")]


def test_a_process_that_is_lost_in_a_reset_costs_one_retry(tuned: Start) -> None:
    def come_to(kind: type[TuneController]) -> tuple[list[tuple[object, ...]], int, int]:
        tune = tuned(Listed(made.settings(), cpus=1), 3, kind)
        tune.answer(0, "__ray_ready__")
        tune.end(0)
        assert index(tune.processes[0]) == 1
        assert tune.events == [("started", 0), ("ended", 0)]
        trial = next(trial for trial in tune.controller.get_trials() if index(trial) == 1)
        tune.lose(0, ActorDiedError())
        return tune.events, trial.num_failures, len(tune.controller._resetting_trials)

    assert come_to(Controller) == ([("again", 1, False)], 1, 0)
    assert come_to(TuneController) == ([("again", 1, False), ("failed", 1)], 2, 1)


def test_a_trial_whose_reset_was_lost_is_run_again(tuned: Start) -> None:
    tune = tuned(Listed(made.settings(), cpus=1), 2)
    tune.searcher.finished = True
    tune.answer(0, "__ray_ready__")
    tune.end(0)
    tune.lose(0, ActorDiedError())
    assert index(tune.processes[1]) == 1 and tune.processes[1].config[AGAIN] == DIED
    tune.answer(1, "__ray_ready__")
    tune.end(1)
    assert tune.events == [("started", 0), ("ended", 0), ("again", 1, False), ("started", 1), ("ended", 1)]
    assert tune.controller.is_finished()


def test_a_process_that_was_lost_while_nothing_ran_in_it_costs_one_retry(tuned: Start) -> None:
    tune = tuned(Listed(made.settings(), cpus=1), 1)
    tune.answer(0, "__ray_ready__")
    tune.end(0)
    tune.lose(0, ActorDiedError())
    tune.searcher.waiting = [1]
    tune.settle()
    assert tune.events == [("started", 0), ("ended", 0), ("again", 1, False)]
    assert [trial.num_failures for trial in tune.controller.get_trials()] == [1]
    assert index(tune.processes[1]) == 1


def test_a_free_process_that_went_with_its_node_is_given_no_trial(tuned: Start) -> None:
    nodes = Listed(made.settings(), cpus=1)
    nodes.join(OTHER, CPU=1)
    tune = tuned(nodes, 2)
    for number in (0, 1):
        tune.answer(number, "__ray_ready__")
        tune.end(number)
    lost = next(process for process in tune.processes if process.node == id_of(OTHER))
    nodes.lose(OTHER)
    lost.lost = ActorDiedError()
    tune.searcher.waiting = [2, 3]
    tune.settle()
    kept = next(process for process in tune.processes if process is not lost)
    assert (index(kept), tune.processes[2:]) == (2, [])
    assert [event for event in tune.events if event[0] == "again"] == []


@pytest.mark.parametrize("name", ["__ray_ready__", "train"])
def test_a_process_is_lost_once_too_often(tuned: Start, name: str) -> None:
    tune = tuned(Listed(made.settings(), cpus=1), 1)
    for number in range(LOST_WORKER_RETRIES + 1):
        assert len(tune.processes) == number + 1
        if name == "train":
            tune.answer(number, "__ray_ready__")
        assert tune.processes[number].config.get(AGAIN) == (DIED if number else None)
        tune.lose(number, ActorDiedError())
    ends = [event for event in tune.events if event[0] != "started"]
    assert ends == [("again", 0, False)] * LOST_WORKER_RETRIES + [("failed", 0)]
    assert len(tune.processes) == LOST_WORKER_RETRIES + 1 and tune.controller.get_trials() == []


@pytest.mark.parametrize("name", ["__ray_ready__", "train"])
@pytest.mark.parametrize("number", range(3))
def test_a_trial_whose_node_was_lost_loses_no_retry_up_to_a_bound(tuned: Start, name: str, number: int) -> None:
    nodes = Listed(made.settings(), cpus=0)
    tune = tuned(nodes, 1)
    for attempt in range(LOST_NODE_RETRIES + 1):
        assert len(tune.processes) == attempt
        nodes.join(f"10.0.1.{attempt}", CPU=1)
        tune.settle()
        if name == "train":
            tune.answer(attempt, "__ray_ready__")
            assert nodes.running(nodes.node(f"10.0.1.{attempt}")) == 1
        nodes.there[f"10.0.1.{attempt}"]["Alive"] = False
        error = of_a_result()[number] if name == "train" else (ActorUnschedulableError("lost"), *of_a_result())[number]
        tune.lose(attempt, error)
    ends = [event for event in tune.events if event[0] != "started"]
    assert ends == [("again", 0, True)] * LOST_NODE_RETRIES + [("failed", 0)]
    assert tune.controller.get_trials() == []


def test_a_process_that_ray_has_taken_away_with_a_notice_counts_as_lost_with_its_node(tuned: Start) -> None:
    """Also where the node is still there at that moment."""
    tune = tuned(Listed(made.settings(), cpus=1), 1)
    for attempt in range(LOST_NODE_RETRIES + 1):
        tune.lose(attempt, RayActorError(preempted=True))
    ends = [event for event in tune.events if event[0] != "started"]
    assert ends == [("again", 0, True)] * LOST_NODE_RETRIES + [("failed", 0)]


@pytest.mark.parametrize("number", range(1, 3))
def test_tunes_own_controller_takes_a_lost_result_for_the_end(tuned: Start, number: int) -> None:
    tune = tuned(Listed(made.settings()), 1, TuneController)
    tune.answer(0, "__ray_ready__")
    with pytest.raises(RuntimeError, match="unexpected exception"):
        tune.lose(0, of_a_result()[number])


def test_what_ran_on_a_lost_node_is_told_and_goes_on_elsewhere(tuned: Start) -> None:
    nodes = Listed(made.settings(), cpus=1)
    tune = tuned(nodes, 4)
    nodes.join(OTHER, CPU=3)
    tune.settle()
    for process in (0, 1, 2):
        tune.answer(process, "__ray_ready__")
    nodes.lose(OTHER)
    assert nodes.said[-1] == f"node lost: {OTHER}, 3 trials are run again, 1 slot now"  # the third was on its way
    for process in (1, 2, 3):
        tune.lose(process, ActorDiedError())
    assert sorted(event for event in tune.events if event[0] == "again") == [("again", trial, True) for trial in (1, 2, 3)]
    tune.end(0)
    assert index(tune.processes[0]) in (1, 2, 3) and len(tune.processes) == 4
    assert (nodes.node(HOME).used, nodes.free) == (1, 0)


def test_a_node_that_does_not_answer_is_left_alone_for_a_while(tuned: Start) -> None:
    """Ray may need half a minute to say whether it is there."""
    nodes = Listed(made.settings(), cpus=1)
    tune = tuned(nodes, 3)
    nodes.join(OTHER, CPU=1)
    tune.settle()
    tune.answer(1, "__ray_ready__")
    tune.lose(1, ActorUnavailableError("no answer", None))
    assert tune.events == [("started", 1), ("again", 1, True)]
    assert len(tune.processes) == 2 and nodes.free == 0 and nodes.slots == 2
    nodes.node(OTHER).avoided_until = 0.0
    tune.settle()
    assert [process.node for process in tune.processes] == [id_of(address) for address in (HOME, OTHER, OTHER)]


def test_a_node_that_leaves_is_left_alone_and_costs_no_retry(tuned: Start) -> None:
    """Up to its end Ray lists it as alive, and refuses at once what is to begin there."""
    nodes = Listed(made.settings(), cpus=0)
    nodes.join(OTHER, CPU=2)
    tune = tuned(nodes, 2)
    tune.answer(0, "__ray_ready__")
    tune.lose(1, ActorUnschedulableError("it drains"))
    assert tune.events == [("started", 0), ("again", 1, True)]
    assert len(tune.processes) == 2 and (nodes.slots, nodes.free) == (2, 0)
    nodes.there[OTHER]["Alive"] = False
    tune.lose(0, ActorDiedError())
    assert nodes.said[-1] == f"node lost: {OTHER}, 1 trial is run again, 0 slots now"
    nodes.join(THIRD, CPU=2)
    tune.settle()
    assert [process.node for process in tune.processes[2:]] == [id_of(THIRD)] * 2
    for number in (2, 3):
        tune.answer(number, "__ray_ready__")
        tune.end(number)
    assert sorted(event for event in tune.events if event[0] != "started") == [("again", 0, True), ("ended", 0), ("ended", 1)]


def test_a_reset_that_raises_fails_its_trial_alone(tuned: Start) -> None:
    tune = tuned(Listed(made.settings(), cpus=1), 2)
    tune.answer(0, "__ray_ready__")
    tune.end(0)
    tune.answer(0, "reset", RayTaskError("reset", "", ValueError("broken"), pid=1, ip="10.0.0.1"))
    assert tune.events == [("started", 0), ("ended", 0), ("failed", 1)]
    assert tune.processes[0].ended and tune.controller.get_trials() == []
    assert not (tune.controller._resetting_trials | tune.controller._staged_trials)
    tune.searcher.waiting = [2]
    tune.settle()
    tune.answer(1, "__ray_ready__")
    tune.end(1)
    assert tune.events == [("started", 2), ("ended", 2)]


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_lost_every_trial_ends_once(tuned: Start, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Processes and nodes come and go at random; no slot is ever held twice, nor lost."""
    monkeypatch.setattr("tests.support.actors.LOST_WORKER_RETRIES", 1_000)
    monkeypatch.setattr("tictactoe.tuning.controller.LOST_NODE_RETRIES", 1_000)
    chance, nodes, names = Random(seed), Listed(made.settings(), cpus=1), count(2)
    tune = tuned(nodes, 30)
    tune.searcher.finished = True
    actors: Any = tune.controller._actor_manager
    events = tune.events
    while not tune.controller.is_finished():
        live = [process for process in tune.processes if process.asked and not process.ended]
        others = [address for address in nodes.there if address != HOME and id_of(address) in nodes._nodes]
        if not others or chance.random() < 0.05:
            nodes.join(f"10.0.0.{next(names)}", CPU=chance.randint(1, 3))
        elif chance.random() < 0.04:
            address = chance.choice(others)
            nodes.there[address]["Alive"] = False
            for process in live:
                if process.node == id_of(address):
                    process.lose(chance.choice(of_a_result()))
        elif live and chance.random() < 0.1:
            chance.choice(live).lose(ActorDiedError())
        elif live:
            process = chance.choice(live)
            for name, answer in (("__ray_ready__", None), ("reset", True), ("train", {"done": True, "mean_log": 1.0})):
                if name in process.asked:
                    process.answer(name, answer)
                    break
        tune.settle()
        events += tune.events
        for node in nodes._nodes.values():
            assert node.used == sum(actors.node(actor) is node for actor in actors.live_actors) <= node.slots
    assert sorted(event[1] for event in events if event[0] == "ended") == list(range(30))
    assert not [event for event in events if event[0] == "failed"]
    tune.controller.cleanup()
    assert all(node.used == 0 for node in nodes._nodes.values())

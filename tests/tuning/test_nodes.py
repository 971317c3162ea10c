"""Nodes that come and go, and their slots. Ray's list of them is made up."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import NodeDiedError, RayTaskError, TaskUnschedulableError, WorkerCrashedError

from tests.support import records as made
from tests.support.nodes import HOME, Listed, id_of
from tictactoe.experiment import journal as journals
from tictactoe.experiment.observer import Observer
from tictactoe.process import code
from tictactoe.tuning import growth, meeting
from tictactoe.tuning import nodes as module
from tictactoe.tuning.nodes import Node

OTHER, THIRD = "10.0.0.2", "10.0.0.3"
ABSENT = "ModuleNotFoundError: No module named 'tictactoe'"


class Slots(Observer):
    """Hears how many slots there are."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    def slots_changed(self, slots: int) -> None:
        self.heard.append(slots)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets seconds pass; the clock begins at 1000."""
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


def taken(nodes: Listed, number: int) -> list[str]:
    """Addresses of so many slots that are taken."""
    return [node.address for node in (nodes.take() for _ in range(number)) if node]


@pytest.mark.parametrize(
    ("options", "home", "other", "slots"),
    [
        ({}, {"CPU": 5.0, "GPU": 1.0}, {"CPU": 3.0}, (5, 8)),
        ({"cpus_per_trial": 2}, {"CPU": 5.0, "GPU": 1.0}, {"CPU": 3.0}, (2, 3)),
        ({"cpus_per_trial": 0.1}, {"CPU": 1.0}, {"CPU": 0.3}, (10, 13)),
        ({"gpus_per_trial": 0.5}, {"CPU": 5.0, "GPU": 1.0}, {"CPU": 3.0}, (2, 2)),
        ({"max_concurrent": 4}, {"CPU": 3.0}, {"CPU": 3.0}, (3, 4)),
        ({"num_samples": 2}, {"CPU": 5.0}, {"CPU": 3.0}, (2, 2)),
        ({"num_samples": 2, "max_concurrent": 4}, {"CPU": 1.0}, {"CPU": 4.0}, (1, 2)),
        ({}, {"CPU": 0.0}, {"CPU": 2.0}, (0, 2)),
    ],
)
def test_slots(options: dict[str, Any], home: dict[str, float], other: dict[str, float], slots: tuple[int, int]) -> None:
    nodes = Listed(made.settings(**{"num_samples": 64} | options), home["CPU"], gpus=home.get("GPU", 0.0))
    before = nodes.slots
    nodes.join(OTHER, **other)
    assert (before, nodes.slots, nodes.free) == (*slots, slots[1])
    assert len(taken(nodes, 100)) == slots[1] and nodes.free == 0


def test_memory_bounds_the_slots_of_this_machine_alone() -> None:
    nodes = Listed(made.settings(), cpus=8, own_slots=3)
    nodes.join(OTHER, CPU=8)
    assert (nodes.slots, nodes.node(HOME).slots, nodes.node(OTHER).slots) == (11, 3, 8)


def test_a_node_joins_once_it_is_known_to_have_the_same_code() -> None:
    nodes = Listed(made.settings(), cpus=1)
    assert nodes.said == [] and nodes.asked == []  # of this one everybody knows
    nodes.answers[OTHER] = None
    nodes.join(OTHER, CPU=2)
    nodes.look()
    assert (nodes.slots, nodes.said, nodes.remote) == (1, [], False)
    nodes.answers[OTHER] = code.version()
    nodes.look()
    nodes.look()
    assert (nodes.slots, nodes.said, nodes.remote) == (3, ["node joined: 10.0.0.2, 2 CPUs, 3 slots now"], True)
    assert nodes.asked == [OTHER] * 3
    nodes.join(THIRD, CPU=1)
    assert nodes.said[1:] == ["node joined: 10.0.0.3, 1 CPU, 4 slots now"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("0123456789ab", f"it has other code or packages (0123456789ab) than the head ({code.version()})"),
        (
            RayTaskError("version", f"Traceback:\n{ABSENT}", ModuleNotFoundError(), pid=1, ip=OTHER).as_instanceof_cause(),
            f"it could not be asked for its code ({ABSENT})",
        ),
    ],
)
def test_a_node_with_other_code_is_refused_once(answer: str | Exception, why: str) -> None:
    nodes = Listed(made.settings(), cpus=1)
    nodes.answers[OTHER] = answer
    nodes.join(OTHER, CPU=2)
    nodes.look()
    assert nodes.said == [f"node refused: 10.0.0.2: {why}; use the same image or checkout"]
    nodes.answers.clear()
    nodes.look()
    assert (nodes.slots, nodes.asked, len(nodes.said)) == (1, [OTHER], 1)


@pytest.mark.parametrize("error", [TaskUnschedulableError("it drains"), WorkerCrashedError(), NodeDiedError("power")])
def test_a_node_whose_check_was_lost_is_asked_again_as_long_as_it_is_there(
    error: Exception, clock: Callable[[float], None]
) -> None:
    nodes = Listed(made.settings(), cpus=1)
    nodes.answers[OTHER] = nodes.answers[THIRD] = error
    for address in (OTHER, THIRD):
        nodes.join(address, CPU=2)
    nodes.look()
    assert nodes.asked == [OTHER, THIRD]  # not at each of the driver's steps
    nodes.there[OTHER]["Alive"] = False
    clock(module.LOOK_SECONDS)
    nodes.look()
    nodes.answers.clear()
    clock(module.LOOK_SECONDS)
    nodes.look()
    assert nodes.asked == [OTHER, THIRD, THIRD, THIRD] and nodes.slots == 3
    asked, joined = nodes.said[:2], nodes.said[2:]
    assert [line.partition(f"{address}: ")[0] for line, address in zip(asked, (OTHER, THIRD), strict=True)] == [
        "node asked again for its code: "
    ] * 2
    assert joined == ["node joined: 10.0.0.3, 2 CPUs, 3 slots now"]


def test_a_node_without_room_for_a_trial_is_not_asked() -> None:
    nodes = Listed(made.settings(cpus_per_trial=2), cpus=2)
    nodes.join(OTHER, CPU=1)
    assert (nodes.slots, nodes.asked, nodes.said) == (1, [], [])


def test_a_lost_node_is_told_with_what_ran_there() -> None:
    nodes = Listed(made.settings(), cpus=1)
    for address in (OTHER, THIRD):
        nodes.join(address, CPU=2)
    lost, third = nodes.node(OTHER), nodes.node(THIRD)
    nodes.running = lambda node: {OTHER: 2, THIRD: 1}[node.address]
    nodes.lose(OTHER)
    nodes.lose(THIRD)
    assert nodes.said[2:] == [
        "node lost: 10.0.0.2, 2 trials are run again, 3 slots now",
        "node lost: 10.0.0.3, 1 trial is run again, 1 slot now",
    ]
    assert nodes.is_lost(lost) and nodes.is_lost(third) and not nodes.is_lost(nodes.node(HOME))
    nodes.running = lambda node: 0
    home = nodes.node(HOME)
    nodes.there[HOME]["Alive"] = False
    assert nodes.is_lost(home)
    assert nodes.said[4:] == ["node lost: 10.0.0.1, 0 slots now"]


def test_a_loss_that_is_heard_of_before_its_nodes_is_the_nodes_and_told_with_it() -> None:
    nodes = Listed(made.settings(), cpus=1)
    nodes.join(OTHER, CPU=2)
    node = nodes.node(OTHER)
    assert not nodes.is_at_fault(node, WorkerCrashedError())
    assert len(taken(nodes, 1)) == 1 and node.used == 1
    assert nodes.is_at_fault(node, NodeDiedError("its power is off"))
    assert taken(nodes, 2) == [HOME]  # and nothing where it was
    nodes.lose(OTHER)
    assert nodes.said[-1] == f"node lost: {OTHER}, 1 trial is run again, 1 slot now"


def test_a_node_that_was_out_of_reach_for_a_while_is_none_that_has_lost_anything(clock: Callable[[float], None]) -> None:
    nodes = Listed(made.settings(), cpus=1)
    nodes.join(OTHER, CPU=2)
    assert nodes.is_at_fault(nodes.node(OTHER), NodeDiedError("or cannot be reached"))
    clock(module.AVOIDED_SECONDS)
    assert taken(nodes, 1) == [OTHER]
    nodes.lose(OTHER)
    assert nodes.said[-1] == f"node lost: {OTHER}, 1 slot now"


def test_slots_are_taken_where_most_are_free() -> None:
    nodes = Listed(made.settings(), cpus=1)
    nodes.join(OTHER, CPU=3)
    assert taken(nodes, 5)[:2] == [OTHER, OTHER] and (nodes.node(HOME).used, nodes.node(OTHER).used) == (1, 3)
    nodes.give_back(nodes.node(HOME))
    assert (nodes.free, taken(nodes, 2)) == (1, [HOME])
    nodes.lose(OTHER)
    assert (nodes.free, nodes.slots) == (0, 1)


def test_a_node_that_does_not_answer_is_avoided_for_a_while(clock: Callable[[float], None]) -> None:
    nodes = Listed(made.settings(), cpus=1)
    nodes.join(OTHER, CPU=3)
    nodes.avoid(nodes.node(OTHER))
    assert (nodes.slots, nodes.free, taken(nodes, 2)) == (4, 1, [HOME])
    clock(module.AVOIDED_SECONDS)
    assert (nodes.free, taken(nodes, 4)) == (3, [OTHER] * 3)


def test_a_search_without_a_node_says_that_it_waits(clock: Callable[[float], None]) -> None:
    nodes = Listed(made.settings(cpus_per_trial=2, gpus_per_trial=0.5), cpus=0)
    waiting = "waiting for a node with 2 CPUs and 0.5 GPUs for a trial"
    for seconds, times in ((0, 0), (9.9, 0), (0.2, 1), (59.9, 1), (0.2, 2), (30, 2)):
        clock(seconds)
        nodes.look()
        assert nodes.said == [waiting] * times
    nodes.join(OTHER, CPU=2, GPU=1)
    clock(100)
    nodes.look()
    nodes.lose(OTHER)
    clock(9.9)
    nodes.look()
    assert nodes.said.count(waiting) == 2
    clock(0.2)
    nodes.look()
    assert nodes.said.count(waiting) == 3


def test_changes_are_written_and_told(tmp_path: Path, clock: Callable[[float], None]) -> None:
    slots, settings = Slots(), made.settings()
    for attempt in (1, 2):
        nodes = Listed(settings, cpus=1)
        nodes.join(OTHER, CPU=3)  # before the search begins
        nodes.begin(journals.nodes(tmp_path), attempt, time.monotonic(), [slots])
        clock(5)
        nodes.look()
        nodes.lose(OTHER)
        clock(2.5)
        nodes.join(THIRD, CPU=2)
    events = journals.nodes(tmp_path).read()
    assert [(event.index, event.attempt, event.at_s, event.node, event.event, event.cpus, event.slots) for event in events] == [
        (number + 4 * (attempt - 1), attempt, at, node, event, cpus, int(cpus))
        for attempt in (1, 2)
        for number, (at, node, event, cpus) in enumerate(
            [(0.0, HOME, "joined", 1.0), (0.0, OTHER, "joined", 3.0), (5.0, OTHER, "lost", 3.0), (7.5, THIRD, "joined", 2.0)]
        )
    ]
    assert slots.heard == [4, 1, 3] * 2


def test_a_journal_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    nodes, slots = Listed(made.settings()), Slots()
    journals.nodes(tmp_path).path.mkdir()
    nodes.begin(journals.nodes(tmp_path), 1, time.monotonic(), [slots])
    nodes.join(OTHER, CPU=1)
    assert slots.heard == [2, 3]


def test_the_thread_looks_while_the_search_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    nodes = Listed(made.settings(), cpus=1)
    monkeypatch.setattr(nodes, "_list", lambda: [*nodes.there.values()])
    with nodes:
        nodes.there[HOME]["Alive"] = False
        nodes.there = {}
        end = time.monotonic() + 5
        while nodes.slots and time.monotonic() < end:
            nodes.update()
        assert nodes.slots == 0
    assert not nodes._thread.is_alive()


def test_a_ray_that_grows_is_asked_for_more_while_work_waits(
    monkeypatch: pytest.MonkeyPatch, clock: Callable[[float], None]
) -> None:
    asked: list[tuple[int, dict[str, float]]] = []
    monkeypatch.setattr(growth, "ask", lambda *request: asked.append(request))
    monkeypatch.setattr(growth, "refused", lambda: None)
    nodes = Listed(made.settings(num_samples=64, cpus_per_trial=0.5, gpus_per_trial=0.25), cpus=0)

    def amount() -> int:
        nodes._grow()
        clock(growth.STEP_SECONDS)
        return asked[-1][0]

    assert amount() == 0  # nobody has wanted a slot yet
    assert (taken(nodes, 1), amount()) == ([], 1)
    nodes.join(OTHER, CPU=1, GPU=1)
    assert (len(taken(nodes, 2)), amount()) == (2, 0)  # all have work, and nothing waits
    assert (len(taken(nodes, 1)), amount()) == (0, 4)
    assert asked[-1][1] == {"CPU": 0.5, "GPU": 0.25}
    nodes._grow()
    before = len(asked)
    nodes._grow()
    assert len(asked) == before  # not so soon


def test_no_more_is_asked_for_than_the_lag_lets_run(monkeypatch: pytest.MonkeyPatch, clock: Callable[[float], None]) -> None:
    asked: list[int] = []
    monkeypatch.setattr(growth, "ask", lambda slots, share: asked.append(slots))
    monkeypatch.setattr(growth, "refused", lambda: None)
    nodes = Listed(made.settings(num_samples=64, search="optuna", scheduler="none", lag=3), cpus=0)
    for _ in range(5):
        assert nodes.take() is None
        nodes._grow()
        clock(growth.STEP_SECONDS)
    assert asked == [1, 3, 3, 3, 3]


def test_a_look_that_ends_after_the_search_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would keep nodes for it for ever."""
    asked: list[int] = []
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    monkeypatch.setattr(growth, "ask", lambda slots, share: asked.append(slots))
    nodes = Listed(made.settings(), cpus=0)
    monkeypatch.setattr(growth, "refused", lambda: nodes.__exit__())
    assert nodes.take() is None
    nodes._thread.start()
    nodes._grow()
    assert asked == [0]


@pytest.mark.parametrize("address", ["", "192.0.2.1:6379"])
def test_only_a_ray_that_ran_already_is_asked_and_of_nothing_at_the_end(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    asked: list[int] = []
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(growth, "ask", lambda slots, share: asked.append(slots))
    monkeypatch.setattr(growth, "refused", lambda: None)
    nodes = Listed(made.settings(), cpus=0)
    assert nodes.take() is None
    with nodes:
        end = time.monotonic() + (5 if address else 0.1)
        while not asked and time.monotonic() < end:
            time.sleep(0.01)
    assert asked == ([1, 0] if address else [])


def test_a_node_is_given_up_when_nobody_could_be_connected_to_twice_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine plays all of them: each has a port of its own."""
    given_up: list[str] = []
    monkeypatch.setattr(meeting, "give_up", given_up.extend)
    nodes = Listed(made.settings(cluster=True))
    with socket.create_server(("127.0.0.1", 0)) as there, socket.create_server(("127.0.0.1", 0)) as goes:
        for address, server in ((OTHER, there), (THIRD, goes)):
            nodes.join(address, CPU=1)
            nodes.there[address] |= {"NodeManagerAddress": "127.0.0.1", "NodeManagerPort": server.getsockname()[1]}
        nodes._give_up_silent()
        goes.close()
        nodes._give_up_silent()
        assert given_up == []
        with socket.create_server(("127.0.0.1", nodes.there[THIRD]["NodeManagerPort"])):
            nodes._give_up_silent()  # it was but away
        nodes._give_up_silent()
        assert given_up == []
        nodes._give_up_silent()
        assert given_up == [id_of(THIRD)]
        nodes.lose(THIRD)
        nodes._give_up_silent()
        assert given_up == [id_of(THIRD)]


@given(st.data())
def test_slots_are_right_whatever_happens(data: st.DataObject) -> None:
    most, number = data.draw(st.none() | st.integers(1, 6)), data.draw(st.integers(1, 12))
    settings, cap = made.settings(max_concurrent=most, num_samples=number), min(most or number, number)
    nodes, held, cpus, names = Listed(settings, cpus=2), list[Node](), {HOME: 2}, 2
    for step in data.draw(st.lists(st.sampled_from(["join", "lose", "take", "give back"]), max_size=25)):
        if step == "join":
            address, names = f"10.0.0.{names}", names + 1
            cpus[address] = data.draw(st.integers(0, 4))
            nodes.join(address, CPU=cpus[address])
        elif step == "lose" and cpus:
            address = data.draw(st.sampled_from(sorted(cpus)))
            del cpus[address]
            nodes.lose(address)
        elif step == "take":
            before, node = nodes.free, nodes.take()
            assert (node is None) == (before == 0)
            held += [node] if node else []
        elif step == "give back" and held:
            nodes.give_back(held.pop(data.draw(st.integers(0, len(held) - 1))))
        there = {address: sum(node.address == address for node in held) for address in cpus}
        assert all(there[address] <= cpus[address] for address in cpus)
        assert nodes.slots == min(cap, sum(cpus.values()))
        assert nodes.free == max(0, nodes.slots - sum(there.values()))

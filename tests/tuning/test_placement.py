"""Slots of nodes as Tune asks for resources."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune import PlacementGroupFactory

from tests.support import records as made
from tests.support.nodes import HOME, Listed, id_of
from tictactoe.tuning.placement import Slot, SlotManager

ONE = PlacementGroupFactory([{"CPU": 1.0, "GPU": 0.5}])
SAME = PlacementGroupFactory([{"CPU": 1.0, "GPU": 0.5}])
OTHER = PlacementGroupFactory([{"CPU": 2.0}])


@pytest.fixture
def nodes() -> Listed:
    return Listed(made.settings(), cpus=2)


def test_what_is_asked_for_is_had_as_far_as_there_are_slots(nodes: Listed) -> None:
    manager = SlotManager(nodes)
    assert not manager.has_resources_ready(ONE) and manager.acquire_resources(ONE) is None
    for number in range(3):
        assert (manager.free, nodes.is_short) == (2 - number, number == 2)
        manager.request_resources(ONE)
    assert not manager.has_resources_ready(OTHER)
    slots = [manager.acquire_resources(SAME) for _ in range(3)]
    assert slots[2] is None and not manager.has_resources_ready(ONE)
    nodes.is_short = False
    assert (nodes.free, manager.free, nodes.is_short) == (0, -1, True)  # one waits
    assert isinstance(slots[0], Slot)
    manager.free_resources(slots[0])
    assert manager.has_resources_ready(ONE) and (nodes.free, manager.free) == (1, 0)
    manager.cancel_resource_request(ONE)
    assert not manager.has_resources_ready(ONE) and manager.free == 1


def test_a_node_that_joins_makes_it_ready(nodes: Listed) -> None:
    manager = SlotManager(nodes)
    for _ in range(3):
        manager.request_resources(ONE)
        manager.acquire_resources(ONE)
    assert not manager.has_resources_ready(ONE)
    nodes.join("10.0.0.2", CPU=1)
    slot = manager.acquire_resources(ONE)
    assert isinstance(slot, Slot) and slot.node is nodes.node("10.0.0.2")
    nodes.lose("10.0.0.2")
    manager.free_resources(slot)  # what is left of its process
    assert (nodes.free, nodes.slots) == (0, 2)
    manager.request_resources(ONE)
    manager.clear()
    assert manager.free == 0 and not manager.has_resources_ready(ONE)


def test_a_process_is_placed_on_its_slots_node_and_nowhere_else(nodes: Listed) -> None:
    manager = SlotManager(nodes)
    manager.request_resources(ONE)
    slot = manager.acquire_resources(ONE)
    assert isinstance(slot, Slot)
    entity: Any = SimpleNamespace(options=lambda **options: options)
    options: Any = slot.annotate_remote_entities([entity])[0]
    strategy = options.pop("scheduling_strategy")
    assert options == {"num_cpus": 1.0, "num_gpus": 0.5}
    assert (strategy.node_id, strategy.soft) == (id_of(HOME), False)

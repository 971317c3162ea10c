"""Slots on nodes, in the shape in which Ray Tune asks for resources."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from ray.air.execution.resources.request import AcquiredResources, ResourceRequest
from ray.air.execution.resources.resource_manager import ResourceManager

from tictactoe.tuning.nodes import Node, Nodes
from tictactoe.tuning.states import on


@dataclass
class Slot(AcquiredResources):
    """What one trial's process has of a node."""

    node: Node

    def _annotate_remote_entity(self, entity: Any, bundle: dict[str, float], bundle_index: int) -> Any:
        return entity.options(
            num_cpus=bundle.get("CPU", 0), num_gpus=bundle.get("GPU", 0), scheduling_strategy=on(self.node.id)
        )


class SlotManager(ResourceManager):
    """Gives trials the slots of `nodes`, at once or when one is free.

    In place of Tune's own, which makes a placement group for each process, wherever Ray likes: on nodes whose code nobody
    has looked at, too.
    """

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self._requests: Counter[ResourceRequest] = Counter()

    @property
    def free(self) -> int:
        """Slots that are neither held nor asked for. Who looks has a trial that waits for one."""
        free = self.nodes.free - self._requests.total()
        self.nodes.is_short |= free <= 0
        return free

    def request_resources(self, resource_request: ResourceRequest) -> None:
        self._requests[resource_request] += 1

    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        self._requests[resource_request] -= 1

    def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
        return self._requests[resource_request] > 0 and self.nodes.free > 0

    def acquire_resources(self, resource_request: ResourceRequest) -> Slot | None:
        if not self.has_resources_ready(resource_request) or (node := self.nodes.take()) is None:
            return None
        self._requests[resource_request] -= 1
        return Slot(resource_request, node)

    def free_resources(self, acquired_resource: AcquiredResources) -> None:
        assert isinstance(acquired_resource, Slot)
        self.nodes.give_back(acquired_resource.node)

    def clear(self) -> None:
        self._requests.clear()

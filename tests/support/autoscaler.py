"""Ray's own autoscaler, version 2, as far as it decides: what it would start and end, of workers that are but a list."""

from __future__ import annotations

from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.schema import AutoscalerInstance
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import ClusterResourceConstraint, NodeState  # type: ignore[attr-defined]
from ray.core.generated.instance_manager_pb2 import Instance, NodeKind  # type: ignore[attr-defined]

IDLE_SECONDS = 60.0


class Autoscaler:
    """Has from `least` to `most` workers of these resources, of which `there` have joined and others are on their way."""

    def __init__(self, least: int, most: int, share: dict[str, float], **resources: float) -> None:
        self._kind = NodeTypeConfig("workers", least, most, idle_timeout_s=IDLE_SECONDS, resources=resources)
        self._share, self._resources = share, resources
        self._scheduler = ResourceDemandScheduler()
        self.there = self.coming = 0
        self.refused: int | None = None
        """What was asked for where that was refused."""

    def look(self, asked: int, idle: dict[int, float] | None = None) -> int:
        """Decide what a request of so many shares comes to. `idle`: seconds of workers without work. How many are ended."""
        constraint = ClusterResourceConstraint()
        requests = ResourceRequestUtil.group_by_count([ResourceRequestUtil.make(self._share)] * asked)
        constraint.resource_requests.extend(requests)
        there = [self._running(number, (idle or {}).get(number, 0.0)) for number in range(self.there)]
        reply = self._scheduler.schedule(
            SchedulingRequest(
                disable_launch_config_check=True,
                node_type_configs={self._kind.name: self._kind},
                cluster_resource_constraints=[constraint],
                current_instances=[*there, *map(self._pending, range(self.coming))],
            )
        )
        self.refused = asked if reply.infeasible_cluster_resource_constraints else None
        self.coming += sum(launch.count for launch in reply.to_launch)
        self.there -= len(reply.to_terminate)
        return len(reply.to_terminate)

    def join(self) -> None:
        """Whoever was on the way is there."""
        self.there, self.coming = self.there + self.coming, 0

    def _running(self, number: int, idle_s: float) -> AutoscalerInstance:
        node = NodeState(total_resources=self._resources, available_resources={}, idle_duration_ms=int(1000 * idle_s))
        return AutoscalerInstance(f"cloud-{number}", node, self._instance(f"node-{number}", Instance.RAY_RUNNING))

    def _pending(self, number: int) -> AutoscalerInstance:
        return AutoscalerInstance(None, None, self._instance(f"coming-{number}", Instance.REQUESTED))

    def _instance(self, name: str, status: Instance.InstanceStatus.ValueType) -> Instance:
        return Instance(instance_id=name, node_id=name, instance_type=self._kind.name, status=status, node_kind=NodeKind.WORKER)

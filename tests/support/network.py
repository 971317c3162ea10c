"""Who may reach whom, by Kubernetes' network policies: no cluster is needed to tell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Network:
    """Pods by names of ours, each with its template, and the objects among which the policies are."""

    pods: dict[str, dict[str, Any]]
    objects: dict[str, dict[str, Any]]

    @property
    def policies(self) -> Iterable[dict[str, Any]]:
        return [one["spec"] for name, one in self.objects.items() if name.startswith("NetworkPolicy/")]

    def selects(self, selector: dict[str, Any], pod: str) -> bool:
        """Whether a selector of labels, also one of a Service, is for a pod."""
        labels = self.pods[pod]["metadata"]["labels"]
        if not set(selector) <= {"matchLabels", "matchExpressions"}:
            selector = {"matchLabels": selector}
        wanted = selector.get("matchLabels", {}).items() <= labels.items()
        for expression in selector.get("matchExpressions", ()):
            assert expression["operator"] == "In"
            wanted = wanted and labels.get(expression["key"]) in expression["values"]
        return bool(wanted)

    def port_number(self, name: str | int, pod: str) -> int:
        """The port of a pod that has a name; -1 where it has none of that name."""
        if isinstance(name, int):
            return name
        spec = self.pods[pod].get("spec", {"containers": [{"ports": []}]})
        return next((p["containerPort"] for c in spec["containers"] for p in c["ports"] if p["name"] == name), -1)

    def lets(self, direction: str, pod: str, other: str | None, port: int) -> bool:
        """Whether the policies let a pod have a connection with another one, None for an address that is no pod.

        The port is that of the pod to which the connection goes.
        """
        kind, peers_of = {"Ingress": ("ingress", "from"), "Egress": ("egress", "to")}[direction]
        policies = [p for p in self.policies if direction in p["policyTypes"] and self.selects(p["podSelector"], pod)]
        target = pod if direction == "Ingress" else other
        for rule in (rule for policy in policies for rule in policy.get(kind, ())):
            peers = rule.get(peers_of)
            here = peers is None or (other is not None and any(self.selects(peer["podSelector"], other) for peer in peers))
            ports = [one["port"] for one in rule.get("ports", [{"port": port}])]
            if here and port in [self.port_number(one, target) if target else one for one in ports]:
                return True
        return not policies

    def reaches(self, pod: str, other: str, port: int) -> bool:
        """Whether a pod may have a connection to another one: both ends have to let it."""
        return self.lets("Egress", pod, other, port) and self.lets("Ingress", other, pod, port)

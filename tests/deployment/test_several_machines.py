"""The manifests of a search on several machines, as Kustomize makes them: valid, and as promised."""

from __future__ import annotations

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.support.manifests import VERSIONS, mebibytes, named, rendered
from tests.support.network import Network
from tests.support.program import ROOT
from tictactoe.core.game import Board
from tictactoe.process.memory import worker_need
from tictactoe.settings import Settings, load
from tictactoe.tuning.cluster import OBJECT_STORE_BYTES

OBJECTS = {named(one): one for one in rendered()}
HEAD, WORKER = OBJECTS["Deployment/mnist-ray-tune"]["spec"], OBJECTS["Deployment/mnist-ray-tune-worker"]["spec"]
PODS = {"head": HEAD["template"], "worker": WORKER["template"], "stranger": {"metadata": {"labels": {"app": "stranger"}}}}
NETWORK = Network(PODS, OBJECTS)
selects, lets, port_number = NETWORK.selects, NETWORK.lets, NETWORK.port_number


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    (only,) = deployment["template"]["spec"]["containers"]
    return dict(only)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_valid(name: str, version: str) -> None:
    kubernetes_validate.validate(OBJECTS[name], version, strict=True)


def test_all_of_the_root_is_there_and_only_the_head_has_changed() -> None:
    for file in ("deployment.yaml", "service.yaml", "networkpolicy.yaml"):
        for one in yaml.safe_load_all((ROOT / file).read_text()):
            assert (OBJECTS[named(one)] == one) is (named(one) != "Deployment/mnist-ray-tune"), file
    (root, _) = yaml.safe_load_all((ROOT / "deployment.yaml").read_text())
    before, now = root["spec"]["template"]["spec"]["containers"][0], container(HEAD)
    assert {item["name"] for item in now["env"]} - {item["name"] for item in before["env"]} == {
        "TICTACTOE_CLUSTER", "TICTACTOE_NODE_ADDRESS", "RAY_AUTH_TOKEN",
    }  # fmt: skip
    assert {port["name"]: port["containerPort"] for port in now["ports"]} == {"dashboard": 8265, "gcs": 6379, "metrics": 9464}
    changed = {"env", "ports", "resources"}
    assert {key: now[key] for key in now if key not in changed} == {key: before[key] for key in before if key not in changed}
    assert OBJECTS["Deployment/mnist-ray-tune"]["metadata"] == root["metadata"]


@pytest.mark.parametrize(
    ("name", "pods"),
    [
        ("Deployment/mnist-ray-tune", ["head"]),
        ("Deployment/mnist-ray-tune-worker", ["worker"]),
        ("Service/mnist-ray-tune-service", ["head"]),
        ("Service/mnist-ray-tune-gcs", ["head"]),
        ("PodDisruptionBudget/mnist-ray-tune-worker", ["worker"]),
        ("NetworkPolicy/mnist-ray-tune", ["head"]),
        ("NetworkPolicy/mnist-ray-tune-nodes", ["head", "worker"]),
        ("NetworkPolicy/mnist-ray-tune-wandb", ["head"]),
    ],
)
def test_each_selects_its_pods(name: str, pods: list[str]) -> None:
    spec = OBJECTS[name]["spec"]
    assert [pod for pod in PODS if selects(spec.get("selector") or spec["podSelector"], pod)] == pods


def test_every_object_that_selects_is_looked_at() -> None:
    (cases,) = (mark for mark in test_each_selects_its_pods.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    assert {case[0] for case in cases.args[1]} | {"PersistentVolumeClaim/mnist-ray-tune-results"} == set(OBJECTS)


@pytest.mark.parametrize("port", [6379, 6380, 8080, 8265, 10002, 45678])
def test_head_and_workers_reach_each_other_at_every_port(port: int) -> None:
    for one in ("head", "worker"):
        for other in ("head", "worker"):
            assert lets("Ingress", one, other, port) and lets("Egress", one, other, port)


def test_others_reach_the_dashboard_and_nothing_else() -> None:
    assert lets("Ingress", "head", "stranger", 8265) and lets("Ingress", "head", None, 8265)
    for port in (6379, 6380, 8080, 52365, 10002):
        for pod in ("head", "worker"):
            assert not lets("Ingress", pod, "stranger", port) and not lets("Ingress", pod, None, port)
    assert not lets("Ingress", "worker", "stranger", 8265)
    assert lets("Ingress", "stranger", "worker", 80)  # by no policy of ours


def test_only_the_head_goes_out_and_only_to_https_and_dns() -> None:
    assert lets("Egress", "head", None, 443) and not lets("Egress", "worker", None, 443)
    for pod in ("head", "worker"):
        assert lets("Egress", pod, None, 53)
        assert not lets("Egress", pod, None, 80) and not lets("Egress", pod, "stranger", 6379)


def test_ports_are_found_by_their_names() -> None:
    service = OBJECTS["Service/mnist-ray-tune-gcs"]["spec"]
    (port,) = service["ports"]
    assert (service["type"], port["port"], port_number(port["targetPort"], "head")) == ("ClusterIP", 6379, 6379)
    assert service["publishNotReadyAddresses"] is True
    probe = container(WORKER)["readinessProbe"]["httpGet"]
    assert (probe["path"], port_number(probe["port"], "worker")) == ("/api/local_raylet_healthz", 52365)


def test_the_worker_joins_the_head_that_the_service_finds() -> None:
    service = OBJECTS["Service/mnist-ray-tune-gcs"]["metadata"]["name"]
    assert container(WORKER)["args"] == ["python", "/app/main.py", "worker", service]
    assert "command" not in container(WORKER)  # the image's reaps processes
    assert load(container(WORKER)["args"][2:], {}).command == "worker"
    assert container(WORKER)["image"] == container(HEAD)["image"]


def test_a_worker_that_waits_is_left_alone() -> None:
    """Neither killed by a probe nor in the way of a drain."""
    assert not {"livenessProbe", "startupProbe"} & set(container(WORKER))
    budget = OBJECTS["PodDisruptionBudget/mnist-ray-tune-worker"]["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    assert WORKER["strategy"] == {"type": "Recreate"}
    assert "replicas" not in WORKER  # or `kubectl apply` would undo `kubectl scale`
    assert WORKER["template"]["spec"]["terminationGracePeriodSeconds"] > 5 + 2


def test_both_have_their_own_address_and_the_token_of_one_secret_that_is_not_here() -> None:
    found = [{item["name"]: item for item in container(deployment)["env"]} for deployment in (HEAD, WORKER)]
    assert {one["TICTACTOE_NODE_ADDRESS"]["valueFrom"]["fieldRef"]["fieldPath"] for one in found} == {"status.podIP"}
    reference = found[0]["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
    assert found[1]["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"] == reference
    assert "optional" not in reference  # a pod without it waits for it
    assert not any(name.startswith("Secret/") for name in OBJECTS)
    page = (ROOT / "docs" / "kubernetes-cluster.md").read_text()
    (made,) = set(re.findall(r"create secret generic (\S+) --from-literal=(\w+)=", page))
    assert made == (reference["name"], reference["key"])


def test_variables_are_settings() -> None:
    for deployment in (HEAD, WORKER):
        ours = {item["name"] for item in container(deployment)["env"] if item["name"].startswith("TICTACTOE_")}
        assert ours <= {f"TICTACTOE_{name.upper()}" for name in (*Settings.model_fields, "env_file")}


def test_a_worker_holds_the_trials_of_its_slots() -> None:
    resources = container(WORKER)["resources"]
    assert resources["requests"]["cpu"] == resources["limits"]["cpu"] == "1"
    need = worker_need(Board(), 256)
    assert need.of(1) <= mebibytes(resources["requests"]["memory"]) < mebibytes(resources["limits"]["memory"])
    volumes = {volume["name"]: volume for volume in WORKER["template"]["spec"]["volumes"]}
    assert volumes["shm"]["emptyDir"]["medium"] == "Memory"
    assert mebibytes(volumes["shm"]["emptyDir"]["sizeLimit"]) * 2**20 > 1.2 * OBJECT_STORE_BYTES
    (more,) = re.findall(r"for (\d+) MiB more each", (ROOT / "deploy" / "cluster" / "worker.yaml").read_text())
    assert need.trial <= int(more)


def test_workers_may_do_as_little_as_the_head() -> None:
    head, worker = HEAD["template"]["spec"], WORKER["template"]["spec"]
    for key in ("securityContext", "automountServiceAccountToken", "enableServiceLinks"):
        assert worker[key] == head[key]
    assert container(WORKER)["securityContext"] == container(HEAD)["securityContext"]


def test_pods_are_spread_over_machines_if_that_can_be() -> None:
    (spread,) = WORKER["template"]["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    assert selects(spread["labelSelector"], "worker") and selects(spread["labelSelector"], "head")

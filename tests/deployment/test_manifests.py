"""The Kubernetes manifests: valid for several versions, and as promised."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.support.manifests import VERSIONS, mebibytes
from tests.support.program import ROOT
from tictactoe.core.game import Board
from tictactoe.process.interrupt import EXIT_SECONDS
from tictactoe.process.memory import need
from tictactoe.settings import Settings
from tictactoe.tuning.cluster import OBJECT_STORE_BYTES

FILES = ("deployment.yaml", "service.yaml", "networkpolicy.yaml")
OBJECTS = {o["kind"]: o for file in FILES for o in yaml.safe_load_all((ROOT / file).read_text())}
POD = OBJECTS["Deployment"]["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", sorted(OBJECTS))
def test_valid(kind: str, version: str) -> None:
    kubernetes_validate.validate(OBJECTS[kind], version, strict=True)


def test_a_mistake_is_found() -> None:
    wrong = OBJECTS["Service"] | {"spec": OBJECTS["Service"]["spec"] | {"tpye": "NodePort"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.28", strict=True)


def test_the_published_names_and_ports() -> None:
    assert OBJECTS["Deployment"]["metadata"]["name"] == "mnist-ray-tune"
    assert CONTAINER["image"] == "mnist-ray-tune:latest"
    assert CONTAINER["imagePullPolicy"] in ("Never", "IfNotPresent")
    service = OBJECTS["Service"]
    assert service["metadata"]["name"] == "mnist-ray-tune-service"
    assert service["spec"]["type"] == "NodePort"
    (port,) = service["spec"]["ports"]
    assert (port["nodePort"], port["port"]) == (30000, 8265)
    (exposed,) = CONTAINER["ports"]
    assert exposed == {"name": port["targetPort"], "containerPort": 8265}


def test_everything_selects_the_pod() -> None:
    labels = OBJECTS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert OBJECTS["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert OBJECTS["Service"]["spec"]["selector"] == labels
    assert OBJECTS["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert [rule["ports"] for rule in OBJECTS["NetworkPolicy"]["spec"]["ingress"]] == [
        [{"port": "dashboard", "protocol": "TCP"}]
    ]


def test_one_search_at_a_time_on_a_small_node() -> None:
    spec = OBJECTS["Deployment"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    requests, limits = CONTAINER["resources"]["requests"], CONTAINER["resources"]["limits"]
    assert float(requests["cpu"]) <= 1.1  # of Minikube's 2, beside its own pods' .85
    assert limits["cpu"] == "2"
    assert need(Board(), 256).of(2) + 100 < mebibytes(limits["memory"]) <= 2200 - 600
    assert mebibytes(requests["memory"]) <= mebibytes(limits["memory"])
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    assert volumes["shm"]["emptyDir"]["medium"] == "Memory"
    assert mebibytes(volumes["shm"]["emptyDir"]["sizeLimit"]) * 2**20 > 1.2 * OBJECT_STORE_BYTES
    assert POD["terminationGracePeriodSeconds"] > EXIT_SECONDS + 2


def test_the_secret_is_an_optional_folder_and_settings_are_known() -> None:
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    assert volumes["secrets"]["secret"] == {"secretName": "my-env-secret", "optional": True, "defaultMode": 0o440}
    assert POD["securityContext"]["fsGroup"] == POD["securityContext"]["runAsGroup"]
    mounts = {mount["name"]: mount for mount in CONTAINER["volumeMounts"]}
    assert "subPath" not in mounts["secrets"]
    environment = {item["name"]: item["value"] for item in CONTAINER["env"]}
    assert environment.pop("TICTACTOE_ENV_FILE") == mounts["secrets"]["mountPath"] + "/.env"
    assert environment["TICTACTOE_RESULTS_DIR"] == mounts["results"]["mountPath"]
    assert volumes["results"]["persistentVolumeClaim"]["claimName"] == OBJECTS["PersistentVolumeClaim"]["metadata"]["name"]
    fields = {f"TICTACTOE_{name.upper()}" for name in Settings.model_fields}
    assert set(environment) <= fields
    assert not any("KEY" in name or "TOKEN" in name for name in environment)


def test_probes_use_the_route_that_needs_no_token() -> None:
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert CONTAINER[probe]["httpGet"] == {"path": "/api/gcs_healthz", "port": "dashboard"}
    assert CONTAINER["startupProbe"]["periodSeconds"] * CONTAINER["startupProbe"]["failureThreshold"] >= 60


def test_the_pod_may_do_little() -> None:
    assert POD["automountServiceAccountToken"] is False
    pod: dict[str, Any] = POD["securityContext"]
    assert pod["runAsNonRoot"] and pod["runAsUser"] > 0
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    container = CONTAINER["securityContext"]
    assert container == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}

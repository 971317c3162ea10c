"""The job for the KubeRay operator: valid, and as promised. No operator runs here."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.support.manifests import VERSIONS, mebibytes
from tests.support.program import ROOT
from tictactoe.core.game import Board
from tictactoe.process import memory
from tictactoe.settings import load
from tictactoe.tuning.cluster import OBJECT_STORE_BYTES

JOB, CLAIM, POLICY = yaml.safe_load_all((ROOT / "deploy" / "kuberay" / "rayjob.yaml").read_text())
SCHEMA = yaml.safe_load(Path(__file__).with_name("rayjob.schema.yaml").read_text())
SPEC, CLUSTER = JOB["spec"], JOB["spec"]["rayClusterSpec"]
(GROUP,) = CLUSTER["workerGroupSpecs"]
TEMPLATES = {
    "submitter": SPEC["submitterPodTemplate"],
    "head": CLUSTER["headGroupSpec"]["template"],
    "worker": GROUP["template"],
}
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def only(pod: str, containers: str = "containers") -> dict[str, Any]:
    (one,) = TEMPLATES[pod]["spec"][containers]
    return dict(one)


def values(pod: str) -> dict[str, str]:
    return {item["name"]: item["value"] for item in only(pod)["env"]}


def problems(job: dict[str, Any]) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(job)]


def test_its_fields_are_kuberays() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert problems(JOB) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.submissionMode", "JobMode"),
        ("spec.rayClusterSpec.authOptions.mode", "password"),
        ("spec.rayClusterSpec.autoscalerOptions.version", 2),
        ("spec.rayClusterSpec.headGroupSpec.rayStartParams.num-cpus", 0),
        ("spec.rayClusterSpec.enableInTreeAutoScaling", True),
        ("metadata.name", "mnist_ray_tune"),
    ],
)
def test_a_mistake_is_found(path: str, value: object) -> None:
    job = copy.deepcopy(JOB)
    *folders, last = path.split(".")
    place = job
    for folder in folders:
        place = place[folder]
    place[last] = value
    assert len(problems(job)) == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_kubernetes_own_is_valid(version: str) -> None:
    options = CLUSTER["autoscalerOptions"]
    taken = {key: options[key] for key in ("imagePullPolicy", "securityContext", "volumeMounts")}
    autoscaler = {"spec": {"containers": [{"name": "autoscaler", **taken}]}}
    for name, template in {**TEMPLATES, "autoscaler": autoscaler}.items():
        one = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": name}, "template": template}
        kubernetes_validate.validate(one, version, strict=True)
    for whole in (CLAIM, POLICY):
        kubernetes_validate.validate(whole, version, strict=True)


def test_the_operator_takes_it() -> None:
    """What its validation refuses although the schema allows it, and what Kueue's does."""
    assert SPEC["shutdownAfterJobFinishes"] is True and "deletionStrategy" not in SPEC  # else it cannot be suspended
    assert "networkPolicy" not in CLUSTER  # behind a gate that is off
    for pod in ("head", "worker"):  # autoscaler version 2 replaces pods itself
        assert TEMPLATES[pod]["spec"].get("restartPolicy", "Never") == "Never"
    for group in (CLUSTER["headGroupSpec"], GROUP):
        assert "labels" not in group["rayStartParams"] and "resources" not in group
    assert GROUP["minReplicas"] <= GROUP["replicas"] <= GROUP["maxReplicas"]


def test_it_runs_the_image_of_this_version() -> None:
    (pinned,) = re.findall(r"^ray\S*==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert CLUSTER["rayVersion"] == pinned
    images = {
        one["image"] for t in TEMPLATES.values() for one in (*t["spec"]["containers"], *t["spec"].get("initContainers", ()))
    }
    assert images == {"mnist-ray-tune:latest"}


def test_the_entrypoint_is_a_search_that_ends() -> None:
    python, program, *options = SPEC["entrypoint"].split()
    assert (python, program) == ("python", "/app/main.py")
    assert load(options, {"TICTACTOE_HOLD": "true"}).hold is False  # the image says so


def test_only_workers_run_trials() -> None:
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "num-cpus" not in GROUP["rayStartParams"]  # KubeRay takes it from the limit
    for group in (CLUSTER["headGroupSpec"], GROUP):
        assert int(group["rayStartParams"]["object-store-memory"]) == OBJECT_STORE_BYTES
    resources = only("worker")["resources"]
    assert resources["requests"]["cpu"] == resources["limits"]["cpu"] == "1"
    assert memory.worker_need(Board(), 256).of(1) <= mebibytes(resources["requests"]["memory"])
    assert mebibytes(only("head")["resources"]["requests"]["memory"]) > memory.PROGRAM_MIB


def test_results_outlive_the_job_on_the_head() -> None:
    volumes = {volume["name"]: volume for volume in TEMPLATES["head"]["spec"]["volumes"]}
    assert volumes["results"]["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
    mounts = {mount["name"]: mount["mountPath"] for mount in only("head")["volumeMounts"]}
    assert f"TICTACTOE_RESULTS_DIR={mounts['results']}" in DOCKERFILE
    assert values("head")["TICTACTOE_ENV_FILE"] == mounts["secrets"] + "/.env"
    assert volumes["secrets"]["secret"]["optional"] is True


@pytest.mark.parametrize("pod", ["head", "worker"])
def test_the_kernels_of_the_image_are_where_they_can_be_written(pod: str) -> None:
    (baked,) = re.findall(r"TICTACTOE_NUMBA_CACHE=(\S+)", DOCKERFILE)
    kernels = only(pod, "initContainers")
    assert kernels["command"] == ["cp", "-R", baked, values(pod)["NUMBA_CACHE_DIR"]]
    assert kernels["volumeMounts"][0] in only(pod)["volumeMounts"]
    assert values(pod)["NUMBA_CACHE_DIR"].startswith(kernels["volumeMounts"][0]["mountPath"] + "/")


def test_nodes_have_what_the_program_sets_for_a_ray_of_its_own() -> None:
    assert f"WORKDIR {values('worker')['PYTHONPATH']}\n" in DOCKERFILE
    from tictactoe.process.variables import RULES

    fixed = {
        name: rule.value for rule in RULES for name in rule.names if not rule.keep and rule.always and rule.value is not None
    }
    for name in ("RAY_memory_monitor_refresh_ms", "RAY_prestart_worker_first_driver"):
        assert values("head")[name] == values("worker")[name] == fixed[name]


def test_the_pods_may_do_little() -> None:
    for pod, template in TEMPLATES.items():
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
        assert ("automountServiceAccountToken" in template["spec"]) is (pod != "head")  # its autoscaler needs it
        for one in (*template["spec"]["containers"], *template["spec"].get("initContainers", ())):
            assert one["securityContext"] == CLUSTER["autoscalerOptions"]["securityContext"]
            assert one["securityContext"]["readOnlyRootFilesystem"] is True
    assert CLUSTER["authOptions"]["mode"] == "token"
    for pod in ("head", "worker"):
        assert TEMPLATES[pod]["metadata"]["labels"] == POLICY["spec"]["podSelector"]["matchLabels"]
    among, outside = POLICY["spec"]["ingress"]
    assert among == {"from": [{"podSelector": POLICY["spec"]["podSelector"]}]}
    assert outside == {"ports": [{"port": 8265, "protocol": "TCP"}]}

"""The services of compose.yaml as containers, without Compose: `make test-image`.

In place of Prometheus' image stands Debian's program, in the application's image. Grafana is left out.
"""

from __future__ import annotations

import json
import shutil
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.containers import docker, wait_for
from tests.support.machines import until
from tests.support.program import ROOT

pytestmark = [pytest.mark.image, pytest.mark.timeout(300)]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
SMALL = {"TICTACTOE_NUM_SAMPLES": "16", "TICTACTOE_SEEDS": "4", "TICTACTOE_GAMES": "5000"}
"""As a user would have it in .env: a search of some seconds."""
USED = {
    "image", "build", "depends_on", "stop_grace_period", "healthcheck", "env_file",  # nothing for `docker run`, here
    "user", "shm_size", "network_mode", "read_only", "cap_drop", "cap_add", "security_opt", "tmpfs", "group_add", "environment",
    "volumes", "ports", "entrypoint", "command",
}  # fmt: skip


def options(name: str, service: dict[str, Any]) -> list[str]:
    """What `docker run` is told of a service, whose containers and volumes have names that begin with `name`."""
    assert service.keys() <= USED
    result = ["--read-only"] if service["read_only"] else []
    for key in ("user", "shm_size"):
        if key in service:
            result += ["--" + key.replace("_", "-"), service[key]]
    network = service.get("network_mode", "bridge")
    result += ["--network", network.replace("service:", f"container:{name}-")]
    for key, option in (("cap_drop", "--cap-drop"), ("cap_add", "--cap-add"), ("security_opt", "--security-opt"),
                        ("tmpfs", "--tmpfs"), ("group_add", "--group-add"), ("ports", "--publish")):  # fmt: skip
        for value in service.get(key, ()):
            result += [option, value]
    for variable, value in service.get("environment", {}).items():
        result += ["--env", f"{variable}={value}"]
    for volume in service.get("volumes", ()):
        result += ["--volume", str(ROOT / volume) if volume.startswith("./") else f"{name}-{volume}"]
    return result


def command(service: dict[str, Any]) -> list[str]:
    return [word.replace("$$", "$") for word in service.get("command", ())]


@pytest.fixture
def name() -> Iterator[str]:
    """What the names of all containers and volumes begin with, of which nothing is left."""
    name = f"ray-tune-test-{uuid.uuid4().hex[:8]}"
    yield name
    for service in reversed(SERVICES):
        docker("rm", "--force", f"{name}-{service}", check=False)
    for volume in docker("volume", "ls", "--quiet", "--filter", f"name={name}-").split():
        docker("volume", "rm", volume)


def get(url: str, token: str = "") -> Any:
    """A JSON answer; None while nobody answers."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with suppress(OSError), urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)
    return None


def query(expression: str) -> list[dict[str, Any]]:
    """The series that Prometheus answers with; none while it does not answer."""
    answer = get(f"http://127.0.0.1:9090/api/v1/query?query={expression}")
    result: list[dict[str, Any]] = answer["data"]["result"] if answer else []
    return result


def test_token_application_and_prometheus_find_each_other(image: str, name: str) -> None:
    program = shutil.which("prometheus")
    assert program, "this test needs Prometheus: apt-get install prometheus"
    token, application, prometheus = (SERVICES[service] for service in ("token", "application", "prometheus"))
    (entrypoint, *more) = token["entrypoint"]
    script = (*options(name, token), "--entrypoint", entrypoint, image, *more, *command(token))
    assert docker("run", "--name", f"{name}-token", *script) == ""
    settings = [word for variable, value in SMALL.items() for word in ("--env", f"{variable}={value}")]
    docker("run", "--detach", "--name", f"{name}-application", *options(name, application), *settings, image)
    nobody = "65534:65534"  # as in Prometheus' image, where the folder for its data is his
    docker("run", "--rm", "--user", "0", "--volume", f"{name}-metrics:/prometheus", "--entrypoint", "chown", image, nobody,
           "/prometheus")  # fmt: skip
    docker(
        "run", "--detach", "--name", f"{name}-prometheus", *options(name, prometheus), "--user", nobody,
        "--volume", f"{Path(program).resolve()}:/bin/prometheus:ro", "--entrypoint", "/bin/prometheus", image,
        *command(prometheus),
    )  # fmt: skip
    wait_for(f"{name}-application", "the dashboard stays at")

    def log() -> str:
        return docker("logs", f"{name}-prometheus")[-3000:]

    until(lambda: query("ray_tictactoe_phase{phase=%22held%22}==1"), log, 60.0)
    until(lambda: query("up==1"), log, 60.0)
    (up,) = query("up")
    assert up["value"][1] == "1"
    secret = docker("exec", f"{name}-application", "ray", "get-auth-token").strip()
    health = until(lambda: get("http://127.0.0.1:8265/api/prometheus_health", secret), log, 60.0)
    assert health["result"]  # Ray's dashboard finds it as well
    docker("stop", f"{name}-application")
    assert docker("inspect", "--format", "{{.State.ExitCode}}", f"{name}-application").strip() == "0"

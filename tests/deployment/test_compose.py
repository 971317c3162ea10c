"""compose.yaml: valid, its parts fit each other, and its script for the token. No Compose runs here."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from tests.support.monitoring import FOLDER
from tests.support.program import ROOT
from tictactoe.process.interrupt import EXIT_SECONDS
from tictactoe.settings import Settings
from tictactoe.tuning.cluster import OBJECT_STORE_BYTES

TEXT = (ROOT / "compose.yaml").read_text()
CONTENT: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = CONTENT["services"]
APPLICATION = SERVICES["application"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def volumes(service: str) -> dict[str, tuple[str, str]]:
    """By its place in the container: what a volume is, and its options."""
    found = {}
    for line in SERVICES[service].get("volumes", ()):
        source, place, *options = line.split(":")
        found[place] = (source, ":".join(options))
    return found


def test_valid() -> None:
    assert PyCompose.from_yaml(TEXT).service_names() == ["token", "application", "prometheus", "grafana"]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("read_only: true", "readonly: true"),
        ("service_completed_successfully", "service_completed"),
        ("127.0.0.1:9090:9090", "127.0.0.1:9090:port"),
        ("shm_size: 160mb", "shm_size: large"),
        ("required: false", "required: maybe"),
    ],
)
def test_a_mistake_is_found(right: str, wrong: str) -> None:
    assert right in TEXT
    with pytest.raises(ValueError, match=r"services\."):
        PyCompose.from_yaml(TEXT.replace(right, wrong))


def test_what_is_named_is_there() -> None:
    used = {source for service in SERVICES for source, _ in volumes(service).values() if not source.startswith(".")}
    assert used == set(CONTENT["volumes"])
    for service in SERVICES:
        assert all((ROOT / source).is_file() for source, _ in volumes(service).values() if source.startswith("."))
        assert set(SERVICES[service].get("depends_on", ())) <= set(SERVICES)
    assert (ROOT / SERVICES["grafana"]["env_file"]).is_file()


def test_all_are_in_the_applications_network_and_for_this_machine_alone() -> None:
    for service in ("prometheus", "grafana"):
        assert SERVICES[service]["network_mode"] == "service:application"
        assert "ports" not in SERVICES[service]
        assert SERVICES[service]["depends_on"]["application"]["restart"] is True  # else it keeps a network that is gone
    assert APPLICATION["ports"] == [f"127.0.0.1:{port}:{port}" for port in (8265, 9090, 3000)]  # no metrics
    assert SERVICES["token"]["network_mode"] == "none"


def test_the_application_has_what_it_has_elsewhere() -> None:
    (root, _) = yaml.safe_load_all((ROOT / "deployment.yaml").read_text())
    pod = root["spec"]["template"]["spec"]
    assert APPLICATION["image"] == SERVICES["token"]["image"] == pod["containers"][0]["image"]
    assert int(APPLICATION["stop_grace_period"].removesuffix("s")) == pod["terminationGracePeriodSeconds"] > EXIT_SECONDS + 2
    assert int(APPLICATION["shm_size"].removesuffix("mb")) * 2**20 > 1.2 * OBJECT_STORE_BYTES
    ours = {name for name in APPLICATION["environment"] if name.startswith("TICTACTOE_")}
    assert ours - {"TICTACTOE_METRICS_PORT"} <= {f"TICTACTOE_{name.upper()}" for name in Settings.model_fields}
    assert volumes("application")[APPLICATION["environment"]["TICTACTOE_RESULTS_DIR"]] == ("results", "")
    assert "HEALTHCHECK" in DOCKERFILE and "healthcheck" not in APPLICATION


@pytest.mark.parametrize("service", SERVICES)
def test_the_containers_may_do_little(service: str) -> None:
    one = SERVICES[service]
    assert one["read_only"] is True and one["cap_drop"] == ["ALL"] and one["security_opt"] == ["no-new-privileges:true"]
    assert one.get("cap_add", []) == (["CHOWN"] if service == "token" else [])
    assert re.fullmatch(r"mnist-ray-tune:latest|[a-z/]+:v?\d+\.\d+\.\d+", one["image"])


def test_images_are_those_of_kubernetes() -> None:
    for service in ("prometheus", "grafana"):
        deployment, _ = yaml.safe_load_all((FOLDER / f"{service}-deployment.yaml").read_text())
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert SERVICES[service]["image"] == container["image"]


def test_the_token_is_where_both_look_for_it() -> None:
    place, name = APPLICATION["environment"]["RAY_AUTH_TOKEN_PATH"].rsplit("/", 1)
    assert volumes("application")[place] == ("token", "ro")
    configured = Path("/etc/prometheus/prometheus.yaml")
    assert volumes("prometheus")[str(configured)] == ("./deploy/monitoring/prometheus.local.yaml", "ro")
    (job,) = yaml.safe_load((FOLDER / "prometheus.local.yaml").read_text())["scrape_configs"]
    file = configured.parent / job["http_sd_configs"][0]["authorization"]["credentials_file"]
    assert (file.name, volumes("prometheus")[str(file.parent)]) == (name, ("token", "ro"))
    assert SERVICES["prometheus"]["group_add"] == ["1000"] and "USER 1000:1000" in DOCKERFILE
    assert APPLICATION["depends_on"]["token"]["condition"] == "service_completed_successfully"
    assert "token" not in [source for source, _ in volumes("grafana").values()]


def make_token(folder: Path, **variables: str) -> str:
    """Run the script of the service, for this user and in a folder of the test's; returns the token."""
    (script,) = SERVICES["token"]["command"]
    assert SERVICES["token"]["entrypoint"] == ["sh", "-euc"]
    script = script.replace("$$", "$").replace("1000:1000", f"{os.geteuid()}:{os.getegid()}")
    for name in ("token", "boards"):
        (folder / name).mkdir(exist_ok=True)
        script = script.replace(f"/{name}", f"{folder}/{name}")
    environment = {"PATH": os.environ["PATH"]} | variables
    subprocess.run(["sh", "-euc", script], env=environment, check=True, timeout=20)
    file = folder / "token" / "auth_token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    return file.read_text()


def test_a_token_is_made_once_and_that_of_the_environment_comes_first(tmp_path: Path) -> None:
    made = make_token(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{64}\n", made)
    assert make_token(tmp_path) == made
    assert make_token(tmp_path, RAY_AUTH_TOKEN="") == made
    assert make_token(tmp_path, RAY_AUTH_TOKEN="5e" * 32) == "5e" * 32 + "\n"
    other = tmp_path / "other"
    other.mkdir()
    assert make_token(other) != made


def test_rays_dashboard_asks_what_is_here() -> None:
    environment, grafana = APPLICATION["environment"], SERVICES["grafana"]["environment"]
    assert environment["RAY_PROMETHEUS_HOST"] == grafana["PROMETHEUS_URL"] == "http://127.0.0.1:9090"
    assert environment["RAY_GRAFANA_HOST"].endswith(":3000") and environment["RAY_GRAFANA_IFRAME_HOST"].endswith(":3000")
    boards = volumes("application")[environment["RAY_METRICS_GRAFANA_DASHBOARD_OUTPUT_DIR"]]
    assert (boards, volumes("grafana")["/boards/ray"]) == (("boards", ""), ("boards", "ro"))
    (source,) = yaml.safe_load((FOLDER / "grafana" / "datasources.yaml").read_text())["datasources"]
    assert source["name"] == "Prometheus"  # Ray's default, which its panels are asked for with

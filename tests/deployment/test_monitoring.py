"""Prometheus and Grafana on Kubernetes: valid, small, and let in where they have to be. Neither runs here."""

from __future__ import annotations

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.support.manifests import VERSIONS, mebibytes, named, rendered
from tests.support.monitoring import CONFIGURATIONS, EXPORTED, FOLDER, metrics_in, rays_own, rules, unknown_values
from tests.support.network import Network

OBJECTS = {named(one): one for one in rendered("deploy/monitoring")}
SEARCH = {named(one): one for one in rendered()}
NAMES = {
    "head": "mnist-ray-tune", "worker": "mnist-ray-tune-worker",
    "prometheus": "mnist-ray-tune-prometheus", "grafana": "mnist-ray-tune-grafana",
}  # fmt: skip
PODS = {pod: (SEARCH | OBJECTS)[f"Deployment/{name}"]["spec"]["template"] for pod, name in NAMES.items()}
STRANGER = {"stranger": {"metadata": {"labels": {"app": "stranger"}}}}
NETWORK = Network(PODS | STRANGER, SEARCH | OBJECTS)
METRICS, DASHBOARD = 9464, 8265
RULES = rules()
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}


def spec(pod: str) -> dict[str, Any]:
    return dict(PODS[pod]["spec"])


def container(pod: str) -> dict[str, Any]:
    (only,) = spec(pod)["containers"]
    return dict(only)


def configuration(file: str) -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / file).read_text()))


def content_of(config_map: str) -> dict[str, str]:
    """What is in the ConfigMap whose name begins so; the end of the name is a hash."""
    (found,) = (one for name, one in OBJECTS.items() if re.fullmatch(rf"ConfigMap/{config_map}-[a-z0-9]{{10}}", name))
    return dict(found["data"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_valid(name: str, version: str) -> None:
    kubernetes_validate.validate(OBJECTS[name], version, strict=True)


def test_nothing_of_the_search_is_made_again() -> None:
    assert not OBJECTS.keys() & SEARCH.keys()
    for name, one in (SEARCH | OBJECTS).items():
        if name.startswith("Service/"):
            (pod,) = (pod for pod in NETWORK.pods if NETWORK.selects(one["spec"]["selector"], pod))
            assert all(NETWORK.port_number(port["targetPort"], pod) > 0 for port in one["spec"]["ports"])


def test_only_this_prometheus_reaches_the_metrics() -> None:
    for pod in ("head", "worker"):
        assert NETWORK.reaches("prometheus", pod, METRICS)
        for other in ("stranger", "grafana"):
            assert not NETWORK.lets("Ingress", pod, other, METRICS)
        assert not NETWORK.lets("Ingress", pod, None, METRICS)
        for port in (6379, 52365, 10002):
            assert not NETWORK.lets("Ingress", pod, "prometheus", port)
    assert not Network(NETWORK.pods, SEARCH).lets("Ingress", "head", "prometheus", METRICS)  # it is these policies that do it


def test_prometheus_reaches_the_dashboard_and_grafana_reaches_prometheus() -> None:
    assert NETWORK.reaches("prometheus", "head", DASHBOARD)
    assert NETWORK.reaches("grafana", "prometheus", 9090)
    for pod in ("prometheus", "grafana"):
        assert NETWORK.lets("Egress", pod, None, 53)
        assert not NETWORK.lets("Egress", pod, None, 443)
        assert not NETWORK.lets("Ingress", pod, "stranger", 9090) and not NETWORK.lets("Ingress", pod, "stranger", 3000)


def test_they_fit_beside_the_head_on_a_small_node() -> None:
    requests = [container(pod)["resources"]["requests"] for pod in ("head", "prometheus", "grafana")]
    assert sum(mebibytes(one["memory"]) for one in requests) <= 2200e6 / 2**20 - 170 - 600  # room for what is over a request
    cpus = [one["cpu"] for one in requests]
    assert sum(float(cpu.removesuffix("m")) * (1 if cpu.endswith("m") else 1000) for cpu in cpus) <= 2000 - 850


@pytest.mark.parametrize("pod", ["prometheus", "grafana"])
def test_the_pods_may_do_little(pod: str) -> None:
    assert container(pod)["securityContext"] == container("head")["securityContext"]
    assert spec(pod)["automountServiceAccountToken"] is False
    assert spec(pod)["securityContext"]["runAsNonRoot"] and spec(pod)["securityContext"]["runAsUser"] > 0
    assert spec(pod)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    written = {volume["name"] for volume in spec(pod)["volumes"] if "emptyDir" in volume}
    assert {mount["name"] for mount in container(pod)["volumeMounts"] if not mount.get("readOnly")} == written
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", container(pod)["image"])


def test_prometheus_gets_the_token_of_the_secret_that_head_and_workers_have() -> None:
    (volume,) = (one["projected"] for one in spec("prometheus")["volumes"] if "projected" in one)
    (secret,) = (one["secret"] for one in volume["sources"] if "secret" in one)
    (reference,) = (one["valueFrom"]["secretKeyRef"] for one in container("head")["env"] if one["name"] == "RAY_AUTH_TOKEN")
    (item,) = secret["items"]
    assert (secret["name"], item["key"]) == (reference["name"], reference["key"])
    discovery = configuration("prometheus.yaml")["scrape_configs"][0]["http_sd_configs"][0]
    assert discovery["authorization"] == {"type": "Bearer", "credentials_file": item["path"]}
    assert volume["defaultMode"] == 0o440 and spec("prometheus")["securityContext"]["fsGroup"]
    assert set(content_of("mnist-ray-tune-prometheus")) == {"prometheus.yaml", "rules.yaml"}


def test_prometheus_asks_the_dashboards_service() -> None:
    url = configuration("prometheus.yaml")["scrape_configs"][0]["http_sd_configs"][0]["url"]
    service, port = re.fullmatch(r"http://([\w-]+):(\d+)/api/prometheus/sd", url).groups()  # type: ignore[union-attr]
    assert SEARCH[f"Service/{service}"]["spec"]["ports"][0]["port"] == int(port)


def test_both_configurations_are_one_but_for_the_address() -> None:
    there, here = (re.sub(r"^#.*\n", "", (FOLDER / file).read_text(), flags=re.MULTILINE) for file in CONFIGURATIONS)
    assert there.replace("http://mnist-ray-tune-service:8265", "http://127.0.0.1:8265") == here != there


def test_pods_and_podmonitor_name_the_port_of_the_metrics() -> None:
    for pod in ("head", "worker"):
        assert NETWORK.port_number("metrics", pod) == METRICS
        annotations = PODS[pod]["metadata"]["annotations"]
        assert annotations == {
            "prometheus.io/scrape": "true", "prometheus.io/port": str(METRICS), "prometheus.io/path": "/metrics",
        }  # fmt: skip
    monitor = yaml.safe_load((FOLDER / "podmonitor.yaml").read_text())["spec"]
    assert [pod for pod in NETWORK.pods if NETWORK.selects(monitor["selector"], pod)] == ["head", "worker"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    (kept,) = configuration("prometheus.yaml")["scrape_configs"][0]["metric_relabel_configs"]
    assert (endpoint["port"], endpoint["metricRelabelings"][0]["regex"]) == ("metrics", kept["regex"])


def test_grafana_finds_its_files() -> None:
    assert set(content_of("mnist-ray-tune-grafana-provisioning")) == {"datasources.yaml", "boards.yaml"}
    settings = content_of("mnist-ray-tune-grafana-settings")
    mounts = {mount["mountPath"]: mount.get("subPath") for mount in container("grafana")["volumeMounts"]}
    assert mounts[settings["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]] == "dashboard.json"
    (provider,) = configuration("grafana/boards.yaml")["providers"]
    assert settings["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].startswith(provider["options"]["path"] + "/")
    (source,) = configuration("grafana/datasources.yaml")["datasources"]
    (url,) = (one["value"] for one in container("grafana")["env"] if f"${one['name']}" == source["url"])
    name, port = re.fullmatch(r"http://([\w-]+):(\d+)", url).groups()  # type: ignore[union-attr]
    assert OBJECTS[f"Service/{name}"]["spec"]["ports"][0]["port"] == int(port)
    (board,) = (one for name, one in OBJECTS.items() if name.startswith("ConfigMap/mnist-ray-tune-board"))
    assert board["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert board["data"]["dashboard.json"] == (FOLDER / "dashboard.json").read_text()


def test_nobody_has_an_account_at_grafana() -> None:
    settings = content_of("mnist-ray-tune-grafana-settings")
    assert settings["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert settings["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == settings["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert settings["GF_AUTH_BASIC_ENABLED"] == "false"


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_to_do(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("warning", "critical")
    assert alert["annotations"].keys() == {"summary", "description"}
    assert len(alert["annotations"]["summary"]) < 100 < len(alert["annotations"]["description"])
    assert "{{ $labels." in alert["annotations"]["summary"]


@pytest.mark.parametrize("rule", RULES, ids=[rule.get("alert", "record") for rule in RULES])
def test_a_rule_asks_for_what_is_exported(rule: dict[str, Any]) -> None:
    recorded = {one["record"] for one in RULES if "record" in one}
    assert metrics_in(rule["expr"]) <= {*EXPORTED, *rays_own()}
    assert metrics_in(rule["expr"]) or any(name in rule["expr"] for name in recorded)
    assert unknown_values(rule["expr"]) == []

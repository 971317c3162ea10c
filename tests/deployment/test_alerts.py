"""Rules and queries in Prometheus' own tool: `make test-monitoring`. It is in Debian's package prometheus."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.monitoring import CONFIGURATIONS, EXPORTED, FOLDER, panel_queries, promtool, rays_own, rules

pytestmark = pytest.mark.monitoring
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
UNITS = "rules.test.yaml"
QUERIES = [query for _, query in panel_queries()]


def failures(folder: Path, change: dict[str, Any], without: str = "") -> str:
    """What `promtool test rules` says when all alerts are changed, or have lost something."""
    content = yaml.safe_load((FOLDER / "rules.yaml").read_text())
    for group in content["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                rule |= change
                rule.pop(without, None)
    (folder / "rules.yaml").write_text(yaml.safe_dump(content))
    (folder / UNITS).write_text((FOLDER / UNITS).read_text())
    ran = promtool("test", "rules", UNITS, folder=folder)
    assert ran.returncode == 1
    return ran.stdout + ran.stderr


@pytest.mark.parametrize("file", CONFIGURATIONS)
def test_the_configuration_is_prometheus(file: str) -> None:
    ran = promtool("check", "config", file)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert f"{len(rules())} rules found" in ran.stdout


def test_each_alert_fires_for_its_fault_and_for_nothing_else() -> None:
    ran = promtool("test", "rules", UNITS)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_alerts_that_never_fire_are_found(tmp_path: Path) -> None:
    missed = re.findall(r"exp:.*?got: nil", failures(tmp_path, {"expr": "vector(0) > 1"}), re.DOTALL)
    assert {name for text in missed for name in re.findall(r'alertname="(\w+)"', text)} == set(ALERTS)


def test_alerts_that_always_fire_are_found(tmp_path: Path) -> None:
    needless = re.findall(r"exp: nil\s+got: (.*)", failures(tmp_path, {"expr": "vector(1)"}))
    assert {name for text in needless for name in re.findall(r'alertname="(\w+)"', text)} == set(ALERTS)


def test_alerts_that_do_not_wait_are_found(tmp_path: Path) -> None:
    hasty = re.findall(r"exp: nil\s+got: (.*)", failures(tmp_path, {}, without="for"))
    assert {name for text in hasty for name in re.findall(r'alertname="(\w+)"', text)} == {
        name for name, rule in ALERTS.items() if "for" in rule
    }


def exported_series() -> list[dict[str, str]]:
    """All that there is in the middle of a search, as the program and Ray export it."""
    found = []
    for metric, labels in EXPORTED.items():
        name, values = next(iter(labels.items()), ("", {""}))
        for value in values:
            pairs = {"search": "a", name: value, "SessionName": "session", "WorkerId": "1", "instance": "head:9464"}
            text = ", ".join(f"{key}={json.dumps(one)}" for key, one in pairs.items() if key and one)
            found.append({"series": f"{metric}{{{text}}}", "values": "1+1x200" if metric.endswith("_total") else "1x200"})
    others = [f'{metric}{{SessionName="session", instance="head:9464"}}' for metric in sorted(rays_own())]
    others.append('ALERTS{alertname="SearchStalled", alertstate="firing"}')
    return found + [{"series": series, "values": "1x200"} for series in others]


def units(queries: list[str], series: list[dict[str, str]]) -> str:
    """Tests for promtool: that each query has an answer."""
    one = [{"labels": "{}", "value": 1}]
    tests = [{"expr": f"count({query}) > bool 0", "eval_time": "30m", "exp_samples": one} for query in queries]
    return json.dumps(  # which is YAML too
        {"evaluation_interval": "10s", "tests": [{"interval": "10s", "input_series": series, "promql_expr_test": tests}]}
    )


def test_each_query_of_the_board_has_an_answer(tmp_path: Path) -> None:
    (tmp_path / "units.yaml").write_text(units(QUERIES, exported_series()))
    ran = promtool("test", "rules", "units.yaml", folder=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_queries_without_an_answer_are_found(tmp_path: Path) -> None:
    (tmp_path / "units.yaml").write_text(units(QUERIES, [{"series": "up", "values": "1x200"}]))
    ran = promtool("test", "rules", "units.yaml", folder=tmp_path)
    assert (ran.stdout + ran.stderr).count("got: nil") == len(QUERIES)

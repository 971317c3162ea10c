"""What the tests of deploy/monitoring share: its files, and what their queries ask for."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import yaml

from tests.support.program import ROOT
from tictactoe.experiment.record import Cause
from tictactoe.experiment.status import Phase, Stage, Trials
from tictactoe.tuning import metrics, states

FOLDER = ROOT / "deploy" / "monitoring"
CONFIGURATIONS = ("prometheus.yaml", "prometheus.local.yaml")
_LABELS: dict[str, dict[str, set[str]]] = {
    "phase": {"phase": {*get_args(Phase)}},
    "trials": {"state": {field.name for field in fields(Trials)}},
    "games": {"stage": {*get_args(Stage)}},
    "learner_cpu_seconds": {"stage": {*get_args(Stage)}},
    "retries": {"reason": {*get_args(Cause)}},
}
NODE_COUNTERS = (states.METRIC[0].removeprefix(metrics.PREFIX),)
"""Each node's own."""
EXPORTED: dict[str, dict[str, set[str]]] = {
    **{f"ray_tictactoe_{name}": _LABELS.get(name, {}) for name in metrics.GAUGES},
    **{f"ray_tictactoe_{name}_total": _LABELS.get(name, {}) for name in (*metrics.COUNTERS, *NODE_COUNTERS)},
}
"""What the program exports, with its labels' values beside `search`."""
_WORDS = {"search", "instance", "severity", "alertstate"}
"""Labels with any value."""


def board() -> dict[str, Any]:
    return dict(json.loads((FOLDER / "dashboard.json").read_text()))


def rules() -> list[dict[str, Any]]:
    """Alerts and recording rules, in their order."""
    return [rule for group in yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"] for rule in group["rules"]]


def filled(query: str, search: str) -> str:
    """A query of the board with Grafana's variables filled in, as Prometheus would get it."""
    query = query.replace("$search", search).replace("$__rate_interval", "1m")
    assert "$" not in query, query
    return query


def panel_queries(search: str = "a") -> Iterator[tuple[str, str]]:
    """The title of a panel and one of its queries about a search, as Prometheus would get it."""
    for panel in board()["panels"]:
        for target in panel["targets"]:
            yield panel["title"], filled(target["expr"], search)


def rays_own() -> set[str]:
    """What the installed Ray says of nodes and processes, by the table in its source; nothing is imported."""
    spec = importlib.util.find_spec("ray")
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).with_name("dashboard") / "modules" / "reporter" / "reporter_agent.py"
    return {f"ray_{name}" for name in re.findall(r'^    "(\w+)": Gauge\($', source.read_text(), re.MULTILINE)}


def metrics_in(query: str) -> set[str]:
    return set(re.findall(r"(?<![\w:])ray_\w+", re.sub(r'"[^"]*"', "", query)))


def unknown_values(query: str) -> list[str]:
    """What a query asks of our metrics' labels that the program never says."""
    found = []
    for metric, selectors in re.findall(r"(ray_tictactoe_\w+)\{([^}]*)\}", query):
        for label, values in re.findall(r'(\w+)\s*[!=]~?\s*"([^"]*)"', selectors):
            if label not in _WORDS:
                known = EXPORTED[metric].get(label, set())
                found += [f"{metric}: {label}={value}" for value in values.split("|") if value not in known]
    return found


def promtool(*arguments: str, folder: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    """That of the machine: a test that needs it fails without it."""
    assert shutil.which("promtool"), "no promtool: apt-get install prometheus"
    return subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)

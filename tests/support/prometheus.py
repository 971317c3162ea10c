"""A real Prometheus on this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.monitoring import FOLDER
from tests.support.processes import free_port

PATIENCE_SECONDS = 5.0


class Prometheus:
    """Its HTTP interface."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        result: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return result

    def value(self, expression: str) -> float | None:
        """The value of the only series of a query; None where there is none, not even after some more scrapes."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not (series := self.query(expression)) and time.monotonic() < end:  # a scrape was too slow
            time.sleep(0.5)
        assert len(series) < 2, series
        return float(series[0]["value"][1]) if series else None

    def range(self, expression: str, seconds: float) -> list[list[float]]:
        """The values of each series, second by second."""
        return [[value for _, value in points] for _, points in self.series(expression, seconds, 1.0)]

    def series(self, expression: str, seconds: float, step: float) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        """The labels of each series over the last seconds, with its moments and values."""
        return [
            (series["metric"], [(float(at), float(value)) for at, value in series["values"]])
            for series in self._get(
                "query_range", query=expression, start=str(time.time() - seconds), end=str(time.time()), step=str(step)
            )["result"]
        ]

    def alerts(self) -> list[dict[str, Any]]:
        """Those that fire, or are about to."""
        result: list[dict[str, Any]] = self._get("alerts")["alerts"]
        return result

    def targets(self) -> list[dict[str, Any]]:
        """What it scrapes."""
        result: list[dict[str, Any]] = self._get("targets", state="active")["activeTargets"]
        return result

    def wait_for(self, expression: str, value: float, seconds: float = 60.0) -> None:
        """Wait until a query has a value."""
        end, found = time.monotonic() + seconds, None
        while (found := self.value(expression)) != value:
            assert time.monotonic() < end, f"{expression} is {found}, not {value}: {self.targets()}"
            time.sleep(0.5)

    def _get(self, what: str, **parameters: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]


def local_config(token: Path, dashboard: str) -> dict[str, Any]:
    """The project's own for one machine, for a dashboard at this address, and quicker; `token` is the file that has it."""
    content: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.local.yaml").read_text())
    content["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    content["rule_files"] = [str(FOLDER / "rules.yaml")]
    (job,) = content["scrape_configs"]
    (discovery,) = job["http_sd_configs"]
    discovery |= {"url": f"{dashboard}/api/prometheus/sd", "refresh_interval": "1s"}
    discovery["authorization"]["credentials_file"] = str(token)
    return content


@contextmanager
def prometheus(config: dict[str, Any], folder: Path) -> Iterator[Prometheus]:
    """One with this configuration and its data in `folder`, until the end of the block."""
    if shutil.which("prometheus") is None:
        pytest.fail("these tests need Prometheus: apt-get install prometheus")
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    log = folder / "prometheus.log"
    command = ["prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    command.append(f"--web.listen-address=127.0.0.1:{port}")
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            end = time.monotonic() + 30
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5):
                        break
                except OSError:
                    assert process.poll() is None and time.monotonic() < end, log.read_text()
                    time.sleep(0.1)
            yield Prometheus(port)
        finally:
            process.terminate()

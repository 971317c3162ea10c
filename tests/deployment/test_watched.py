"""A real search as a real Prometheus sees it, by the files of deploy/monitoring: `make test-monitoring`."""

from __future__ import annotations

import json
import os
import re
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.monitoring import panel_queries
from tests.support.processes import Machine, free_port
from tests.support.prometheus import Prometheus, local_config, prometheus
from tictactoe.experiment import journal
from tictactoe.experiment import status as statuses
from tictactoe.experiment import summary as summaries
from tictactoe.experiment.summary import Summary
from tictactoe.tuning.metrics import COUNTERS, GAUGES

ALL_SECONDS = 480.0
"""That a test may take."""
pytestmark = [pytest.mark.monitoring, pytest.mark.timeout(ALL_SECONDS)]
SEARCH = ("--num-samples", "1500", "--seeds", "640", "--games", "100000", "--num-cpus", "2", "--name", "ray-metrics", "--hold")
"""A race that takes some 50 s on fast cores: it is killed after a scrape that has all of it, which comes after some 20 s."""
LONG = ("--scheduler", "none", "--num-samples", "4", "--seeds", "8", "--games", "10000000")
"""Trials that are long enough for their states to be saved."""
RAYS_OWN_SECONDS = 15.0
"""From when the search sets a metric until a scrape has it: Ray passes them on every ten seconds."""


def get(url: str, token: str | None = None) -> str:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.read().decode())


def ours(name: str) -> str:
    return "ray_tictactoe_" + name


def holding(secret: str, *folders: Path) -> Iterator[Path]:
    """The files that have a secret in them."""
    names = (Path(place, name) for folder in folders for place, _, names in os.walk(folder) for name in names)
    for file in filter(Path.is_file, names):
        with suppress(FileNotFoundError):  # one that has gone meanwhile
            if secret.encode() in file.read_bytes():
                yield file


def seconds_cut(folder: Path) -> float:
    """Slots' seconds in trials that a kill has cut: the last status knows of them, the journal does not."""
    last, ended = statuses.read(folder), journal.read_rounds(folder)[0]
    assert last is not None
    return max(0.0, last.trial_s - sum(record.seconds for record in ended))


def require_what_summary_says(there: Prometheus, summary: Summary, folder: Path, cut_s: float) -> None:
    """And what the journal says; `cut_s` are the slots' seconds in trials that it does not know of."""
    cost, confirmed = summary.cost, summary.best.confirmed
    records = journal.read_rounds(folder)[0]
    best = min(records, key=lambda record: record.rank)  # of the search, before its finalists raced
    expected = {
        'games_total{stage="search"}': cost.games,
        'games_total{stage="fresh"}': confirmed.games + sum(one.seeds for one in summary.selection.finalists)
        * summary.settings.games,
        'trials{state="finished"}': sum(one.trials for one in summary.rounds),
        'trials{state="failed"}': summary.num_errors,
        'trials{state="waiting"}': 0,
        'trials{state="running"}': 0,
        'phase{phase="held"}': 1,
        'phase{phase="search"}': 0,
        "best_par10_games": best.par10,
        "best_geometric_mean_games": best.geometric_mean,
        "best_solved_ratio": best.solved / len(best.games_to_optimal),
        'retries_total{reason="node"}': 0,
        "nodes_lost_total": 0,
        "slots": 2,
        "nodes": 1,
        "wandb_backlog": 0,
    }  # fmt: skip
    for name, value in expected.items():
        assert there.value(ours(name)) == pytest.approx(value), name
    fresh_cpu_s = summary.selection.learner_cpu_s + confirmed.learner_cpu_s
    for stage, seconds in (("search", cost.learner_cpu_s), ("fresh", fresh_cpu_s)):
        assert there.value(ours(f'learner_cpu_seconds_total{{stage="{stage}"}}')) == pytest.approx(seconds)
    busy = sum(record.seconds for record in records) + cut_s
    assert there.value(ours("trial_seconds_total")) == pytest.approx(busy, rel=0.05)
    slot_s, learned = there.value(ours("slot_seconds_total")), sum(record.attempt_cpu_s for record in records)
    assert slot_s is not None and learned / (slot_s - cut_s) == pytest.approx(cost.learner_share, rel=0.1)


def test_a_search_that_is_killed_and_goes_on_as_prometheus_sees_it(tmp_path: Path) -> None:
    token, key, port, metrics_port = secrets.token_hex(32), secrets.token_hex(20), free_port(), free_port()
    (tmp_path / "token").write_text(token)
    options = (*SEARCH, "--results-dir", str(tmp_path), "--dashboard-port", str(port), "--metrics-port", str(metrics_port))
    dashboard, folder = f"http://127.0.0.1:{port}", tmp_path / "ray-metrics"
    secretly = {"WANDB_API_KEY": key, "WANDB_MODE": "offline"}
    searches = [Machine(tmp_path, token, *options, **secretly)]
    try:
        with prometheus(local_config(tmp_path / "token", dashboard), tmp_path) as there:
            there.wait_for(f"max({ours('slots')})", 2)
            with pytest.raises(urllib.error.HTTPError, match="401"):
                get(f"{dashboard}/api/prometheus/sd")
            (found,) = json.loads(get(f"{dashboard}/api/prometheus/sd", token))
            assert f"127.0.0.1:{metrics_port}" in found["targets"]
            before = statuses.read(folder)
            assert before is not None and before.phase == "search"
            there.wait_for(f"count({ours('time_left_seconds')})", 1)
            searches[0].kill()
            searches[0].leaves_nothing(15.0)
            cut_s = seconds_cut(folder)
            searches.append(Machine(tmp_path, token, *options, **secretly))
            there.wait_for(ours('phase{phase="held"}'), 1, 300.0)
            time.sleep(RAYS_OWN_SECONDS)
            summary = summaries.read(folder)
            assert isinstance(summary, Summary)
            there.wait_for("min(up)", 1)
            require_what_summary_says(there, summary, folder, cut_s)
            for name in COUNTERS:
                for values in there.range(f"{ours(name)}_total", ALL_SECONDS):
                    assert values == sorted(values), name
                if name != "retries":  # which are of one start
                    for values in there.range(f"max by (stage) ({ours(name)}_total)", ALL_SECONDS):
                        assert values == sorted(values), name
            there.wait_for("min(up)", 1)
            there_now = {one["metric"]["__name__"] for one in there.query('{__name__=~"ray_tictactoe_.+"}')}
            known = {ours(name) for name in GAUGES} | {ours(f"{name}_total") for name in COUNTERS}
            assert known - there_now == {ours("time_left_seconds")}  # all is done
            for title, query in panel_queries("ray-metrics"):
                has_data = there.range(query, ALL_SECONDS) != []
                assert has_data or title == "Alerts", f"{title}: {query}"  # there are none, as it is well
            assert [alert for alert in there.alerts() if alert["state"] == "firing"] == []
            text = get(f"http://127.0.0.1:{metrics_port}/metrics")
            assert "ray_tictactoe_slots" in text and token not in text and key not in text
            assert not re.search(r"(?i)token|secret|api_key", text.replace("RAY_AUTH_TOKEN", ""))
            # Results, Prometheus' data and logs, and the temporary files, where Ray's logs and what the search said are.
            places = (tmp_path, *(search.temporary for search in searches))
            assert all(list(holding("ray-metrics", place)) for place in places)
            assert list(holding(token, *places)) == [tmp_path / "token"]
            assert list(holding(key, *places)) == []
    finally:
        for search in searches:
            search.kill()
            search.left(15.0)
            search.remove()


def test_a_node_that_is_lost_as_prometheus_sees_it(tmp_path: Path) -> None:
    """Its own metrics are found, and its loss calls somebody."""
    token, dashboard, cluster, *ports = secrets.token_hex(32), *(free_port() for _ in range(4))
    (tmp_path / "token").write_text(token)
    here = ("--node-address", "127.0.0.1")
    machines = [
        Machine(
            tmp_path, token, *LONG, *here, "--cluster", "--num-cpus", "0", "--results-dir", str(tmp_path), "--dashboard-port",
            str(dashboard), "--cluster-port", str(cluster), "--metrics-port", str(ports[0]),
        ),
        Machine(
            tmp_path, token, "worker", f"127.0.0.1:{cluster}", *here, "--num-cpus", "1", "--metrics-port", str(ports[1])
        ),
    ]  # fmt: skip
    try:
        with prometheus(local_config(tmp_path / "token", f"http://127.0.0.1:{dashboard}"), tmp_path) as there:
            there.wait_for(f"sum({ours('state_sent_bytes_total')}) > bool 0", 1, 180.0)
            assert {target["labels"]["instance"] for target in there.targets()} == {f"127.0.0.1:{port}" for port in ports}
            there.wait_for(f"max({ours('nodes')})", 1)
            machines[1].power_off()
            there.wait_for(f"max({ours('nodes_lost_total')})", 1)
            there.wait_for('count(ALERTS{alertname="SearchNodeLost", alertstate="firing"})', 1)
    finally:
        for machine in machines:
            machine.kill()
            machine.left(15.0)
            machine.remove()

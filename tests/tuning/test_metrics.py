"""What is exported of a search. What Prometheus makes of it is in tests/deployment/test_watched.py."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import records as made
from tests.support.monitoring import EXPORTED, NODE_COUNTERS
from tictactoe.experiment import journal as journals
from tictactoe.experiment import status as statuses
from tictactoe.experiment.tally import Tally
from tictactoe.tuning import metrics
from tictactoe.tuning.metrics import Metrics, published, samples


def tally(folder: Path) -> Tally:
    result = Tally(made.settings(num_samples=3, seeds=2, games=made.BUDGET, scheduler="none"), folder)
    result.search_started(made.standing())
    result.slots_changed(2)
    result.trial_finished(made.record(0, (400, None)))
    result.trial_retried(1, "node")
    return result


def values(folder: Path) -> dict[tuple[str, ...], float]:
    return {(name, *labels.values()): value for name, labels, value in samples(tally(folder).status())}


def test_each_metric_has_its_value(tmp_path: Path) -> None:
    found = values(tmp_path)
    assert {name for name, *_ in found} == {*metrics.GAUGES, *metrics.COUNTERS} - {"time_left_seconds"}
    assert [found["phase", phase] for phase in ("search", "finalists", "results", "held")] == [1, 0, 0, 0]
    assert [found["trials", state] for state in ("waiting", "running", "finished", "failed")] == [2, 0, 1, 0]
    assert [found["retries", cause] for cause in ("node", "memory", "timeout", "process")] == [1, 0, 0, 0]
    assert found["best_solved_ratio",] == 0.5
    assert found["best_par10_games",] == (400 + 10 * made.BUDGET) / 2
    assert found["games", "search"] == 20_000 and found["games", "fresh"] == 0


def test_the_time_left_is_there_once_it_is_known(tmp_path: Path) -> None:
    watched = tally(tmp_path)
    watched.seconds_left = lambda: 12.5
    assert ("time_left_seconds", {}, 12.5) in list(samples(watched.status()))
    watched.enter("results")
    assert "time_left_seconds" not in {name for name, *_ in samples(watched.status())}


def test_names_follow_the_conventions_of_prometheus() -> None:
    for name in (*metrics.GAUGES, *metrics.COUNTERS, *NODE_COUNTERS):
        assert not name.endswith(("_total", "_ms", "_percent", "_mib"))
    assert not {*metrics.GAUGES} & {*metrics.COUNTERS}


class Recorder:
    """In the place of one of Ray's metrics, which would need a Ray: keeps what it is given."""

    def __init__(self, name: str, about: str, keys: tuple[str, ...]) -> None:
        assert about and name.startswith("tictactoe_") and keys[0] == "search"
        self.given: list[tuple[float, dict[str, str]]] = []

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.given.append((value, tags))

    _record = set


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("Gauge", "Counter"):
        monkeypatch.setattr(metrics, kind, type(kind, (Recorder,), {}))


@pytest.mark.usefixtures("without_ray")
def test_counters_begin_at_what_they_are_and_are_told_what_is_new() -> None:
    exported: Any = Metrics("mine")
    for value in (0, 0, 40, 40, 65):
        exported.set([("games", {"stage": "search"}, value), ("nodes_lost", {}, 3), ("slots", {}, value)])
    games = exported._metrics["games"].given
    assert games == [(more, {"search": "mine", "stage": "search"}) for more in (0, 40, 25)]
    assert exported._metrics["nodes_lost"].given == [(3, {"search": "mine"})]
    assert [value for value, _ in exported._metrics["slots"].given] == [0, 0, 40, 40, 65]


@pytest.mark.usefixtures("without_ray")
def test_a_next_start_begins_where_what_ray_has_added_up_ends() -> None:
    """Also where fractions add up to a little more."""
    seconds = [7.1, 23.7, 32.9, 33.3]
    first: Any = Metrics("mine")
    for value in seconds:
        first.set([("trial_seconds", {}, value)])
    next_one: Any = Metrics("mine")
    next_one.set([("trial_seconds", {}, seconds[-1])])
    ((begin, _),) = next_one._metrics["trial_seconds"].given
    added = 0.0
    for more, _ in first._metrics["trial_seconds"].given:
        added += more
    assert begin == added == pytest.approx(seconds[-1])


def test_the_status_is_written_again_and_again_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "PUBLISH_SECONDS", 0.01)
    watched, seen = tally(tmp_path), set[float]()
    with published(watched, tmp_path, as_metrics=False):
        while len(seen) < 3:
            if status := statuses.read(tmp_path):
                seen.add(status.at)
        watched.trial_finished(made.record(1))
    last = statuses.read(tmp_path)
    assert last is not None and last.trials.finished == 2


@pytest.mark.usefixtures("without_ray")
def test_nothing_is_told_before_earlier_starts_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To Prometheus, what comes after a nought is new."""
    monkeypatch.setattr(metrics, "PUBLISH_SECONDS", 0.01)
    journals.nodes(tmp_path).append(made.node_event(), made.node_event(1, event="lost"))
    watched = Tally(made.settings(num_samples=3, seeds=2, games=made.BUDGET, scheduler="none"), tmp_path)
    exported: list[Any] = []
    monkeypatch.setattr(Metrics, "set", lambda self, values: exported.extend(values))
    with published(watched, tmp_path, as_metrics=True):
        time.sleep(0.1)
        assert exported == [] and statuses.read(tmp_path) is None
        watched.search_started(made.standing([made.record(0)], [made.failure(1)]))
    assert {value for name, _, value in exported if name == "nodes_lost"} == {1}
    assert {value for name, labels, value in exported if (name, *labels.values()) == ("games", "search")} == {20_000}
    assert {value for name, labels, value in exported if (name, *labels.values()) == ("trials", "failed")} == {1}


def test_a_folder_that_is_gone_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "PUBLISH_SECONDS", 0.01)
    folder = tmp_path / "mine"
    folder.mkdir()
    with published(tally(folder), folder, as_metrics=False):
        while not (folder / statuses.FILE).exists():
            time.sleep(0.01)
        folder.rename(tmp_path / "away")
        time.sleep(0.1)
    assert not folder.exists()


def test_tests_of_rules_and_board_know_all_of_them() -> None:
    names = [*metrics.GAUGES, *(f"{name}_total" for name in (*metrics.COUNTERS, *NODE_COUNTERS))]
    assert sorted(EXPORTED) == sorted(f"ray_{metrics.PREFIX}{name}" for name in names)

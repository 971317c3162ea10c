"""Nodes of a real Ray that it lists as alive: one is about to leave, and refuses what is to begin there; one has just died."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import _raylet
from ray._private.state import available_resources_per_node
from ray.cluster_utils import Cluster

from tests.support import records as made
from tictactoe.core.seeds import Stream
from tictactoe.experiment.observer import Observer
from tictactoe.experiment.record import Cause
from tictactoe.process.interrupt import Interrupt
from tictactoe.settings import Settings
from tictactoe.tuning.nodes import Node, Nodes
from tictactoe.tuning.replays import Replays
from tictactoe.tuning.states import on

pytestmark = pytest.mark.slow
PREEMPTION = 2
"""Ray's number of a reason to leave, with which it waits for nothing."""


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=2)
        ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def keep_busy(begun: Path) -> None:
    """Keeps its node from leaving at once.

    It is no actor: in the second Ray of one process, Ray ended that as one that nobody refers to.
    """
    begun.touch()
    time.sleep(600)


def drain(cluster: Cluster, node: Node) -> None:
    """As SIGTERM does it to a node."""
    gcs: Any = vars(_raylet)["GcsClient"](address=cluster.address)
    accepted, why = gcs.drain_node(node.id, PREEMPTION, "it leaves", int((time.time() + 60) * 1000))
    assert accepted, why


def two_of(settings: Settings, say: Callable[[str], None]) -> tuple[Nodes, Node]:
    """Both nodes, once they are known, and the one that is not the driver's."""
    nodes = Nodes(settings, None, say)
    while not nodes.remote:
        nodes.update()
        time.sleep(0.1)
    (other,) = [node for node in nodes._nodes.values() if node.id != nodes.home]
    return nodes, other


def test_what_a_leaving_node_refuses_is_run_elsewhere(two_nodes: Cluster, tmp_path: Path) -> None:
    said, settings = list[str](), made.settings(num_samples=64, seeds=1, games=2_000_000)
    nodes, other = two_of(settings, said.append)
    replays = Replays(settings, Interrupt(), tmp_path, nodes, said.append)
    replays._warm = True
    task: Any = ray.remote(keep_busy).options(num_cpus=1, scheduling_strategy=on(other.id))
    busy = task.remote(tmp_path / "begun")
    while not (tmp_path / "begun").exists():
        time.sleep(0.1)
    drain(two_nodes, other)
    (games,) = replays.run(Stream.FRESH, [made.record(5)], 0, 4) or [()]
    assert len(games) == 4
    assert other in nodes and other.avoided_until > time.monotonic()

    late = Nodes(settings, None, said.append)  # it has not asked that node for its code yet
    end = time.monotonic() + 30
    while not late._ask_at and time.monotonic() < end:
        late.update()
        time.sleep(0.1)
    assert late.slots == 1 and not late._without
    assert not ray.wait([busy], timeout=0)[0]
    assert "node asked again for its code: " in said[-1] and "not schedulable" in said[-1]


class Retried(Observer):
    """Why something was run again."""

    def __init__(self) -> None:
        self.causes = list[Cause]()

    def trial_retried(self, index: int, cause: Cause) -> None:
        self.causes.append(cause)


def test_what_a_killed_node_loses_is_the_nodes_fault(two_nodes: Cluster, tmp_path: Path) -> None:
    """Its tasks are lost before Ray lists it as dead."""
    said, retried, settings = list[str](), Retried(), made.settings(num_samples=64, seeds=1, games=20_000_000)
    nodes, other = two_of(settings, said.append)
    replays = Replays(settings, Interrupt(), tmp_path, nodes, said.append, [retried])

    def kill_when_busy() -> None:
        while available_resources_per_node()[other.id].get("CPU", 0.0) > 0:
            time.sleep(0.1)
        (raylet,) = [node for node in two_nodes.worker_nodes if node.node_id == other.id]
        two_nodes.remove_node(raylet, allow_graceful=False)

    replays._warm = True
    killer = threading.Thread(target=kill_when_busy, daemon=True)
    killer.start()
    with nodes:
        (games,) = replays.run(Stream.FRESH, [made.record(5)], 0, 3) or [()]
        killer.join()
        end = time.monotonic() + 60  # by its own health checks Ray takes a quarter of a minute
        while other in nodes:
            assert time.monotonic() < end
            nodes.update()
            time.sleep(0.1)
    assert len(games) == 3
    assert retried.causes == ["node", "node"]
    (line,) = [line for line in said if line.startswith("node lost: ")]
    assert line.endswith(", 2 trials are run again, 1 slot now")

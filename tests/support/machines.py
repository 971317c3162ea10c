"""A search of several machines: containers on a network of their own, which share no volume."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support.containers import docker, state
from tictactoe.experiment import journal
from tictactoe.experiment.record import NodeEvent, Record

OF_A_HEAD = ("--cpus", "1", "--memory", "1280m", "--memory-swap", "1280m")
OF_A_WORKER = ("--cpus", "1", "--memory", "832m", "--memory-swap", "832m")
NAME = "several"
"""Of the search."""
T = TypeVar("T")


class Machines:
    """A head, which the others know as "head", and workers, which join it. `folder` is for copies of the search's results."""

    def __init__(self, image: str, search: tuple[str, ...], name: str, folder: Path) -> None:
        self._image, self._name, self._folder = image, name, folder
        self._token = uuid.uuid4().hex
        self._number = 0
        command = ("--name", NAME, "--no-hold", *search)
        as_head = ("--network-alias", "head", "--volume", f"{name}:/results", "--env", "TICTACTOE_CLUSTER=true")
        self.head = self._start(*OF_A_HEAD, *as_head, command=command)

    def start_worker(self) -> str:
        """A container that joins the head."""
        return self._start(*OF_A_WORKER, command=("worker", "head"))

    def disconnect(self, container: str) -> float:
        """Cut a container off the network, as if its cable were pulled. Returns the moment before, as `time.time` gives it."""
        began = time.time()
        docker("network", "disconnect", self._name, container)
        return began

    def pause(self, container: str) -> float:
        """Have a container fall silent. Returns the moment before, as `time.time` gives it.

        The engine gives up where the container's processes are waiting for CPU time just then, and is asked again.
        """

        def paused_at() -> float | None:
            began = time.time()
            return began if docker("pause", container, check=False) else None

        return until(paused_at, lambda: f"{container} cannot be paused")

    def connect(self, container: str) -> None:
        """Put it back on."""
        docker("network", "connect", self._name, container)

    def wait_until_at_work(self, *workers: str, joined: int = 1) -> None:
        """Wait until each of these has joined that often in the head's attempt, and has finished a trial since then."""

        def at_work() -> bool:
            records, events = self.results()
            attempt = max((event.attempt for event in events), default=0)
            joins = [event for event in events if event.event == "joined" and event.attempt == attempt]
            for worker in workers:
                of_worker = [event for event in joins if event.node == address(worker)]
                if len(of_worker) < joined or first_start(of_worker[-1], records) is None:
                    return False
            return True

        until(
            at_work,
            lambda: f"{workers} are not at work: " + "".join(docker("logs", one)[-2000:] for one in (self.head, *workers)),
        )

    def seconds_until_at_work(self, worker: str) -> float:
        """From when a worker has joined for the first time until its first trial has begun."""
        self.wait_until_at_work(worker)
        records, events = self.results()
        joined = next(event for event in events if (event.event, event.node) == ("joined", address(worker)))
        began = first_start(joined, records)
        assert began is not None
        return began - joined.at_s

    def seconds_until_lost(self, node: str, since: float) -> float:
        """From a moment, as `time.time` gives it, until the head has said that a node was lost."""
        until(lambda: bool(self._losses(node, since)), lambda: f"{node} is not lost: {docker('logs', self.head)[-3000:]}")
        return self._losses(node, since)[0] - since

    def results(self) -> tuple[list[Record], list[NodeEvent]]:
        """The search's trials, as far as they have ended, and what has happened to its nodes."""
        docker("cp", f"{self.head}:/results/{NAME}", str(self._folder), check=False)  # not there before the first trial
        records, failures = journal.read_trials(self._folder / NAME)
        assert not failures
        return records, journal.nodes(self._folder / NAME).read()

    def _losses(self, node: str, since: float) -> list[float]:
        lines = (line.partition(" ") for line in docker("logs", "--timestamps", self.head).splitlines())
        losses = [datetime.fromisoformat(at).timestamp() for at, _, line in lines if line.startswith(f"node lost: {node}, ")]
        return [at for at in losses if at > since]

    def _start(self, *options: str, command: tuple[str, ...]) -> str:
        container = f"{self._name}-{self._number}"
        self._number += 1
        docker("run", "--detach", "--name", container, "--network", self._name, "--env", f"RAY_AUTH_TOKEN={self._token}",
               *options, self._image, "python", "/app/main.py", *command)  # fmt: skip
        return container


@contextmanager
def several_machines(image: str, search: tuple[str, ...], folder: Path) -> Iterator[Machines]:
    """A head that searches, with these options; whatever happens, nothing of it and of its workers is left."""
    name = f"ray-tune-test-{uuid.uuid4().hex[:8]}"
    docker("network", "create", name)
    try:
        yield Machines(image, search, name, folder)
    finally:
        for container in docker("ps", "--all", "--quiet", "--filter", f"name={name}-").split():
            docker("rm", "--force", "--volumes", container)
        docker("volume", "rm", "--force", name)
        docker("network", "rm", name)


def address(container: str) -> str:
    """A container's address on its only network."""
    networks = json.loads(docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", container))
    (network,) = networks.values()
    return str(network["IPAddress"])


def ended_at(container: str) -> float:
    """When a container ended, as `time.time` gives it."""
    return datetime.fromisoformat(state(container)["FinishedAt"]).timestamp()


def first_start(event: NodeEvent, records: list[Record]) -> float | None:
    """When the first trial since a node joined began there, of those that have ended."""
    there = [one.started_s for one in records if (one.node, one.attempt) == (event.node, event.attempt)]
    return min((at for at in there if at >= event.at_s), default=None)


def until(ask: Callable[[], T | None], why: Callable[[], str], seconds: float = 180.0) -> T:
    """Wait until something is so, or there; returns it. Else fail, and say why."""
    end = time.monotonic() + seconds
    while not (answer := ask()):
        if time.monotonic() > end:
            pytest.fail(why())
        time.sleep(0.5)
    return answer

"""Ray's tasks, played in this process."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import ray
from ray.exceptions import RayTaskError

from tests.support.nodes import address_of

HANGS = TimeoutError("for ever")
"""A fate: the task does not end."""


@dataclass(eq=False)
class Task:
    """A function on a node, by the node's address."""

    address: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    fate: Exception | None


class Tasks:
    """Stands where a module has `ray`. A task that is asked for its result runs then, unless its `fate` is an error."""

    exceptions = ray.exceptions

    def __init__(self) -> None:
        self.fate: Callable[[str], Exception | None] = lambda address: None
        """What becomes of a task that begins now on the node of an address."""
        self.begun: list[Task] = []

    def of(self, function: Callable[..., Any]) -> list[str]:
        """Where tasks of a function began, in that order."""
        return [task.address for task in self.begun if task.function is function]

    def remote(self, function: Callable[..., Any]) -> Any:
        def options(scheduling_strategy: Any, **others: Any) -> Any:
            address = address_of(scheduling_strategy.node_id)
            return SimpleNamespace(remote=lambda *arguments: self._begin(address, function, arguments))

        return SimpleNamespace(options=options)

    def _begin(self, address: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Task:
        self.begun.append(Task(address, function, arguments, self.fate(address)))
        return self.begun[-1]

    def wait(self, tasks: list[Task], timeout: float) -> tuple[list[Task], list[Task]]:
        ended = [task for task in tasks if task.fate is not HANGS]
        if not ended:
            time.sleep(timeout)
        return ended, [task for task in tasks if task.fate is HANGS]

    def get(self, task: Task) -> Any:
        if task.fate:
            raise task.fate
        try:
            return task.function(*task.arguments)
        except Exception as error:
            name = task.function.__name__
            raise RayTaskError(name, traceback.format_exc(), error, pid=1, ip=task.address).as_instanceof_cause() from error

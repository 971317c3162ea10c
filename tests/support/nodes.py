"""Nodes of a Ray that is but a list."""

from __future__ import annotations

from typing import Any

from tictactoe.process import code
from tictactoe.settings import Settings
from tictactoe.tuning.nodes import Nodes

HOME = "home"
"""Id of the driver's node."""


def entry(id: str, **resources: float) -> dict[str, Any]:
    """A living node, as `ray.nodes` lists it; its address is made from its id."""
    return {"NodeID": id, "Alive": True, "NodeManagerAddress": f"address of {id}", "Resources": resources}


class Listed(Nodes):
    """Nodes as they are `there`, by id: at first this one, with so many CPUs. They have its code unless `answers` differ."""

    def __init__(self, settings: Settings, cpus: float = 2.0, own_slots: int | None = None) -> None:
        self.there = {HOME: entry(HOME, CPU=cpus)}
        self.answers: dict[str, str | Exception | None] = {}
        """What nodes say of their code; None for nothing yet."""
        self.said: list[str] = []
        super().__init__(settings, own_slots, self.said.append, lambda: list(self.there.values()), HOME)

    def look(self) -> None:
        """A look at Ray's list, as the thread takes one, and what comes of it."""
        self._latest = self._list()
        self.update()

    def join(self, id: str, **resources: float) -> None:
        """A node appears."""
        self.there[id] = entry(id, **resources)
        self.look()

    def lose(self, id: str) -> None:
        """A node dies. Ray goes on listing it."""
        self.there[id]["Alive"] = False
        self.look()

    def _code(self, id: str) -> str | None:
        answer = self.answers.get(id, code.version())
        if isinstance(answer, Exception):
            raise answer
        return answer

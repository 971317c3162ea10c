"""Nodes of a Ray that is but a list."""

from __future__ import annotations

from typing import Any

from tictactoe.process import code
from tictactoe.settings import Settings
from tictactoe.tuning.nodes import Node, Nodes

HOME = "10.0.0.1"
"""Address of the driver's node."""


def id_of(address: str) -> str:
    """Ray's id of the node at an address."""
    return address.encode().hex().ljust(56, "0")


def address_of(id: str) -> str:
    """The address of the node of an id."""
    return bytes.fromhex(id).rstrip(b"\0").decode()


def entry(address: str, **resources: float) -> dict[str, Any]:
    """A living node, as `ray.nodes` lists it."""
    return {"NodeID": id_of(address), "Alive": True, "NodeManagerAddress": address, "Resources": resources}


class Listed(Nodes):
    """Nodes as they are `there`, by address: at first this one. They have its code unless `answers` say otherwise."""

    def __init__(self, settings: Settings, cpus: float = 2.0, own_slots: int | None = None, gpus: float = 0.0) -> None:
        self.there = {HOME: entry(HOME, CPU=cpus, GPU=gpus)}
        self.answers: dict[str, str | Exception | None] = {}
        """What nodes say of their code, by address; None for nothing yet."""
        self.asked: list[str] = []
        """Addresses of the nodes that were asked, once for each time."""
        self.said: list[str] = []
        super().__init__(settings, own_slots, self.said.append, lambda: list(self.there.values()), id_of(HOME))

    def look(self) -> None:
        """A look at Ray's list, as the thread takes one, and what comes of it."""
        self._latest = self._list()
        self.update()

    def join(self, address: str, **resources: float) -> None:
        """A node appears."""
        self.there[address] = entry(address, **resources)
        self.look()

    def lose(self, address: str) -> None:
        """A node dies. Ray goes on listing it."""
        self.there[address]["Alive"] = False
        self.look()

    def node(self, address: str) -> Node:
        """One that gets work."""
        return self._nodes[id_of(address)]

    def _code(self, id: str) -> str | None:
        address = address_of(id)
        self.asked.append(address)
        answer = self.answers.get(address, code.version())
        if isinstance(answer, Exception):
            raise answer
        return answer

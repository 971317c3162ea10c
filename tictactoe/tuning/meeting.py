"""What the head of a search and the workers that would join it tell each other first, in the key-value store of Ray's GCS."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import ray
from ray.experimental import internal_kv

from tictactoe.process import code
from tictactoe.settings import Settings
from tictactoe.tuning.gcs import Gcs, connected

NAMESPACE, HEAD, REFUSED = b"tictactoe", b"head", b"refused/"
SLOTS = "tictactoe_slots"
"""A resource of workers that have memory for fewer trials than CPUs: how many."""


@dataclass(frozen=True)
class Head:
    """A search that takes workers."""

    code: str
    """See `code.version`."""
    board: str
    seeds: int
    """A trial has at most so many replicates."""
    cpus_per_trial: float


def announce(settings: Settings) -> None:
    """Of the head, once its Ray is up: that workers may join now."""
    head = Head(code.version(), settings.board, settings.seeds, settings.cpus_per_trial)
    internal_kv._internal_kv_put(HEAD, json.dumps(asdict(head)), namespace=NAMESPACE)


def refusals() -> dict[str, str]:
    """Of the head: why workers have refused themselves since the last call, by their addresses."""
    found = {}
    for key in internal_kv._internal_kv_list(REFUSED, namespace=NAMESPACE):
        found[key.removeprefix(REFUSED).decode()] = (internal_kv._internal_kv_get(key, namespace=NAMESPACE) or b"").decode()
        internal_kv._internal_kv_del(key, namespace=NAMESPACE)
    return found


def give_up(nodes: Sequence[str]) -> None:
    """Of the head: have Ray take the nodes of these ids for dead. What lives of them hears of it, and may join anew."""
    with connected(ray.get_runtime_context().gcs_address) as there:
        for node in nodes:
            there.give_up(node)


def head(gcs: Gcs) -> Head | None:
    """Of a worker: the search at a GCS; None where it takes no workers, or not yet."""
    text = gcs.get(NAMESPACE, HEAD)
    if not text:
        return None
    found = json.loads(text)
    return Head(*(found.get(field.name) for field in fields(Head)))  # other code may say other things: its hash tells


def refuse(gcs: Gcs, address: str, why: str) -> None:
    """Of a worker at this address: have the head say why it does not join."""
    gcs.put(NAMESPACE, REFUSED + address.encode(), why.encode())

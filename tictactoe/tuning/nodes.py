"""The nodes of the Ray that is up, and the slots on them: who joins, who is lost, who is free for a trial."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import ray
from ray.exceptions import (
    ActorUnavailableError,
    ActorUnschedulableError,
    NodeDiedError,
    RayError,
    RayTaskError,
    TaskUnschedulableError,
)

from tictactoe.experiment.journal import Journal
from tictactoe.experiment.observer import Observer
from tictactoe.experiment.record import NodeEvent
from tictactoe.experiment.rounds import lags
from tictactoe.experiment.slots import slot_limit
from tictactoe.process import code, ray_address
from tictactoe.process.resources import shares
from tictactoe.settings import Settings
from tictactoe.text import count, reason
from tictactoe.tuning import growth, meeting
from tictactoe.tuning.states import on

LOOK_SECONDS = 1.0
"""Between two looks at Ray's list of nodes."""
CONNECT_SECONDS = 1.0
MISSES = 2
"""So often in a row nobody can be connected to at a node's address, and it is lost. Even a busy machine's kernel answers."""
AVOIDED_SECONDS = 25.0
"""So long nothing is started on a node that takes no work; by then Ray knows, as a rule, whether it is there."""
TAKES_NO_WORK = (ActorUnavailableError, ActorUnschedulableError, NodeDiedError, TaskUnschedulableError)
"""What Ray says of a node that does not answer, that is about to leave, or has just died: for a while it is listed as alive."""
WAITING_SECONDS = 60.0
"""So often a search without any node says that it waits for one; for the first time after a sixth of that."""


@dataclass(eq=False)
class Node:
    """A machine that runs trials."""

    id: str
    """Ray's."""
    address: str
    cpus: float
    slots: int
    """Trials that it has room for."""
    used: int = 0
    """Slots that processes hold."""
    lost: int = 0
    """Trials that were lost with it before Ray's list had it as dead."""
    avoided_until: float = 0.0
    """By the monotonic clock."""


class Nodes:
    """The nodes that this search may use, as they are by the last `update`.

    A node gets work once it is known to have the same code. `own_slots` is how many trials this machine has memory for, None
    for as many as its CPUs. A thread asks Ray for its list; everything else happens in the thread that calls.
    """

    def __init__(
        self,
        settings: Settings,
        own_slots: int | None,
        say: Callable[[str], None],
        listing: Callable[[], list[dict[str, Any]]] = ray.nodes,
        home: str | None = None,
    ) -> None:
        self.home = home or ray.get_runtime_context().get_node_id()
        """Id of the node that the driver is on."""
        self.running: Callable[[Node], int] = lambda node: 0
        """How many trials run on a node; said by who runs them."""
        self._settings, self._own_slots, self._say, self._list = settings, own_slots, say, listing
        self._cap = slot_limit(settings)
        self.is_short = False
        """Whether anybody wanted a slot where none was free, since an autoscaler was asked last."""
        most = min(self._cap, settings.lag) if lags(settings) else self._cap
        self._growth, self._asked_at, self._asking = growth.Growth(most), -math.inf, threading.Lock()
        self._nodes: dict[str, Node] = {}
        self._checks: dict[str, ray.ObjectRef[Any]] = {}
        """Of nodes that have been asked for their code."""
        self._ask_at: dict[str, float] = {}
        """When nodes are to be asked again whose check was lost, by the monotonic clock."""
        self._without: set[str] = set()
        """Nodes that have no slot or another code, and those that were lost: none of them comes back under its id."""
        self._refused: deque[tuple[str, str]] = deque()
        """Addresses of workers that have refused themselves, and why."""
        self._journal: Journal[NodeEvent] | None = None
        self._attempt, self._zero, self._lines = 0, time.monotonic(), 0
        self._observers: Sequence[Observer] = ()
        self._told = -1
        """Slots that the observers know of."""
        self._empty_since, self._said_at = time.monotonic(), -math.inf
        self._latest: list[dict[str, Any]] = listing()
        self._misses: Counter[str] = Counter()
        """Of nodes that could not be connected to the last time."""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.update()

    def __enter__(self) -> Nodes:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._thread.join(LOOK_SECONDS)
        if ray_address.existing():
            with suppress(Exception), self._asking:  # at its end Ray may have gone
                growth.ask(0, self._share)

    def __contains__(self, node: Node | None) -> bool:
        """Whether it is there."""
        return node is not None and node.id in self._nodes

    @property
    def slots(self) -> int:
        """Trials that can run at a time."""
        return min(sum(node.slots for node in list(self._nodes.values())), self._cap)

    @property
    def free(self) -> int:
        """Slots that nobody holds."""
        used = sum(node.used for node in self._nodes.values())
        return max(0, min(self.slots - used, sum(map(_free, self._nodes.values()))))

    @property
    def remote(self) -> bool:
        """Whether there are slots on other machines than this one."""
        return any(node.id != self.home for node in list(self._nodes.values()))

    def take(self) -> Node | None:
        """The node of a free slot, which is taken: of that with the most. None where all are."""
        if not self.free:
            self.is_short = True
            return None
        node = max(self._nodes.values(), key=_free)
        node.used += 1
        node.lost = 0  # it was there after all
        return node

    def give_back(self, node: Node) -> None:
        """A slot on the node is free again."""
        node.used -= 1

    def avoid(self, node: Node) -> None:
        """Offer no slot of a node for a while."""
        node.avoided_until = time.monotonic() + AVOIDED_SECONDS

    def is_lost(self, node: Node) -> bool:
        """Whether a node is there no longer, by a look at it now."""
        with suppress(Exception):  # as in `_watch`
            self._latest = self._list()
            self.update()
        return node not in self

    def is_at_fault(self, node: Node, error: Exception) -> bool:
        """Whether something was lost with its node, or refused by it; one that takes no work is offered no more for a while."""
        if self.is_lost(node):
            return True
        node.lost += isinstance(error, NodeDiedError)
        takes_none = isinstance(error, TAKES_NO_WORK)
        if takes_none:
            self.avoid(node)
        return takes_none

    def begin(self, journal: Journal[NodeEvent], attempt: int, zero: float, observers: Sequence[Observer]) -> None:
        """From now on changes are written, on the clock that began at the monotonic time `zero`, and told to observers."""
        self._journal, self._attempt, self._zero, self._observers = journal, attempt, zero, observers
        with suppress(OSError):  # what is wrong with the disk is for the journal of trials to say
            self._lines = max((entry.index + 1 for entry in journal.read()), default=0)
        for node in self._nodes.values():
            self._write("joined", node)
        self._tell()

    def update(self) -> None:
        """Take note of what has changed, and say it."""
        while self._refused:
            self._say("node refused: {}: {}".format(*self._refused.popleft()))
        latest = self._latest
        living = {entry["NodeID"]: entry for entry in latest if entry["Alive"]}
        for id in [id for id in self._nodes if id not in living]:
            self._lose(self._nodes.pop(id))
        for id in [id for id in self._checks if id not in living]:
            del self._checks[id]
        for id, entry in living.items():
            if id not in self._nodes and id not in self._without:
                self._look_at(id, entry)
        if self.slots != self._told:
            self._tell()
        self._wait()

    @property
    def _share(self) -> dict[str, float]:
        """What a trial has of Ray's resources."""
        share = {"CPU": self._settings.cpus_per_trial, "GPU": self._settings.gpus_per_trial}
        return {kind: amount for kind, amount in share.items() if amount}

    def _grow(self) -> None:
        """Now and then ask a Ray that grows by itself for slots. No process of ours waits there for a node, to be seen."""
        now = time.monotonic()
        if now - self._asked_at >= growth.STEP_SECONDS:
            self._asked_at = now
            wanted = self._growth.next(self.slots, self.is_short, growth.refused(), now)
            self.is_short = False
            with self._asking:
                if not self._stopped.is_set():  # Ray keeps the last request, which is that of the search's end
                    growth.ask(wanted, self._share)

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            with suppress(Exception):  # Ray has gone, which is for others to notice
                self._latest = self._list()
                if self._settings.cluster:
                    self._refused.extend(meeting.refusals().items())
                    self._give_up_silent()
                if ray_address.existing():
                    self._grow()

    def _give_up_silent(self) -> None:
        """Have Ray give up nodes whose machine has gone.

        By itself it waits for answers: up to 21 s where an address vanishes together with its machine, as a container's does.
        """
        others = [entry for entry in self._latest if entry["Alive"] and entry["NodeID"] != self.home]
        with ThreadPoolExecutor(max(1, len(others))) as looks:
            answered = list(looks.map(_answers, others))
        missed = [entry["NodeID"] for entry, there in zip(others, answered, strict=True) if not there]
        self._misses = Counter({id: self._misses[id] + 1 for id in missed})
        silent = [id for id, misses in self._misses.items() if misses >= MISSES]
        if silent:
            meeting.give_up(silent)
            self._latest = self._list()

    def _look_at(self, id: str, entry: dict[str, Any]) -> None:
        """Make a node that has appeared one of ours, unless it has no slot, or other code."""
        resources, address = entry["Resources"], entry["NodeManagerAddress"]
        slots = self._fit(id, resources)
        if not slots:
            self._without.add(id)
            return
        if id != self.home:
            if time.monotonic() < self._ask_at.get(id, -math.inf):
                return
            try:
                theirs = self._code(id)
            except RayTaskError as error:  # no such module, for one
                self._refuse(id, address, f"it could not be asked for its code ({reason(error, slice(-1, None))})")
                return
            except RayError as error:  # it is about to leave, or has gone, or the check's process has died
                if id not in self._ask_at:
                    self._say(f"node asked again for its code: {address}: {reason(error, slice(-1, None))}")
                self._ask_at[id] = time.monotonic() + LOOK_SECONDS
                return
            if theirs is None:
                return
            if theirs != code.version():
                self._refuse(id, address, f"it has other code or packages ({theirs}) than the head ({code.version()})")
                return
        node = self._nodes[id] = Node(id, address, resources.get("CPU", 0.0), slots)
        self._write("joined", node)
        if id != self.home:
            self._say(f"node joined: {address}, {node.cpus:g} CPU{'s' * (node.cpus != 1)}, {count(self.slots, 'slot')} now")

    def _code(self, id: str) -> str | None:
        """A node's code, None while it has not answered. Raises what Ray does where no answer comes."""
        if id not in self._checks:
            task = ray.remote(code.version).options(num_cpus=0, scheduling_strategy=on(id), max_retries=0)
            self._checks[id] = task.remote()
        if not ray.wait([self._checks[id]], timeout=0)[0]:
            return None
        return str(ray.get(self._checks.pop(id)))

    def _refuse(self, id: str, address: str, why: str) -> None:
        """Leave a node out, and say it."""
        self._without.add(id)
        self._say(f"node refused: {address}: {why}; use the same image or checkout")

    def _fit(self, id: str, resources: dict[str, float]) -> int:
        """How many trials a node has room for."""
        slots = shares(resources.get("CPU", 0.0), self._settings.cpus_per_trial)
        if self._settings.gpus_per_trial:
            slots = min(slots, shares(resources.get("GPU", 0.0), self._settings.gpus_per_trial))
        if id == self.home and self._own_slots is not None:
            slots = min(slots, self._own_slots)
        return min(slots, int(resources.get(meeting.SLOTS, slots)))

    def _lose(self, node: Node) -> None:
        self._without.add(node.id)
        again = self.running(node) + node.lost
        self._write("lost", node)
        text = f"{count(again, 'trial')} {'is' if again == 1 else 'are'} run again, " if again else ""
        self._say(f"node lost: {node.address}, {text}{count(self.slots, 'slot')} now")

    def _write(self, event: Literal["joined", "lost"], node: Node) -> None:
        if self._journal is None:
            return
        entry = NodeEvent(
            index=self._lines,
            attempt=self._attempt,
            at_s=max(0.0, time.monotonic() - self._zero),
            node=node.address,
            event=event,
            cpus=node.cpus,
            slots=node.slots,
        )
        self._lines += 1
        with suppress(OSError):  # as in `begin`
            self._journal.append(entry)
        for observer in self._observers:
            observer.node_changed(entry)

    def _tell(self) -> None:
        self._told = self.slots
        for observer in self._observers:
            observer.slots_changed(self.slots)

    def _wait(self) -> None:
        """Say now and then that no node is there."""
        now = time.monotonic()
        if self._nodes:
            self._empty_since = now
        elif now - self._empty_since > WAITING_SECONDS / 6 and now - self._said_at > WAITING_SECONDS:
            self._said_at = now
            wanted = f"{self._settings.cpus_per_trial:g} CPU{'s' * (self._settings.cpus_per_trial != 1)}"
            if self._settings.gpus_per_trial:
                wanted += f" and {self._settings.gpus_per_trial:g} GPU{'s' * (self._settings.gpus_per_trial != 1)}"
            self._say(f"waiting for a node with {wanted} for a trial")


def _answers(entry: dict[str, Any]) -> bool:
    """Whether somebody listens where a node of Ray's list is to be."""
    try:
        socket.create_connection((entry["NodeManagerAddress"], entry["NodeManagerPort"]), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _free(node: Node) -> int:
    """Slots of a node that can be had."""
    return 0 if time.monotonic() < node.avoided_until else node.slots - node.used

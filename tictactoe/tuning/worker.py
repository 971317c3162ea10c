"""`main.py worker HEAD`: this machine works for the search of another one, for as long as it is left to."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import grpc

from tictactoe.core.game import Board
from tictactoe.errors import UserError
from tictactoe.process import code, memory, node, processes, ray_address, reaper
from tictactoe.process.interrupt import Interrupt
from tictactoe.process.preflight import Preflight, inspect_worker
from tictactoe.process.resources import shares
from tictactoe.settings import Settings
from tictactoe.text import count
from tictactoe.tuning import cluster, gcs, logs, meeting
from tictactoe.tuning.meeting import Head

LOOK_SECONDS = 1.0
"""Between two looks at the head."""
SAY_SECONDS = 60.0
"""Between two lines that say what is waited for."""
PATIENCE_SECONDS = 60.0
"""What listens at the head's address and takes no workers may be a head that is still starting, for so long."""
LOST_SECONDS = 20.0
"""A head that does not answer for so long has gone."""
JOIN_SECONDS = 120.0
"""From the start of this machine's Ray until the head lists it as a node."""
STARTS = 3
"""So often in a row this machine's Ray may end before it has joined a head that answers."""
LEAVE_SECONDS = 3.0
"""What Ray's processes get to end by themselves."""
CLUSTER = "start the search with `main.py --cluster`"
T = TypeVar("T")


class Offer(NamedTuple):
    """What of this machine a search may use."""

    cpus: int
    slots: int | None
    """Trials that there is memory for; None where there is for as many as the CPUs take."""


class Absent(Exception):
    """There is no search to join, at the moment."""

    def __init__(self, why: str, remedy: str = "") -> None:
        super().__init__(why)
        self.remedy = remedy
        """What helps where it stays so; empty where time may."""


def run(settings: Settings, interrupt: Interrupt, say: Callable[[str], None]) -> int:
    """Work for the search at `settings.head` until a signal; returns the exit code.

    Raises UserError where this machine cannot do so, or where no search that it fits is there, RuntimeError where its Ray does
    not come up.
    """
    preflight = inspect_worker(settings)
    for note in preflight.notes:
        say(f"note: {note}")
    preflight.require()
    interrupt.exit_code, interrupt.words = 0, ""
    reaper.start(None)
    try:
        Worker(settings, preflight, interrupt, say).work()
    finally:
        processes.remove_temporary_folders()
    return 0


class Worker:
    """A node of the search at `settings.head`, again and again."""

    def __init__(self, settings: Settings, preflight: Preflight, interrupt: Interrupt, say: Callable[[str], None]) -> None:
        assert settings.head is not None
        self._target, self._cpus = settings.head, preflight.num_cpus
        self._metrics_port = preflight.metrics_port
        self._named = settings.node_address
        self._stopped, self._say = interrupt.event, say
        self._folder = processes.temporary_folders()[-1]
        self._looks = ThreadPoolExecutor(1)
        self._was_joined = False
        self._failures = 0
        """Of this machine's Ray, since it has joined last."""
        self._nodes, self._former = set[bytes](), set[bytes]()
        """Ids of the nodes that this machine has been, and of those before the Ray that runs, which the head may list still."""

    @property
    def _address(self) -> str:
        """This machine's; it may be another after a time without network."""
        return node.address(self._named)

    def work(self) -> None:
        """Wait for the head, be a node of it until it has gone, and so on; returns after a signal."""
        while offer := self._wait():
            self._say(f"joining the search at {self._target} as {self._address} with {count(offer.cpus, 'CPU')}")
            why = self._be_node(offer)
            if not self._stopped.is_set():
                self._say(why)
                self._stopped.wait(LOOK_SECONDS)
        self._say(f"left the search at {self._target}" if self._was_joined else "stopped")

    def _wait(self) -> Offer | None:
        """What to join with, once there is a search to join; None after a signal."""
        said, wrong_since = -math.inf, None
        while not self._stopped.is_set():
            now = time.monotonic()
            try:
                if offer := self._meanwhile(self._look):
                    return offer
            except Absent as absent:
                may_be_wrong = absent.remedy and not self._was_joined
                wrong_since = (wrong_since or now) if may_be_wrong else None
                if wrong_since is not None and now - wrong_since > PATIENCE_SECONDS:
                    raise UserError(f"HEAD {self._target}: {absent}; {absent.remedy}") from None
                if now - said >= SAY_SECONDS:
                    said = now
                    self._say(f"waiting for a search at {self._target}: {absent}")
            self._stopped.wait(LOOK_SECONDS)
        return None

    def _meanwhile(self, look: Callable[[], T]) -> T | None:
        """What a look at the head comes to; None after a signal, which does not wait for it."""
        looking = self._looks.submit(look)
        while not looking.done():
            if self._stopped.wait(0.02):
                return None
        return looking.result()

    def _look(self) -> Offer:
        """What to join with. Raises Absent where there is nothing to join yet, UserError where waiting is of no use."""
        host, _, port = self._target.rpartition(":")
        if why := ray_address.unreachable(host.strip("[]"), int(port)):
            raise Absent(f"nobody answers there ({why})")
        try:
            with gcs.connected(self._target, self._refuse) as there:
                head = meeting.head(there)
                if head is None:
                    raise Absent("the Ray there takes no workers", CLUSTER)
                try:
                    return self._fitting(head)
                except UserError as error:
                    self._refuse(there, str(error))
                    raise
        except gcs.Tokenless:
            raise UserError(f"HEAD {self._target}: that Ray was started without tokens; {CLUSTER}") from None
        except gcs.Unfit as unfit:
            raise UserError(f"HEAD {self._target}: {unfit}") from None
        except grpc.RpcError as error:
            name = error.code().name.lower()
            remedy = "name the machine where `main.py --cluster` runs, and its --cluster-port"
            raise Absent(f"what listens there does not answer as Ray does ({name})", remedy) from None

    def _refuse(self, there: gcs.Gcs, why: str) -> None:
        """Have the search's head say why this machine does not join; a Ray without a search hears nothing."""
        if meeting.head(there) is not None:
            meeting.refuse(there, self._address, why)

    def _fitting(self, head: Head) -> Offer:
        """What there is memory for. Raises UserError where this machine cannot run one trial, or not as the head."""
        if head.code != code.version():
            raise UserError(
                f"this worker's code is {code.version()}, the search's {head.code}: its sources differ, or the versions of "
                f"Python, {', '.join(code.PACKAGES)}; use the same image, or the same checkout and packages, for both"
            )
        if not (slots := shares(self._cpus, head.cpus_per_trial)):
            raise UserError(
                f"--num-cpus {self._cpus}: a trial of this search reserves {head.cpus_per_trial:g} CPUs; give as many"
            )
        room, need = memory.room(), memory.worker_need(Board.parse(head.board), head.seeds)
        fit = need.trials(room.mib)
        if not fit:
            raise UserError(
                f"memory {room}: a worker for {head.board} with {count(head.seeds, 'seed')} needs {need.of(1):,} MiB with one "
                "trial at a time; give it more, or the search fewer --seeds"
            )
        if fit >= slots:
            return Offer(self._cpus, None)
        self._say(f"note: memory for {count(fit, 'trial')} at a time instead of {slots}: {room}; each takes {need.trial:,.0f}")
        return Offer(min(self._cpus, math.ceil(fit * head.cpus_per_trial)), fit)

    def _command(self, offer: Offer) -> list[str]:
        """What starts this machine's part of Ray."""
        command = [sys.executable, "-m", "tictactoe.tuning.join", "start", "--block", f"--address={self._target}",
                   f"--node-ip-address={self._address}", f"--num-cpus={offer.cpus}", f"--temp-dir={self._folder / 'ray'}",
                   f"--object-store-memory={cluster.OBJECT_STORE_BYTES}", "--disable-usage-stats",
                   "--include-log-monitor=false"]  # fmt: skip
        if offer.slots is not None:  # CPUs are whole: their last one may have room for more trials than memory has
            command.append(f"--resources={json.dumps({meeting.SLOTS: offer.slots})}")
        if self._metrics_port:
            command.append(f"--metrics-export-port={self._metrics_port}")
        if (directory := cluster.plasma_directory()) is not None:
            command.append(f"--plasma-directory={directory}")
        return command

    def _be_node(self, offer: Offer) -> str:
        """Run this machine's part of Ray until it has ended, and leave nothing of it; returns why it has ended."""
        output, self._former = self._folder / "ray-start.out", {*self._nodes}
        with output.open("wb") as file:
            ray = subprocess.Popen(
                self._command(offer), stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=node.worker_variables(), cwd="/",
                start_new_session=True,  # so that Ctrl-C in the terminal does not reach it
            )  # fmt: skip
        try:
            return self._watch(ray, output)
        finally:
            ray.terminate()
            processes.end(processes.left_by(processes.temporary_folders()), LEAVE_SECONDS)
            processes.end(processes.left_by(processes.temporary_folders()), 0.0)  # what these have started meanwhile
            shutil.rmtree(self._folder / "ray", ignore_errors=True)

    def _watch(self, ray: subprocess.Popen[bytes], output: Path) -> str:
        """Why this machine is no node any more, or has not become one."""
        began = answered = time.monotonic()
        joined = False
        gone = f"the head at {self._target} has gone; waiting for it to come back"
        while not self._stopped.wait(LOOK_SECONDS):
            ended = ray.poll() is not None
            is_node = self._meanwhile(self._is_node)
            now = time.monotonic()
            if is_node is not None:
                answered = now
            elif ended or now - answered > LOST_SECONDS:
                return gone
            if ended:
                why = logs.last_words() or logs.cause(RuntimeError(output.read_text(errors="replace")))
                return self._failed(f"has ended: {why}")
            if is_node and not joined:
                joined, self._was_joined, self._failures = True, True, 0
                self._say("joined")
            elif joined and is_node is False:
                return "the search has given this node up; joining again"
            elif not joined and now - began > JOIN_SECONDS:
                return self._failed(f"has not joined in {JOIN_SECONDS:.0f} s: {logs.last_words()}")
        return ""

    def _failed(self, what: str) -> str:
        self._failures += 1
        if self._failures == STARTS:
            raise RuntimeError(f"this machine's Ray {what}, {STARTS} times in a row")
        return f"this machine's Ray {what}; joining again"

    def _is_node(self) -> bool | None:
        """Whether the head lists this machine's Ray as a node; None where it does not answer."""
        try:
            with gcs.connected(self._target) as there:
                living = there.living_nodes()
        except gcs.Unfit:  # another head
            return False
        except grpc.RpcError:
            return None
        own = {other.node_id for other in living if other.raylet_socket_name.startswith(f"{self._folder}/")}
        self._nodes |= own
        return bool(own - self._former)

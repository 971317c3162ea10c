"""A search on several machines that join it, leave and die at random times, until it is finished."""

from __future__ import annotations

import random
import re
import secrets
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.chaos import NAME, digest, undisturbed
from tests.support.processes import Machine, free_port
from tictactoe.experiment import journal

SEARCH = ("--num-samples", "64", "--seeds", "16", "--games", "500000")
"""A race of two rounds, with three looks at its finalists: 22 s of a core, as a worker takes ten to join."""
SEARCH_DIGEST = "sha256:b0b78841e0d31c30b890b4f867b298b1c703fb9d6a8949aa29f8ecd812ab9e76"
"""Of that search, however it is run."""
HERE = ("--node-address", "127.0.0.1", "--num-cpus", "1")
SHARES = {"join": 10, "stop": 3, "power off": 3, "raylet": 3, "head": 1}
"""What happens, and how often beside the others."""
GAP_S = (0.5, 8.0)
"""Between two of them."""
MOST_WORKERS = 3
OF_NODES = 4
"""So much sooner than a worker that has not joined yet, something happens to one that has."""
LEAVE_S = 5.0
"""What a worker gets to leave after SIGTERM."""
ROUND_S = 600.0
"""A search that is not finished by then will not be."""


class Worker(Machine):
    """A machine that joins a search."""

    def __init__(self, number: int, home: Path, token: str, *options: str) -> None:
        super().__init__(home, token, "worker", *options)
        self.number = number

    @property
    def is_node(self) -> bool:
        """Whether it knows itself joined; a Ray that ends thrice in a row before would be given up, rightly."""
        return self.said()[-1:] == ["joined"] and self.raylet() is not None

    def ask_to_leave(self) -> None:
        """Send SIGTERM, once it listens: until then any signal ends it as it ends any process."""
        while not self.said() and self.process.poll() is None:
            time.sleep(0.05)
        self.process.send_signal(signal.SIGTERM)


class Cluster:
    """A head, whose search is in the folder `home`, and the workers that are there."""

    def __init__(self, home: Path) -> None:
        self.done: list[str] = []
        """What was done, and after how many seconds."""
        self.wrong: list[str] = []
        """What workers did that they must not."""
        self._began = time.monotonic()
        self._home, self._token, self._port = home, secrets.token_hex(32), free_port()
        self.heads: list[Machine] = []
        self._all_workers: list[Worker] = []
        self._workers: list[Worker] = []
        """Those that are there."""
        self.start_head()

    def start_head(self) -> None:
        """Start the search, or go on with it."""
        search = ("--results-dir", str(self._home), "--name", NAME, *SEARCH)
        port = ("--cluster", "--cluster-port", str(self._port))
        self.heads.append(Machine(self._home, self._token, *search, *port, *HERE))

    def join(self) -> Worker:
        """Start one more worker."""
        worker = Worker(len(self._all_workers) + 1, self._home, self._token, f"127.0.0.1:{self._port}", *HERE)
        self._all_workers.append(worker)
        self._workers.append(worker)
        self._note("join", worker)
        return worker

    def disturb(self, chance: random.Random) -> None:
        """Do one thing of those that can be done."""
        for worker in [*self._workers]:
            if (code := worker.process.poll()) is not None:
                self._is_wrong(worker, f"ended by itself with {code}")
        on = {"stop": self._workers, "power off": self._workers, "raylet": [one for one in self._workers if one.is_node]}
        can = [kind for kind in SHARES if on.get(kind, kind == "head" or len(self._workers) < MOST_WORKERS)]
        (kind,) = chance.choices(can, [SHARES[kind] for kind in can])
        if kind == "join":
            self.join()
        elif kind == "head":
            self._note(kind)
            self.heads[-1].kill()
            self.start_head()
        else:
            (worker,) = chance.choices(on[kind], [OF_NODES if one.is_node else 1 for one in on[kind]])
            self._note(kind, worker)
            if kind == "stop":
                worker.ask_to_leave()
                self._wait_for(worker)
            elif kind == "power off":
                worker.power_off()
                self._workers.remove(worker)
            elif raylet := worker.raylet():
                raylet.kill()

    def stop(self) -> None:
        """Have all workers leave at once."""
        for worker in self._workers:
            worker.ask_to_leave()
        for worker in [*self._workers]:
            self._wait_for(worker)

    def left(self) -> int:
        """Processes, and folders for temporary files, that are still there 15 seconds after all have ended."""
        return sum(len(machine.left(15.0)) for machine in self._machines)

    def close(self) -> None:
        """End whatever is there."""
        for machine in self._machines:
            machine.kill()
        for machine in self._machines:
            machine.left(15.0)
            machine.remove()

    def output(self) -> str:
        """What all have said."""
        return "\n".join(f"{' '.join(machine.options)}\n{machine.output.read_text()}" for machine in self._machines)

    @property
    def _machines(self) -> list[Machine]:
        return [*self.heads, *self._all_workers]

    def _wait_for(self, worker: Worker) -> None:
        try:
            code = worker.process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self._is_wrong(worker, f"was there {LEAVE_S:g} s after SIGTERM")
        else:
            if code:
                self._is_wrong(worker, f"ended with {code} after SIGTERM")
            else:
                self._workers.remove(worker)

    def _is_wrong(self, worker: Worker, what: str) -> None:
        self.wrong.append(f"worker {worker.number} {what}")
        self._workers.remove(worker)

    def _note(self, kind: str, *workers: Worker) -> None:
        at = f"{time.monotonic() - self._began:.1f}"
        self.done.append(" ".join([at, kind, *(str(worker.number) for worker in workers)]))


def node_round(number: int, chance: random.Random) -> dict[str, Any]:
    """Disturb a search until it is finished, from when its first worker has joined."""
    with tempfile.TemporaryDirectory() as name:
        cluster = Cluster(Path(name))
        began = time.monotonic()
        try:
            try:
                cluster.join().says("joined")
            except AssertionError:
                print(cluster.output(), flush=True)  # that of the head says why
                raise
            code = None
            while code is None and time.monotonic() - began < ROUND_S:
                try:
                    code = cluster.heads[-1].process.wait(chance.uniform(*GAP_S))
                except subprocess.TimeoutExpired:
                    cluster.disturb(chance)
            seconds = time.monotonic() - began
            cluster.stop()
            events = journal.nodes(Path(name, NAME)).read()
            said = "\n".join(line for head in cluster.heads for line in head.said())
            row = {
                "round": number,
                "s": seconds,
                "done": ", ".join(cluster.done),
                "joined": sum(event.event == "joined" for event in events) - len({event.attempt for event in events}),
                "lost": sum(event.event == "lost" for event in events),
                "run again": sum(map(int, re.findall(r"^node lost: .*, (\d+) trials? (?:is|are) run", said, re.MULTILINE))),
                "exit": code,
                "wrong": ", ".join(cluster.wrong),
                "left behind": cluster.left(),
                "digest": digest(Path(name)),
            }
            if code or cluster.wrong or row["left behind"]:
                print(cluster.output(), flush=True)
            return row
        finally:
            cluster.close()


def node_chaos(rounds: int, seed: int) -> tuple[str, list[dict[str, Any]]]:
    """The digest of the same search, left alone on this machine, and a row for each round."""
    chance = random.Random(seed)
    expected, seconds = undisturbed(*SEARCH, "--num-cpus", "2")
    print(f"undisturbed: {seconds:.0f} s", flush=True)
    rows = []
    for number in range(1, rounds + 1):
        row = node_round(number, chance)
        rows.append(row)
        print(
            f"round {number} of {rounds}: {row['s']:.0f} s, {row['done']}; {row['joined']} joined, {row['lost']} lost, "
            f"exit {row['exit']}, {row['wrong'] or 'nothing wrong'}, same digest: {row['digest'] == expected}",
            flush=True,
        )
    return expected, rows

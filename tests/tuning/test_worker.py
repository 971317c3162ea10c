"""A worker: whom it joins, whom it refuses, how it waits, and that it leaves nothing. Only the last test starts Ray."""

from __future__ import annotations

import json
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import records as made
from tests.support.gcs import SAME, FakeGcs
from tests.support.nodes import Listed
from tests.support.processes import Machine, free_port
from tests.support.program import ROOT, clean_environment
from tictactoe.core.game import Board
from tictactoe.errors import UserError
from tictactoe.process import code, memory, processes
from tictactoe.process.interrupt import Interrupt
from tictactoe.process.memory import Room
from tictactoe.process.preflight import Preflight
from tictactoe.process.resources import shares
from tictactoe.settings import load
from tictactoe.tuning import gcs as real
from tictactoe.tuning import meeting, worker
from tictactoe.tuning.meeting import Head
from tictactoe.tuning.worker import Offer, Worker

HEAD = Head(code.version(), "3x3x3", 8, 1.0)
Start = Callable[..., FakeGcs]


def announced(server: FakeGcs, head: Head = HEAD) -> FakeGcs:
    server.values[meeting.NAMESPACE, meeting.HEAD] = json.dumps(asdict(head)).encode()
    return server


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Worker]:
    """A worker for the head at an address, with little patience and plenty of memory."""
    monkeypatch.setattr(processes, "_folders", [tmp_path])
    monkeypatch.setattr(worker, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(worker, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(memory, "room", lambda: Room(100_000, None))

    def start(address: str, cpus: int = 2, say: Callable[[str], None] = lambda line: None) -> Worker:
        return Worker(load(["worker", address, "--node-address", "127.0.0.1"], {}), Preflight(cpus, 0), Interrupt(), say)

    return start


def test_a_head_that_fits_is_joined(gcs: Start, make: Callable[..., Worker]) -> None:
    assert make(announced(gcs()).address)._wait() == Offer(2, None)


def test_other_code_is_refused_on_both_sides(gcs: Start, make: Callable[..., Worker]) -> None:
    server = gcs()
    server.values[meeting.NAMESPACE, meeting.HEAD] = b'{"code": "000000000000", "of another version": 1}'
    with pytest.raises(UserError, match=f"this worker's code is {HEAD.code}, the search's 0{{12}}: ") as refused:
        make(server.address)._wait()
    assert server.values[meeting.NAMESPACE, b"refused/127.0.0.1"].decode() == str(refused.value)


@pytest.mark.parametrize(
    ("metadata", "token", "part"),
    [
        (SAME, "another", "that Ray has another token; set RAY_AUTH_TOKEN"),
        (SAME, None, "started without tokens; start the search with `main.py --cluster`"),
        (SAME | {"ray_version": "2.9.0"}, "5e" * 32, "it runs with Ray 2.9.0"),
        (SAME | {"python_version": "3.8.1"}, "5e" * 32, "it runs with Python 3.8.1"),
    ],
)
def test_a_ray_that_does_not_fit_is_refused_at_once(
    gcs: Start, make: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch, metadata: dict[str, str], token: str, part: str
) -> None:
    monkeypatch.setattr(worker, "PATIENCE_SECONDS", 1e9)
    address = announced(gcs(metadata, token)).address
    with pytest.raises(UserError, match=f"^HEAD {address}: ") as refused:
        make(address)._wait()
    assert part in str(refused.value)


def test_a_head_is_told_of_a_worker_with_another_version_and_other_rays_are_not(
    gcs: Start, make: Callable[..., Worker]
) -> None:
    other, key = SAME | {"python_version": "3.8.1"}, (meeting.NAMESPACE, b"refused/127.0.0.1")
    for server, is_told in ((announced(gcs(other)), True), (gcs(other), False)):
        with pytest.raises(UserError, match="it runs with Python"):
            make(server.address)._wait()
        assert (key in server.values) is is_told
        assert not is_told or server.values[key].startswith(b"it runs with Python 3.8.1, this program with ")


def test_a_node_that_this_machine_was_before_is_not_the_one_that_it_is(gcs: Start, make: Callable[..., Worker]) -> None:
    """A head that was paused lists it for some seconds more."""
    server = announced(gcs())
    joining = make(server.address)
    socket = f"{joining._folder}/ray/session/sockets/raylet"
    assert joining._is_node() is False
    server.nodes.there[b"\x02" * 28] = socket
    assert joining._is_node() is True
    joining._former = {*joining._nodes}  # as with each start of this machine's Ray
    assert joining._is_node() is False
    server.nodes.there[b"\x03" * 28] = socket
    assert joining._is_node() is True


def test_a_ray_that_takes_no_workers_is_refused_when_it_stays_so(gcs: Start, make: Callable[..., Worker]) -> None:
    said: list[str] = []
    server = gcs()
    with pytest.raises(UserError, match=r"the Ray there takes no workers; start the search with `main\.py --cluster`$"):
        make(server.address, say=said.append)._wait()
    assert said == [f"waiting for a search at {server.address}: the Ray there takes no workers"]


def test_what_is_no_ray_is_refused_unless_it_has_been_one(make: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real, "CALL_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UserError, match="what listens there does not answer as Ray does"):
            make(address)._wait()
        patient = make(address)
        patient._was_joined = True  # a head whose process is stopped
        threading.Timer(1.0, patient._stopped.set).start()
        assert patient._wait() is None


def test_a_head_that_is_not_there_yet_is_waited_for_and_told_of_once_a_minute(gcs: Start, make: Callable[..., Worker]) -> None:
    said: list[str] = []
    waiting = make(f"127.0.0.1:{free_port()}")

    def say(line: str) -> None:
        said.append(line)
        waiting._target = announced(gcs()).address  # from now on there is one

    waiting._say = say
    first = waiting._target
    assert waiting._wait() == Offer(2, None)
    assert said == [f"waiting for a search at {first}: nobody answers there (Connection refused)"]
    assert worker.SAY_SECONDS == 60


def test_a_machine_with_too_little_for_a_trial(
    gcs: Start, make: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"^--num-cpus 2: a trial of this search reserves 4 CPUs; give as many$"):
        make(announced(gcs(), replace(HEAD, cpus_per_trial=4.0)).address)._wait()
    said: list[str] = []
    monkeypatch.setattr(memory, "room", lambda: Room(memory.WORKER_MIB + 2 * memory.TRIAL_MIB + 100, 900))
    assert make(announced(gcs()).address, cpus=8, say=said.append)._wait() == Offer(2, 2)
    assert len(said) == 1 and said[0].startswith("note: memory for 2 trials at a time instead of 8: limit 900 MiB")
    monkeypatch.setattr(memory, "room", lambda: Room(memory.WORKER_MIB, 900))
    server = announced(gcs())
    with pytest.raises(UserError, match=r"^memory limit 900 MiB.*: a worker for 3x3x3 with 8 seeds needs [\d,]+ MiB"):
        make(server.address)._wait()
    assert (meeting.NAMESPACE, b"refused/127.0.0.1") in server.values


@given(
    mib=st.integers(1, 3_000),
    cpus=st.integers(1, 16),
    each=st.sampled_from([0.01, 0.1, 0.25, 0.3, 0.5, 0.7, 1.0, 1.5, 3.0]),
    seeds=st.integers(1, 64),
)
def test_a_workers_slots_are_as_many_as_it_has_cpus_and_memory_for(mib: int, cpus: int, each: float, seeds: int) -> None:
    """Those that the head makes of what the worker's Ray is started with."""
    head, need = replace(HEAD, cpus_per_trial=each, seeds=seeds), memory.worker_need(Board.parse(HEAD.board), seeds)
    room, told = min(need.trials(mib), shares(cpus, each)), list[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "_folders", [Path("/nowhere")])
        patch.setattr(memory, "room", lambda: Room(mib, None))
        settings = load(["worker", "192.0.2.1", "--node-address", "127.0.0.1"], {})
        joining = Worker(settings, Preflight(cpus, 0), Interrupt(), told.append)
        if not room:
            with pytest.raises(UserError):
                joining._fitting(head)
            return
        command = joining._command(joining._fitting(head))
    options = dict(part.removeprefix("--").split("=", 1) for part in command if part.startswith("--") and "=" in part)
    nodes = Listed(made.settings(num_samples=10_000, cpus_per_trial=each), cpus=0)
    nodes.join("10.0.0.2", CPU=float(options["num-cpus"]), **json.loads(options.get("resources", "{}")))
    assert nodes.slots == room and need.of(room) <= mib
    assert told == [] if room == shares(cpus, each) else told[0].startswith(f"note: memory for {room} trial")


def test_a_worker_without_token_is_one_line(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "worker", "127.0.0.1"],
        cwd=tmp_path, env=clean_environment(tmp_path), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert ran.stderr.startswith("error: RAY_AUTH_TOKEN is not set")
    assert not (tmp_path / ".ray").exists()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Starts one with these options; whatever still runs at the end is killed, and its reaper does the rest."""
    started: list[Machine] = []
    token = secrets.token_hex(32)

    def start(*options: str) -> Machine:
        started.append(Machine(tmp_path, token, *options))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.leaves_nothing(20.0)
        one.remove()


@pytest.mark.slow
def test_workers_join_leave_and_wait_for_a_head_that_comes_back(machine: Callable[..., Machine]) -> None:
    address = f"127.0.0.1:{free_port()}"
    here = ("--node-address", "127.0.0.1", "--num-cpus", "1")
    search = ("--num-samples", "2", "--seeds", "2", "--games", "5000", "--hold", "--cluster")
    head = (*search, "--cluster-port", address.rpartition(":")[2], *here)
    stays, dies = machine("worker", address, *here), machine("worker", address, *here)
    stays.says(f"waiting for a search at {address}: nobody answers there (Connection refused)")
    first = machine(*head)
    for one in (stays, dies):
        one.says(f"joining the search at {address} as 127.0.0.1 with 1 CPU")
        one.says("joined")
    dies.kill()
    dies.leaves_nothing(20.0)
    first.process.kill()
    stays.says(f"the head at {address} has gone; waiting for it to come back")
    machine(*head)
    stays.says("joined", times=2)
    stays.process.send_signal(signal.SIGTERM)
    assert stays.process.wait(timeout=5) == 0
    assert stays.output.read_text().endswith(f"\nleft the search at {address}\n")
    stays.leaves_nothing(5.0)  # its reaper looks around once more
    assert [*stays.temporary.iterdir()] == [stays.output]

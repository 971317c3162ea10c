"""A search of several containers in a real Docker engine: `make test-cluster`."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest

from tests.support.containers import docker, state, wait_for
from tests.support.machines import Machines, address, ended_at, several_machines, until
from tests.support.program import digest_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
SEARCH = ("--scheduler", "none", "--num-samples", "80", "--seeds", "240", "--games", "20000")
"""A search of trials of two or three seconds. When the last thing is done to it, half of them are finished: machines differ."""
DIGEST = "sha256:1f73d9643b8c2799afe7ce2d0202783798f360a0de60496f8bcbb777d8dee56e"
"""Of the same search in one container, left alone: `docker run --rm IMAGE python /app/main.py --no-hold` and these options."""
AT_WORK_S, LEFT_S, KILLED_S, SILENT_S = 10.0, 5.0, 5.0, 25.0
"""From joining to work, beside the head alone, since more machines than cores would share them; from SIGTERM to the end; from
being killed, or falling silent, until the head says that it is lost."""
PAUSED_S = 30.0


def ends_as_if_left_alone(machines: Machines, *workers: str) -> None:
    """The search goes on to its end; then its workers wait for another one, without any process of Ray's, until stopped."""
    assert docker("wait", machines.head).strip() == "0"
    assert digest_of(docker("logs", machines.head)) == DIGEST
    for worker in workers:
        until(partial(has_no_ray, worker), lambda: "".join(docker("logs", worker) for worker in workers))
        stop(worker)


def has_no_ray(worker: str) -> bool:
    return "raylet" not in docker("top", worker)


def stop(worker: str) -> None:
    began = time.monotonic()
    docker("stop", worker)
    assert time.monotonic() - began < LEFT_S
    assert state(worker)["ExitCode"] == 0


def test_workers_join_are_killed_and_stopped_and_outlive_their_head(image: str, tmp_path: Path) -> None:
    with several_machines(image, SEARCH, tmp_path) as machines:
        wait_for(machines.head, r"finished \[1/80\]")  # alone
        killed = machines.start_worker()
        assert machines.seconds_until_at_work(killed) < AT_WORK_S
        stopped = machines.start_worker()
        machines.wait_until_at_work(stopped)
        gone = address(killed)
        docker("kill", killed)
        assert machines.seconds_until_lost(gone, ended_at(killed)) < KILLED_S
        gone, now = address(stopped), time.time()
        stop(stopped)
        assert machines.seconds_until_lost(gone, now) < KILLED_S
        docker("start", killed, stopped)
        machines.wait_until_at_work(killed, stopped, joined=2)
        docker("kill", machines.head)
        wait_for(killed, "waiting for it to come back")
        docker("start", machines.head)
        wait_for(machines.head, r"of 80 trials are finished already")
        machines.wait_until_at_work(killed, stopped)
        ends_as_if_left_alone(machines, killed, stopped)


def test_workers_cut_off_or_paused_are_lost_and_come_back(image: str, tmp_path: Path) -> None:
    with several_machines(image, SEARCH, tmp_path) as machines:
        cut_off, paused = machines.start_worker(), machines.start_worker()
        machines.wait_until_at_work(cut_off, paused)
        addresses = (address(cut_off), address(paused))
        silent_at = (machines.disconnect(cut_off), machines.pause(paused))
        for gone, since in zip(addresses, silent_at, strict=True):
            assert machines.seconds_until_lost(gone, since) < SILENT_S
        time.sleep(max(0.0, silent_at[1] + PAUSED_S - time.time()))
        docker("unpause", paused)
        machines.connect(cut_off)
        machines.wait_until_at_work(cut_off, paused, joined=2)
        ends_as_if_left_alone(machines, cut_off, paused)

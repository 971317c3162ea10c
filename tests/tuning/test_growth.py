"""How a search makes a cluster grow, with the part of Ray's autoscaler that decides. Only the last test starts Ray."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.autoscaler import IDLE_SECONDS, Autoscaler
from tests.support.program import ROOT, clean_environment
from tests.support.running_ray import running_ray
from tictactoe.tuning.growth import MOST, RETRY_SECONDS, STEP_SECONDS, Growth

JOIN_STEPS = 6
"""A pod takes a minute."""
ONE = {"CPU": 1.0}
ASK = """
import time
import ray
from tictactoe.tuning import growth
ray.init(log_to_driver=False)
for slots, refused in ((1000, 1000), (2, None), (3, 3), (0, None)):
    growth.ask(slots, {"CPU": 1.0})
    end = time.monotonic() + 2 * growth.STEP_SECONDS
    while growth.refused() != refused and time.monotonic() < end:
        time.sleep(0.2)
    print(growth.refused(), end=" ")
"""


class Cluster:
    """A search's requests, and what an autoscaler makes of them. There is `work` for so many slots."""

    def __init__(self, autoscaler: Autoscaler, trials: int = 1024, slots_of_one: int = 1) -> None:
        self.autoscaler, self.growth = autoscaler, Growth(trials)
        self.work, self.slots_of_one = trials, slots_of_one
        self.steps = 0
        self.asked: list[int] = []
        self.ended = 0
        """Workers that the autoscaler has ended."""

    @property
    def slots(self) -> int:
        return self.autoscaler.there * self.slots_of_one

    def step(self, joins: bool | None = None) -> None:
        """One request, and what comes of it until the next. Pods join each minute, where `joins` does not say it."""
        is_short, now = self.work > self.slots, self.steps * STEP_SECONDS
        self.asked.append(self.growth.next(self.slots, is_short, self.autoscaler.refused, now))
        without = max(0, self.slots - self.work) // self.slots_of_one
        idle = dict.fromkeys(range(without), 2 * IDLE_SECONDS)
        for _ in range(2):
            self.ended += self.autoscaler.look(self.asked[-1], idle)
            idle = {}
        self.steps += 1
        if self.steps % JOIN_STEPS == 0 if joins is None else joins:
            self.autoscaler.join()


def test_an_autoscaler_takes_a_request_whole_or_not_at_all() -> None:
    """What all of this is for."""
    for asked, started in ((8, 7), (9, 0), (1024, 0)):
        autoscaler = Autoscaler(1, 8, ONE, CPU=1.0)
        autoscaler.there = 1
        autoscaler.look(asked)
        assert (autoscaler.coming, autoscaler.refused) == (started, None if started else asked)


@pytest.mark.parametrize("least", [0, 1])
def test_a_cluster_grows_to_its_bound_before_the_first_pod_is_up_and_stays_there(least: int) -> None:
    cluster = Cluster(Autoscaler(least, 8, ONE, CPU=1.0))
    cluster.autoscaler.there = least
    cluster.step(joins=False)
    assert cluster.autoscaler.coming == 1
    for _ in range(3):
        cluster.step(joins=False)
    assert cluster.autoscaler.there + cluster.autoscaler.coming >= 7
    for _ in range(4):
        cluster.step(joins=False)
    assert cluster.autoscaler.there + cluster.autoscaler.coming == 8
    cluster.autoscaler.join()
    for _ in range(8):
        cluster.step()
    assert (cluster.slots, cluster.ended, cluster.asked[-1], cluster.autoscaler.refused) == (8, 0, 8, None)


@hypothesis.settings(max_examples=20)
@given(least=st.integers(0, 3), most=st.integers(3, 16), slots=st.sampled_from([1, 2, 4]), trials=st.integers(1, 100))
def test_a_cluster_grows_as_far_as_it_may_and_is_needed(least: int, most: int, slots: int, trials: int) -> None:
    cluster = Cluster(Autoscaler(least, most, {"CPU": 1 / slots}, CPU=1.0), trials, slots)
    for _ in range(40):
        cluster.step()
    assert cluster.autoscaler.there == max(least, min(most, math.ceil(min(trials, MOST) / slots)))
    assert cluster.ended == 0
    assert sum(asked > most * slots for asked in cluster.asked) <= 3 + math.log2(most * slots)  # of these one is a later try


def test_a_search_without_more_work_lets_idle_workers_go() -> None:
    cluster = Cluster(Autoscaler(1, 8, ONE, CPU=1.0))
    for _ in range(20):
        cluster.step()
    assert cluster.slots == 8
    cluster.work = 3
    for _ in range(20):
        cluster.step()
    assert (cluster.slots, cluster.asked[-1]) == (3, 0)
    cluster.work = 1000  # the finalists, for one
    for _ in range(10):
        cluster.step()
    assert cluster.slots == 8


def test_a_bound_that_is_raised_is_found_and_one_that_is_lowered_too() -> None:
    cluster = Cluster(Autoscaler(1, 4, ONE, CPU=1.0))
    retry = int(RETRY_SECONDS / STEP_SECONDS)
    for most in (4, 20, 6):
        there, cluster.autoscaler = cluster.autoscaler.there, Autoscaler(1, most, ONE, CPU=1.0)
        cluster.autoscaler.there = min(there, most)  # the autoscaler ends what is too much at once
        before = len(cluster.asked)
        for _ in range(2 * retry):
            cluster.step()
        assert (cluster.slots, cluster.autoscaler.refused) == (most, None)
        assert sum(asked > most for asked in cluster.asked[before + retry :]) <= 2  # it tries one more slot now and then


def test_where_nothing_is_refused_as_of_old_all_is_asked_for() -> None:
    growth = Growth(1024)
    for step in range(12):
        asked = growth.next(8, True, None, step * STEP_SECONDS)
    assert asked == MOST == 1000


def test_a_refusal_that_comes_late_is_heeded() -> None:
    """A request was taken for one that fits, since the autoscaler was slow."""
    growth = Growth(64)
    asked = []
    for step, refused in enumerate((None, None, None, None, 9, 9, 8, 6, None, None)):
        asked.append(growth.next(3, True, refused, step * STEP_SECONDS))
    assert asked[:4] == [4, 6, 10, 18]
    assert asked[-1] == 5


@pytest.mark.slow
def test_a_running_rays_autoscaler_says_what_it_refuses(tmp_path: Path) -> None:
    """That of two CPUs, which cannot grow."""
    loopback = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    with running_ray(RAY_enable_autoscaler_v2="1", RAY_AUTH_MODE="disabled") as variables:
        ran = subprocess.run(
            [sys.executable, "-c", ASK], cwd=ROOT, env=clean_environment(tmp_path, **variables, **loopback),
            capture_output=True, text=True, timeout=90, check=True,
        )  # fmt: skip
    assert ran.stdout.split() == ["1000", "None", "3", "None"]

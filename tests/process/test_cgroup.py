"""What Linux's control groups grant: CPUs and memory, and whom they have ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cgroup import MIB, little_memory, write_cgroup, write_own
from tictactoe.process.cgroup import OWN, memory_kills, memory_limits, usable_cpus

DEEP = "/slurm/uid_1000/job_7/step_0"


def least(cgroup: Path, own: Path = OWN) -> int | None:
    """The least limit of all groups."""
    return min((limit for limit, _ in memory_limits(cgroup, own)), default=None)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("quota", "cpus"), [(0.05, 1), (0.5, 1), (1, 1), (1.9, 2), (2, 2), (64, 8), (None, 8)])
def test_cpus_are_the_quota_rounded_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int, quota: float | None, cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert usable_cpus(write_cgroup(tmp_path / "cgroup", version, quota)) == cpus


def test_a_damaged_or_missing_quota_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert usable_cpus(tmp_path) == 3
    for text in ("", "100000\n", "100000 0\n", "a b\n"):
        (tmp_path / "cpu.max").write_text(text)
        assert usable_cpus(tmp_path) == 3


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("limit", [512, 1280, None])
def test_memory_limit(tmp_path: Path, version: int, limit: int | None) -> None:
    assert least(write_cgroup(tmp_path / "cgroup", version, memory_mib=limit)) == limit


def test_no_memory_limit_that_can_be_read_is_none(tmp_path: Path) -> None:
    assert least(tmp_path) is None
    for text in ("", "much\n", "-1\n"):
        (tmp_path / "memory.max").write_text(text)
        assert least(tmp_path) is None


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("level", ["", "slurm/uid_1000", "slurm/uid_1000/job_7", DEEP[1:]])
def test_the_limits_of_all_groups_above_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int, level: str
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    cgroup, own = tmp_path / "cgroup", write_own(tmp_path / "own", version, DEEP)
    write_cgroup(cgroup, version, quota=6, memory_mib=4_000, below=DEEP[1:])
    write_cgroup(cgroup, version, quota=1, memory_mib=100, below="slurm/uid_1000/job_8")  # not above ours
    write_cgroup(cgroup, version, quota=2.5, memory_mib=3_000, below=level)
    assert (usable_cpus(cgroup, own), least(cgroup, own)) == (3, 3_000)


@pytest.mark.parametrize("group", [DEEP, "/../../elsewhere", "/.."])
@pytest.mark.parametrize("version", [1, 2])
def test_a_group_that_cannot_be_seen_is_the_topmost_that_can(tmp_path: Path, version: int, group: str) -> None:
    """In a container: the host's path, or one outside the namespace."""
    cgroup = write_cgroup(tmp_path / "cgroup", version, memory_mib=700)
    write_cgroup(tmp_path, version, memory_mib=10)
    assert least(cgroup, write_own(tmp_path / "own", version, group)) == 700


@pytest.mark.parametrize("version", [1, 2])
def test_what_has_been_taken_of_a_limit_is_without_the_page_cache(tmp_path: Path, version: int) -> None:
    assert memory_limits(write_cgroup(tmp_path, version, memory_mib=900, taken_mib=400)) == [(900, 400)]


def test_where_memory_is_slowed_down_counts_as_a_limit(tmp_path: Path) -> None:
    write_cgroup(tmp_path, 2, memory_mib=900)
    (tmp_path / "memory.high").write_text(f"{800 * MIB}\n")
    assert least(tmp_path) == 800


def test_kills_for_want_of_memory_are_those_of_the_own_group_alone(tmp_path: Path) -> None:
    cgroup = tmp_path / "cgroup"
    own = write_own(tmp_path / "own", 2, "/user/session")
    write_cgroup(cgroup, 2, below="user/session")
    (cgroup / "user" / "memory.events").write_text("oom_kill 7\n")
    assert memory_kills(cgroup, own) == 0
    (cgroup / "user" / "session" / "memory.events").write_text("low 0\nhigh 0\nmax 2\noom 2\noom_kill 2\noom_group_kill 0\n")
    assert memory_kills(cgroup, own) == 2
    write_cgroup(cgroup, 1, below="job")
    (cgroup / "memory" / "memory.oom_control").write_text("oom_kill 9\n")
    (cgroup / "memory" / "job" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert memory_kills(cgroup, write_own(tmp_path / "own", 1, "/job")) == 3
    assert memory_kills(tmp_path / "none") == 0


def test_a_limit_and_a_kill_of_the_real_kernel() -> None:
    kills = memory_kills()
    with little_memory(64) as group:
        program = f"""
import os, subprocess, sys
from tictactoe.process.cgroup import memory_kills, memory_limits
open({str(group / "cgroup.procs")!r}, "w").write(str(os.getpid()))
print(min(memory_limits()).limit, memory_kills())
subprocess.run([sys.executable, "-c", "bytearray(200 * 2**20)"])
print(memory_kills())
"""
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
        assert ran.stdout.splitlines() == ["64 0", "1"]
        assert memory_kills() == kills  # it was not in our group

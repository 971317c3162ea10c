"""What Linux's control groups grant: CPUs and memory, and whom they have ended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.cgroup import write_cgroup
from tictactoe.process.cgroup import memory_kills, memory_limit_mib, usable_cpus


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
    assert memory_limit_mib(write_cgroup(tmp_path / "cgroup", version, memory_mib=limit)) == limit


def test_no_memory_limit_that_can_be_read_is_none(tmp_path: Path) -> None:
    assert memory_limit_mib(tmp_path) is None
    for text in ("", "much\n", "-1\n"):
        (tmp_path / "memory.max").write_text(text)
        assert memory_limit_mib(tmp_path) is None


def test_kills_for_want_of_memory_are_the_groups_else_the_machines(tmp_path: Path) -> None:
    machine = tmp_path / "vmstat"
    assert memory_kills(tmp_path, machine) == 0
    machine.write_text("nr_free_pages 5\noom_kill 7\n")
    assert memory_kills(tmp_path, machine) == 7
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert memory_kills(tmp_path, machine) == 3
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 2\noom 2\noom_kill 2\noom_group_kill 0\n")
    assert memory_kills(tmp_path, machine) == 2

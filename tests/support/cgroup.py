"""The files by which Linux's control groups tell what they grant."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

MIB = 2**20


def write_cgroup(
    folder: Path, version: int, quota: float | None = None, memory_mib: int | None = None, below: str = "", taken_mib: int = 0
) -> Path:
    """The files by which the kernel tells a CPU quota and a memory limit, None for none, and what of it has been taken.

    Of the topmost group, or of the one at the path `below` it. Returns the folder of all control groups.
    """
    if version == 2:
        group = folder / below
        group.mkdir(parents=True, exist_ok=True)
        (group / "cpu.max").write_text(f"{'max' if quota is None else int(quota * 100_000)} 100000\n")
        (group / "memory.max").write_text(f"{'max' if memory_mib is None else memory_mib * MIB}\n")
        (group / "memory.current").write_text(f"{(taken_mib + 300) * MIB}\n")
        (group / "memory.stat").write_text(f"anon {taken_mib * MIB}\ninactive_file {200 * MIB}\nactive_file {100 * MIB}\n")
    else:
        cpu, memory = folder / "cpu" / below, folder / "memory" / below
        cpu.mkdir(parents=True, exist_ok=True)
        memory.mkdir(parents=True, exist_ok=True)
        (cpu / "cpu.cfs_quota_us").write_text(f"{-1 if quota is None else int(quota * 100_000)}\n")
        (cpu / "cpu.cfs_period_us").write_text("100000\n")
        limit = 0x7FFFFFFFFFFFF000 if memory_mib is None else memory_mib * MIB
        (memory / "memory.limit_in_bytes").write_text(f"{limit}\n")
        (memory / "memory.usage_in_bytes").write_text(f"{(taken_mib + 300) * MIB}\n")
        (memory / "memory.stat").write_text(
            f"inactive_file 0\nactive_file 0\ntotal_inactive_file {200 * MIB}\ntotal_active_file {100 * MIB}\n"
        )
    return folder


def write_own(path: Path, version: int, group: str) -> Path:
    """The file in which the kernel names a process's control groups: the one at this path."""
    path.write_text(f"0::{group}\n" if version == 2 else f"5:cpu,cpuacct:{group}\n4:memory:{group}\n1:name=systemd:/\n0::/\n")
    return path


LIMITS = {"memory": ("memory.limit_in_bytes", "memory.max"), "cpu": ("cpu.cfs_quota_us", "cpu.max")}
"""The file that limits it, in version 1 and in version 2 of control groups."""


@contextmanager
def limited_group(controller: str, limit: int) -> Iterator[Path]:
    """A control group of the kernel's, below ours, with a limit: of bytes of memory, or microseconds of CPU in each 100,000.

    Raises OSError where this user cannot make one.
    """
    own = {
        names: path for _, names, path in (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    }
    root = controller if controller in own else ""
    of_ours = Path("/sys/fs/cgroup", root, own.get(controller, own.get("", "/")).strip("/"))
    group = of_ours / f"{controller}-{os.getpid()}-{uuid4().hex[:8]}"
    try:
        group.mkdir()
        (group / LIMITS[controller][0 if root else 1]).write_text(str(limit))
        yield group
    finally:
        if group.exists():
            end = time.monotonic() + 10
            while (group / "cgroup.procs").read_text() and time.monotonic() < end:  # the last processes may still be ending
                time.sleep(0.05)
            group.rmdir()


@contextmanager
def little_memory(mib: int) -> Iterator[Path]:
    """A control group with so much memory; the test is skipped where none can be made."""
    with ExitStack() as stack:
        try:
            group = stack.enter_context(limited_group("memory", mib * MIB))
        except OSError as error:
            pytest.skip(f"this user cannot make a control group with a memory limit: {error}")
        yield group


def inside(group: Path) -> tuple[str, ...]:
    """What begins a command that is to run in a control group."""
    return ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")

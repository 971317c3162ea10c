"""The files by which Linux's control groups tell what they grant."""

from __future__ import annotations

from pathlib import Path

MIB = 2**20


def write_cgroup(
    folder: Path, version: int, quota: float | None = None, memory_mib: int | None = None, below: str = ""
) -> Path:
    """The files by which the kernel tells a CPU quota and a memory limit; None for no limit.

    Of the topmost group, or of the one at the path `below` it. Returns the folder of all control groups.
    """
    if version == 2:
        group = folder / below
        group.mkdir(parents=True, exist_ok=True)
        (group / "cpu.max").write_text(f"{'max' if quota is None else int(quota * 100_000)} 100000\n")
        (group / "memory.max").write_text(f"{'max' if memory_mib is None else memory_mib * MIB}\n")
    else:
        cpu, memory = folder / "cpu" / below, folder / "memory" / below
        cpu.mkdir(parents=True, exist_ok=True)
        memory.mkdir(parents=True, exist_ok=True)
        (cpu / "cpu.cfs_quota_us").write_text(f"{-1 if quota is None else int(quota * 100_000)}\n")
        (cpu / "cpu.cfs_period_us").write_text("100000\n")
        limit = 0x7FFFFFFFFFFFF000 if memory_mib is None else memory_mib * MIB
        (memory / "memory.limit_in_bytes").write_text(f"{limit}\n")
    return folder


def write_own(path: Path, version: int, group: str) -> Path:
    """The file in which the kernel names a process's control groups: the one at this path."""
    path.write_text(f"0::{group}\n" if version == 2 else f"5:cpu,cpuacct:{group}\n4:memory:{group}\n1:name=systemd:/\n0::/\n")
    return path

"""The files by which Linux's control groups tell what they grant."""

from __future__ import annotations

from pathlib import Path

MIB = 2**20


def write_cgroup(folder: Path, version: int, quota: float | None = None, memory_mib: int | None = None) -> Path:
    """The files by which the kernel tells a CPU quota and a memory limit; None for no limit."""
    if version == 2:
        folder.mkdir()
        (folder / "cpu.max").write_text(f"{'max' if quota is None else int(quota * 100_000)} 100000\n")
        (folder / "memory.max").write_text(f"{'max' if memory_mib is None else memory_mib * MIB}\n")
    else:
        (folder / "cpu").mkdir(parents=True)
        (folder / "memory").mkdir()
        (folder / "cpu" / "cpu.cfs_quota_us").write_text(f"{-1 if quota is None else int(quota * 100_000)}\n")
        (folder / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
        limit = 0x7FFFFFFFFFFFF000 if memory_mib is None else memory_mib * MIB
        (folder / "memory" / "memory.limit_in_bytes").write_text(f"{limit}\n")
    return folder

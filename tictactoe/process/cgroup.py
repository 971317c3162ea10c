"""What Linux's control groups grant this process: CPUs and memory, versions 1 and 2.

A group's limit holds for all groups in it, so those above ours count as far as they can be seen: Slurm's jobs and systemd's
slices lie some levels deep, while a container sees its own group as the topmost.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

CGROUP = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
"""Names this process's groups."""
NO_LIMIT = 2**60
"""From here on a number of bytes is version 1's way to say that there is none."""
MIB = 2**20


class MemoryLimit(NamedTuple):
    """Of a control group, in MiB."""

    limit: int
    taken: int
    """What its processes have taken of it already and cannot give back."""


def usable_cpus(cgroup: Path = CGROUP, own: Path = OWN) -> int:
    """CPUs this process may use: its affinity and the least quota of its groups, rounded up, at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for groups in _hierarchies("cpu", cgroup, own) for group in groups for quota in _quotas(group)]
    return max(1, min([count, *map(math.ceil, quotas)]))


def memory_limits(cgroup: Path = CGROUP, own: Path = OWN) -> list[MemoryLimit]:
    """Those of this process's groups, swap left out."""
    found = []
    for groups in _hierarchies("memory", cgroup, own):
        for group in groups:
            texts = (_read(group / name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes"))
            limits = [int(text) for text in texts if text.isdigit() and int(text) < NO_LIMIT]
            if limits:
                found.append(MemoryLimit(min(limits) // MIB, _taken(group) // MIB))
    return found


def memory_kills(cgroup: Path = CGROUP, own: Path = OWN) -> int:
    """How many processes of this process's own group the kernel has ended so far for want of memory; 0 where none says."""
    for group, *_ in _hierarchies("memory", cgroup, own):
        for name in ("memory.events", "memory.oom_control"):
            for line in _read(group / name).splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0


def _hierarchies(controller: str, cgroup: Path, own: Path) -> Iterator[list[Path]]:
    """The folders of this process's group and those above it that can be seen, its own first: of version 2, then 1."""
    paths = {"": "/", controller: "/"}
    for line in _read(own).splitlines():
        _, names, path = line.split(":", 2)
        paths |= {name: path for name in names.split(",") if name in paths}
    for name, path in paths.items():
        # "..": a group outside of what this process's namespace shows.
        below = PurePosixPath(*(part for part in PurePosixPath(path).parts if part not in ("/", "..")))
        folders = [cgroup / name / part for part in (below, *below.parents)]
        if groups := [folder for folder in folders if folder.is_dir()]:
            yield groups


def _taken(group: Path) -> int:
    """Bytes that the processes of a group have taken and cannot give back: all but what is kept of files."""
    used = next(
        (int(text) for name in ("memory.current", "memory.usage_in_bytes") if (text := _read(group / name)).isdigit()), 0
    )
    counts = dict(line.split() for line in _read(group / "memory.stat").splitlines())
    names = ("total_active_file", "total_inactive_file") if "total_active_file" in counts else ("active_file", "inactive_file")
    return used - sum(int(counts.get(name, 0)) for name in names)


def _quotas(group: Path) -> Iterator[float]:
    """The CPUs that a group may use at a time, where it says."""
    for texts in (
        _read(group / "cpu.max").split(),
        [_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")],
    ):
        with suppress(ValueError, ZeroDivisionError):  # "max", or no such file
            limit, period = map(int, texts)
            if limit > 0:
                yield limit / period


def _read(path: Path) -> str:
    """A file's text without blanks around it, "" where it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""

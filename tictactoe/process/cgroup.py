"""What Linux's control groups grant this process: CPUs and memory, versions 1 and 2."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def usable_cpus(cgroup: Path = CGROUP) -> int:
    """CPUs this process may use: its affinity and its cgroup's quota, rounded up, at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = None
    try:
        if (cgroup / "cpu.max").exists():
            limit, period = (cgroup / "cpu.max").read_text().split()[:2]
            quota = None if limit == "max" else int(limit) / int(period)
        elif (cgroup / "cpu" / "cpu.cfs_quota_us").exists():
            limit, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            quota = int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        pass
    return max(1, min(count, math.ceil(quota))) if quota else count


def memory_limit_mib(cgroup: Path = CGROUP) -> int | None:
    """The cgroup's memory limit in MiB, None where there is none."""
    for path in (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"):
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < 2**60:
            return int(text) // 2**20
    return None


def memory_kills(cgroup: Path = CGROUP, machine: Path = Path("/proc/vmstat")) -> int:
    """How many processes the kernel has ended so far for want of memory: in this control group, or on the machine."""
    for path in (cgroup / "memory.events", cgroup / "memory" / "memory.oom_control", machine):
        with suppress(OSError):
            for line in path.read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0

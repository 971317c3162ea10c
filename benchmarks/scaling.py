"""How a search grows with its nodes: measured as far as this machine has cores, and simulated beyond.

Measured: the default search, and one of long trials, on 1, 2, ... nodes, as many as there are cores, beside a head that runs no
trials. A control group gives each node a share of a core; that needs a user who may make one. Where that is all of it, and
there are as many nodes as cores, the driver and the head have no core of their own.

Simulated: trials that sleep, on slots of a tenth of a CPU, and the driver as it is. How long until all slots are at work; what
of the slots' seconds is lost between trials; what a trial costs the driver, and the memory of the head.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.cluster import Cluster, Node, cluster
from benchmarks.common import ROOT, parser, search, show, write
from benchmarks.scaling_plot import draw
from tests.support.program import FAULTS

LONG = ("--scheduler", "none", "--num-samples", "32", "--seeds", "12", "--games", "500000")
SEARCHES = {"default": (), "long trials": LONG}
CPUS_PER_TRIAL = 0.1
SLOTS_PER_NODE = 8
"""Of the simulated ones, at most."""
ENDLESS = ("--scheduler", "none", "--num-samples", "100000", "--seeds", "1", "--games", "1000")
"""A search of trials that take a millisecond, and what they sleep."""
FILL_SECONDS = 600.0
"""So long all slots may take to be at work."""
LOOK_SECONDS = 1.0


def main() -> None:
    commands = parser(__doc__, repetitions=3, seconds=30)
    commands.add_argument("--share", type=float, nargs="*", default=[1.0, 0.5], help="CPUs of a measured node (default: 1 0.5)")
    commands.add_argument("--slots", type=int, nargs="*", default=[16, 64], help="simulated ones, of 150 MiB (default: 16 64)")
    commands.add_argument("--trial", type=float, nargs="*", default=[1.0, 10.0], help="seconds that they sleep (default: 1 10)")
    commands.add_argument("--plot", type=Path, help="also draw the speed-up, light and dark, in this folder")
    options = commands.parse_args()
    shares = options.share if options.repetitions else []
    measured = [row for share in shares for name in SEARCHES for row in measure(name, share, options.repetitions)]
    simulated = [simulate(slots, trial, options.seconds) for trial in options.trial for slots in options.slots]
    tables = [show(f"Measured, medians of {options.repetitions} searches", measured)] if measured else []
    tables += [show("Simulated", simulated)] if simulated else []
    if options.plot:
        draw(measured, simulated, options.plot)
    write(options.json, *tables)


def measure(name: str, share: float, repetitions: int) -> list[dict[str, Any]]:
    """A search on 1, 2, ... nodes of a share of a core: seconds from its first trial to the end of its fresh replicates."""
    rows: list[dict[str, Any]] = []
    digests = set()
    for number in range(1, len(os.sched_getaffinity(0)) + 1):
        seconds = []
        with cluster([Node(1, share)] * number) as ray:
            for _ in range(repetitions):
                found = search(*SEARCHES[name], WANDB_MODE="disabled", **ray.variables)
                cost, first = found["summary"]["cost"], min(record["started_s"] for record in found["journal"])
                seconds.append(cost["wall_s"] - cost["startup_s"] - first)
                digests.add(found["summary"]["digest"])
        rows.append({"search": name, "CPUs of a node": share, "nodes": number, "seconds": median(seconds)})
    for row in rows:
        row["speed-up"] = rows[0]["seconds"] / row["seconds"]
        row["digests"] = len(digests)
    return rows


def simulate(slots: int, trial: float, seconds: float) -> dict[str, Any]:
    """A search on so many slots, of trials that sleep so long, looked at for some seconds from when all slots are at work."""
    asleep = {"FAULT": f"sleep:{trial:g}", "PYTHONPATH": os.pathsep.join((FAULTS, str(ROOT)))}
    nodes = [Node(-(-share // 10)) for share in _shares(slots)]
    with cluster(nodes, asleep) as ray, tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("TICTACTOE_", "RAY_"))}
        environment |= {"TICTACTOE_ENV_FILE": f"{folder}/none", "WANDB_MODE": "disabled", **ray.variables}
        command = [sys.executable, str(ROOT / "main.py"), "--results-dir", folder, "--name", "bench", *ENDLESS]
        command += ["--cpus-per-trial", str(CPUS_PER_TRIAL), "--max-concurrent", str(slots)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as driver:
            try:
                return {"slots": slots, "trial s": trial} | _watch(ray, driver, Path(folder, "bench"), slots, trial, seconds)
            finally:
                driver.send_signal(signal.SIGTERM)


def _shares(slots: int) -> list[int]:
    """Slots of each node."""
    return [min(SLOTS_PER_NODE, slots - start) for start in range(0, slots, SLOTS_PER_NODE)]


def _watch(
    ray: Cluster, driver: subprocess.Popen[bytes], folder: Path, slots: int, trial: float, seconds: float
) -> dict[str, Any]:
    """Wait until all slots are at work, and look on for so many seconds."""
    process, journal, end = psutil.Process(driver.pid), Journal(folder / "journal.jsonl"), time.monotonic() + FILL_SECONDS
    while len(journal.first_start) < slots:
        if driver.poll() is not None:
            raise RuntimeError(f"the search ended with {driver.returncode}")
        if time.monotonic() > end:
            raise RuntimeError(f"only {len(journal.first_start)} of {slots} slots were at work after {FILL_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)
        journal.read()
    full, before, spent, most = max(journal.first_start.values()), len(journal.ends), _cpu_s(process), 0.0
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        most = max(most, sum(map(_pss_mib, [process, *process.children(recursive=True), *ray.head_processes()])))
        time.sleep(min(LOOK_SECONDS, max(0.0, left)))
    spent = _cpu_s(process) - spent
    journal.read()
    ended, held = sum(at > full for at in journal.ends), max(journal.ends) - full
    return {
        "all at work after s": full,
        "lost slot-s/trial": slots * held / ended - trial,
        "speed-up": ended * trial / held,
        "driver CPU ms/trial": 1000 * spent / (len(journal.ends) - before),
        "head MiB": most,
    }


class Journal:
    """The trials of a search that runs."""

    def __init__(self, path: Path) -> None:
        self.ends: list[float] = []
        """Of those that have ended, as of the last `read`: seconds from the search's start."""
        self.first_start: dict[int, float] = {}
        """The same of each process's first trial."""
        self._path, self._position = path, 0

    def read(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            lines = file.read().rpartition(b"\n")[0]
        self._position += len(lines) + 1 if lines else 0
        for line in lines.splitlines():
            record = json.loads(line)
            self.ends.append(record["ended_s"])
            self.first_start.setdefault(record["worker"], record["started_s"])


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _pss_mib(process: psutil.Process) -> float:
    """What a process has of the memory; what several share is divided among them."""
    try:
        return float(process.memory_full_info().pss) / 2**20
    except psutil.NoSuchProcess:
        return 0.0


if __name__ == "__main__":
    main()

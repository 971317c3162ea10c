"""The estimate of a search's memory beside what searches take; or, with an image, the memory of a search in a container.

    python -m benchmarks.memory [--case NAME ...] [--json FILE]
    python -m benchmarks.memory --image NAME [--memory MIB] [--pod] [--json FILE] [-- OPTIONS OF main.py]

The first runs short searches with two trials at a time and adds up the anonymous and shared memory of all their processes
(PSS: what several share is divided among them). It ends with 1 where an estimate is off by more than a quarter.

The second reads the container's cgroup, and says when the first trial is heard of. What must fit under a limit is anonymous and
shared memory and the kernel's own: nothing of that can be given back. The page cache is counted too, but dropped when room is
needed, so usage with it grows up to any limit and says nothing. It needs an image (`docker build -t mnist-ray-tune:latest .`)
and an engine with version 1 or 2 of control groups.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.common import ROOT, show, write
from tictactoe.core.game import Board
from tictactoe.experiment import space
from tictactoe.process import memory

BOUND_MIB = 1126
"""1.1 GiB, with two trials at a time."""
FIRST_TRIAL_S = 20.0
CURVE_S = 5.0
"""Seconds between two rows of the curve that is printed; the peak is that of all samples."""
SAMPLES = """
cd /sys/fs/cgroup; [ -d memory ] && cd memory
while :; do
  cat memory.stat
  [ -f memory.kmem.usage_in_bytes ] && echo kernel $(cat memory.kmem.usage_in_bytes)
  echo end; sleep 0.2
done
"""
NAMES = {"anon": ("anon", "total_rss"), "shmem": ("shmem", "total_shmem"), "kernel": ("kernel",),
         "page cache": ("file", "total_cache")}  # fmt: skip
"""What control groups call it, version 2 and version 1. Both count shared memory as page cache too."""


TRIALS = 2
"""At a time, where the estimate is held against searches."""
OFF = 0.25
"""How far the estimate may be off."""


@dataclass(frozen=True)
class Case:
    """A short search whose memory is measured."""

    board: str
    seeds: int
    games: int
    table: str = "afterstate"


FIRST_CHECK = 410_000
"""Games of a replicate on 4x4x4, a little more than the first check is after."""
CASES = {
    "3x3x3": Case("3x3x3", 32, 50_000),
    "4x4x4": Case("4x4x4", 1, FIRST_CHECK),
    "4x4x4-8-seeds": Case("4x4x4", 8, FIRST_CHECK),
    "4x4x4-state-action": Case("4x4x4", 8, FIRST_CHECK, table="state-action"),
}
SEARCH = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import main
from tictactoe.experiment import space
space.SPACE["table"] = space.LARGE["table"] = sys.argv.pop(1)
main.run()
"""
"""The program with another search space."""


@dataclass
class Measured:
    """What a container did."""

    seconds_to_first_trial: float
    """From `docker run` to the first line about a trial that has reported or ended, or a round in which some have ended."""
    seconds: float
    """From `docker run` to the end of the search, with its results printed."""
    peak_mib: int
    oom_killed: bool
    curve: list[dict[str, float]] = field(default_factory=list)
    """MiB by kind, with the second they were taken at."""


def main() -> None:
    options = _options()
    if options.image:
        in_container(options)
    else:
        against_the_estimate(options)


def against_the_estimate(options: argparse.Namespace) -> None:
    """Measure short searches, and show what was estimated for each."""
    rows: list[dict[str, Any]] = []
    for name in options.case or CASES:
        case = CASES[name]
        space.SPACE["table"] = space.LARGE["table"] = case.table
        estimated = memory.need(Board.parse(case.board), case.seeds).of(TRIALS)
        trials, end = measure_processes(case)
        peak = max(trials, end)
        rows.append({"search": name, "estimated MiB": estimated, "measured MiB": round(peak), "while trials run": round(trials),
                     "at the end": round(end), "estimated / measured": estimated / peak})  # fmt: skip
    write(options.json, show(f"memory of a search with {TRIALS} trials at a time", rows))
    sys.exit(any(abs(row["estimated / measured"] - 1) > OFF for row in rows))


def measure_processes(case: Case) -> tuple[float, float]:
    """MiB of all processes of a search at their peaks: while there are trials or fresh seeds, and after that."""
    search = ["--board", case.board, "--seeds", str(case.seeds), "--games", str(case.games), "--num-samples", str(TRIALS),
              "--num-cpus", str(TRIALS)]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("TICTACTOE_", "RAY_"))}
        environment |= {"TICTACTOE_ENV_FILE": f"{folder}/none", "WANDB_MODE": "offline"}
        command = [sys.executable, "-c", SEARCH, str(ROOT), case.table, "--results-dir", folder, *search]
        program = psutil.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        peaks = [0.0, 0.0]
        while program.poll() is None:
            with suppress(psutil.Error, OSError):  # processes that have ended meanwhile
                processes = [program, *program.children(recursive=True)]
                titles = ["".join(process.cmdline()[:1]) for process in processes]
                taken = sum(map(unshared_mib, processes))
                workers = any(title.startswith("ray::") and not title.endswith("Agent") for title in titles)
                peaks[not workers] = max(peaks[not workers], taken)
            time.sleep(0.1)
        if program.returncode:
            sys.exit(f"the search ended with exit code {program.returncode}")
    return peaks[0], peaks[1]


def unshared_mib(process: psutil.Process) -> float:
    """Anonymous and shared memory of a process, its part of what it shares."""
    text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    return sum(int(size) for size in re.findall(r"^Pss_(?:Anon|Shmem): +([0-9]+) kB$", text, re.MULTILINE)) / 1024


def in_container(options: argparse.Namespace) -> None:
    """Measure a search in a container."""
    extra, memory = (pod_options(), None) if options.pod else ([], options.memory)
    limits = ["--cpus", "2", "--memory", f"{memory}m", "--memory-swap", f"{memory}m"] if memory else []
    measured = measure(options.image, [*limits, *extra], options.search)
    rows = [row for row, last in zip(measured.curve, [{"s": -CURVE_S}, *measured.curve], strict=False)
            if row["s"] // CURVE_S != last["s"] // CURVE_S]  # fmt: skip
    show("MiB of a search in its container", rows)
    print(f"peak {measured.peak_mib} MiB, bound {BOUND_MIB} MiB")
    print(f"first trial after {measured.seconds_to_first_trial:.1f} s, bound {FIRST_TRIAL_S:.0f} s")
    print(f"finished after {measured.seconds:.1f} s{', having been short of memory' if measured.oom_killed else ''}")
    if options.json:
        options.json.write_text(json.dumps(asdict(measured), indent=1))
    sys.exit(measured.oom_killed or measured.peak_mib > BOUND_MIB or measured.seconds_to_first_trial > FIRST_TRIAL_S)


def pod_options() -> list[str]:
    """Options of `docker run` that come as near to the pod of deployment.yaml as a plain engine does."""
    pod = next(yaml.safe_load_all((ROOT / "deployment.yaml").read_text()))["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    limits, context = container["resources"]["limits"], pod["securityContext"]
    memory = limits["memory"].removesuffix("i").lower()
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    shm = volumes["shm"]["emptyDir"]["sizeLimit"].removesuffix("i").lower()
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    return [
        "--cpus", limits["cpu"], "--memory", memory, "--memory-swap", memory, "--shm-size", shm,
        "--user", f"{context['runAsUser']}:{context['runAsGroup']}", "--read-only", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges",
        *(word for name in ("tmp", "results") for word in ("--volume", mounts[name])),
        *(word for item in container["env"] for word in ("--env", f"{item['name']}={item['value']}")),
    ]  # fmt: skip


def measure(image: str, options: list[str], search: list[str]) -> Measured:
    """Run a search in a container until its results are shown, reading its cgroup five times a second."""
    began = time.time()
    container = _docker("run", "--detach", "--env", "WANDB_MODE=offline", *options, image, "python", "main.py", *search).strip()
    try:
        curve: list[dict[str, float]] = []
        reader = subprocess.Popen(["docker", "exec", container, "sh", "-c", SAMPLES], stdout=subprocess.PIPE, text=True)
        threading.Thread(target=_read, args=(reader, began, curve), daemon=True).start()
        while "the dashboard stays" not in (log := _docker("logs", "--timestamps", container)):
            state = json.loads(_docker("inspect", "--format", "{{json .State}}", container))
            if not state["Running"]:
                sys.exit(f"the container ended early, with exit code {state['ExitCode']}:\n{log[-2000:]}")
            time.sleep(0.5)
        reader.terminate()
        state = json.loads(_docker("inspect", "--format", "{{json .State}}", container))
        first, last = (_stamp(log, pattern) - began for pattern in (r"trial_\d+ |\[[1-9]", "the dashboard stays"))
        peak = max(row["anon"] + row["shmem"] + row["kernel"] for row in curve)
        return Measured(first, last, round(peak), state["OOMKilled"], curve)
    finally:
        _docker("rm", "--force", "--volumes", container)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=CASES, help="which searches to hold the estimate against (default: all)")
    parser.add_argument("--image", help="measure a search in a container of this image instead")
    parser.add_argument("--memory", type=int, default=1280, help="the container's limit in MiB (default: %(default)s)")
    parser.add_argument("--pod", action="store_true", help="limits, environment and rights of deployment.yaml")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("search", nargs="*", help="options of main.py, after --")
    return parser.parse_args()


def _read(reader: subprocess.Popen[str], began: float, curve: list[dict[str, float]]) -> None:
    counted: dict[str, int] = {}
    for line in reader.stdout or ():
        name, _, value = line.strip().partition(" ")
        if value:
            counted[name] = int(value)
            continue
        found = {kind: next((counted[n] for n in names if n in counted), 0) / 2**20 for kind, names in NAMES.items()}
        curve.append({"s": round(time.time() - began, 1)} | found)
        counted = {}


def _stamp(log: str, pattern: str) -> float:
    """Unix time of the first line of `docker logs --timestamps` that says so."""
    line = next(line for line in log.splitlines() if re.search(pattern, line))
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*Z .*", r"\1+00:00", line)).timestamp()


def _docker(*arguments: str) -> str:
    ran = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"docker {arguments[0]}: {ran.stderr.strip()}")
    return ran.stdout


if __name__ == "__main__":
    main()

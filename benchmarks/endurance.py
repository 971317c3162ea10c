"""Default searches back to back in one container of 1.25 GiB, to see whether anything grows.

Needs a Docker engine and the image. After each search, and at its peak, it counts what the container holds:
memory (anonymous and shared), processes, open files, bytes in /dev/shm and in /tmp. The first search is the
measure for all later ones. Plots the curves.
"""

from __future__ import annotations

import json
import subprocess
import uuid
from pathlib import Path
from typing import Any

from benchmarks.common import parser, show, write

LIMITS = ("--cpus", "2", "--memory", "1280m", "--memory-swap", "1280m")
KINDS = ("memory MiB", "processes", "open files", "shm KiB", "tmp KiB")
INSIDE = r"""
import json, os, pathlib, shutil, subprocess, sys, threading, time
import psutil

def memory():
    for name in ("/sys/fs/cgroup/memory.stat", "/sys/fs/cgroup/memory/memory.stat"):
        if os.path.exists(name):
            stat = dict(line.split() for line in open(name))
            return (int(stat.get("anon", stat.get("rss", 0))) + int(stat.get("shmem", 0))) >> 20

def size(folder):
    total = 0
    for path in pathlib.Path(folder).rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:
            pass
    return total >> 10

def sample():
    files = processes = 0
    for process in psutil.process_iter():
        try:
            files += process.num_fds()
            processes += 1
        except psutil.Error:
            pass
    return [memory(), processes, files, size("/dev/shm"), size("/tmp")]

end = time.monotonic() + 60 * float(sys.argv[1])
while time.monotonic() < end:
    began = time.monotonic()
    search = subprocess.Popen([sys.executable, "main.py", "--no-hold"], stdout=subprocess.PIPE, text=True)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(search.stdout), daemon=True)
    reader.start()
    peak = sample()
    while search.poll() is None:
        peak = [max(pair) for pair in zip(peak, sample())]
        time.sleep(1)
    reader.join()
    time.sleep(1)
    digest = [line.split()[1] for line in lines if line.startswith("digest ")]
    seconds = time.monotonic() - began
    found = {"exit": search.returncode, "s": seconds, "digest": digest, "peak": peak, "rest": sample()}
    print(json.dumps(found), flush=True)
    for folder in pathlib.Path("/results").iterdir():
        shutil.rmtree(folder)
"""


def main() -> None:
    arguments = parser(__doc__, minutes=60)
    arguments.add_argument("--image", default="mnist-ray-tune:latest")
    arguments.add_argument("--plot", type=Path, default=Path("endurance.png"), help="where to draw the curves")
    options = arguments.parse_args()
    name = f"endurance-{uuid.uuid4().hex[:8]}"
    command = ["docker", "run", "--rm", "--name", name, *LIMITS, options.image, "python", "-c", INSIDE, str(options.minutes)]
    searches: list[dict[str, Any]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as container:
        assert container.stdout is not None
        try:
            for line in container.stdout:
                searches.append(json.loads(line))
                print(f"search {len(searches)}: {describe(searches[-1])}", flush=True)
        finally:
            subprocess.run(["docker", "rm", "--force", name], check=False, capture_output=True)
    rows = []
    for state in ("peak", "rest"):
        for at, kind in enumerate(KINDS):
            values = [search[state][at] for search in searches]
            rows.append({"at": state, "of": kind, "first": values[0], "last": values[-1], "greatest": max(values)})
    digests = {digest for search in searches for digest in search["digest"]}
    codes = sorted({search["exit"] for search in searches})
    write(options.json, show(
        f"{len(searches)} searches in {options.minutes} minutes, exit codes {codes}, {len(digests)} digest", rows
    ))  # fmt: skip
    plot(searches, options.plot)


def describe(search: dict[str, Any]) -> str:
    held = ", ".join(f"{value} {kind}" for kind, value in zip(KINDS, search["rest"], strict=True))
    return f"exit {search['exit']}, {search['s']:.0f} s, at rest {held}"


def plot(searches: list[dict[str, Any]], path: Path) -> None:
    """A curve for each kind, at the peak of each search and after it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 10), layout="constrained")
    axes = figure.subplots(len(KINDS), 1, sharex=True)
    for at, (axis, kind) in enumerate(zip(axes, KINDS, strict=True)):
        for state, style in (("peak", "o-"), ("rest", "s--")):
            axis.plot(range(1, len(searches) + 1), [search[state][at] for search in searches], style, markersize=3, label=state)
        axis.set_ylabel(kind)
        axis.set_ylim(bottom=0)
    axes[0].legend()
    axes[-1].set_xlabel("search")
    figure.savefig(path, dpi=120)
    print(f"curves in {path}")


if __name__ == "__main__":
    main()

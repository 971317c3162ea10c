"""Kill a search with SIGKILL at random times until it is finished: does it end as if it had been left alone?

Each round starts the same search afresh, kills its driver after a random number of seconds, starts it again at
once, and so on until an attempt gets through. Its digest must be that of an undisturbed run, and nothing that a
killed attempt had started may live 15 seconds after the last one.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import ROOT, arguments, show, write

JOB = ("--num-samples", "16", "--seeds", "16", "--games", "50000", "--num-cpus", "2")
EARLIEST_S = 2.0
"""When an attempt is killed at the earliest, from its start; at the latest it is once an undisturbed search would be done."""


def attempt(folder: Path, kill_after: float | None) -> tuple[int, list[psutil.Process]]:
    """Run the search once: its exit code (-9 if killed), and what it had started when it was killed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TICTACTOE_", "WANDB_"))}
    environment |= {"TICTACTOE_ENV_FILE": str(folder / "none")}
    command = [sys.executable, str(ROOT / "main.py"), "--results-dir", str(folder), "--name", "chaos", *JOB]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return process.wait(timeout=kill_after), []
    except subprocess.TimeoutExpired:
        started = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        return process.wait(), started


def digest(folder: Path) -> str:
    summary = json.loads((folder / "chaos" / "summary.json").read_text())
    return str(summary["digest"]) if summary["status"] == "finished" else str(summary["status"])


def one_round(number: int, generator: random.Random, latest: float) -> dict[str, Any]:
    """Kill and start again until the search is finished."""
    kills: list[float] = []
    started: list[psutil.Process] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        while True:
            after = generator.uniform(EARLIEST_S, latest)
            code, children = attempt(folder, after)
            started += children
            if code != -9:
                break
            kills.append(after)
        _, left = psutil.wait_procs(started, timeout=15)
        return {
            "round": number,
            "kills": len(kills),
            "after s": " ".join(f"{seconds:.1f}" for seconds in kills),
            "exit": code,
            "left behind": len(left),
            "digest": digest(folder),
        }


def chaos(rounds: int, seed: int) -> tuple[str, list[dict[str, Any]]]:
    """The undisturbed digest, and a row for each round."""
    generator = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        began = time.monotonic()
        code, _ = attempt(Path(name), None)
        latest = time.monotonic() - began
        assert code == 0, f"the undisturbed search ended with {code}"
        expected = digest(Path(name))
    rows = []
    for number in range(1, rounds + 1):
        rows.append(one_round(number, generator, latest))
        print(
            f"round {number} of {rounds}: {rows[-1]['kills']} kills, exit {rows[-1]['exit']}, "
            f"same digest: {rows[-1]['digest'] == expected}",
            flush=True,
        )
    return expected, rows


def main() -> None:
    options = arguments(__doc__, rounds=20, seed=0)
    began = time.monotonic()
    expected, rows = chaos(options.rounds, options.seed)
    for row in rows:
        row["digest"] = "same" if row["digest"] == expected else row["digest"]
    write(options.json, show(f"Searches killed at random times, {time.monotonic() - began:.0f} s", rows))
    same, left = sum(row["digest"] == "same" for row in rows), sum(row["left behind"] for row in rows)
    print(f"{same} of {len(rows)} with the digest of an undisturbed search, {sum(row['kills'] for row in rows)} kills, "
          f"{left} processes left behind")  # fmt: skip
    if same < len(rows) or left:
        sys.exit(1)


if __name__ == "__main__":
    main()

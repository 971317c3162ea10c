"""Searches killed with SIGKILL at random times until they are finished."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tests.support.program import RACE, ROOT, clean_environment

NAME = "chaos"
"""Of the search."""
EARLIEST_S = 2.0
"""When an attempt is killed at the earliest, from its start; at the latest it is once an undisturbed search would be done."""


def attempt(folder: Path, search: tuple[str, ...], kill_after: float | None) -> tuple[int, list[psutil.Process]]:
    """Run a search once: its exit code (-9 if killed), and what it had started when it was killed."""
    command = [sys.executable, str(ROOT / "main.py"), "--results-dir", str(folder), "--name", NAME, *search]
    process = subprocess.Popen(
        command, env=clean_environment(Path.home()), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        return process.wait(timeout=kill_after), []
    except subprocess.TimeoutExpired:
        started = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        return process.wait(), started


def undisturbed(*search: str) -> tuple[str, float]:
    """The digest of a search that is left alone, on this machine, and its seconds."""
    with tempfile.TemporaryDirectory() as name:
        began = time.monotonic()
        code, _ = attempt(Path(name), search, None)
        seconds = time.monotonic() - began
        assert code == 0, f"the undisturbed search ended with {code}"
        return digest(Path(name)), seconds


def digest(folder: Path) -> str:
    """Of a search that is finished; else its status."""
    summary = json.loads((folder / NAME / "summary.json").read_text())
    return str(summary["digest"]) if summary["status"] == "finished" else str(summary["status"])


def one_round(number: int, generator: random.Random, latest: float) -> dict[str, Any]:
    """Kill and start again until the search is finished."""
    kills: list[float] = []
    started: list[psutil.Process] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        while True:
            after = generator.uniform(EARLIEST_S, latest)
            code, children = attempt(folder, RACE, after)
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
    expected, latest = undisturbed(*RACE)
    rows = []
    for number in range(1, rounds + 1):
        rows.append(one_round(number, generator, latest))
        print(
            f"round {number} of {rounds}: {rows[-1]['kills']} kills, exit {rows[-1]['exit']}, "
            f"same digest: {rows[-1]['digest'] == expected}",
            flush=True,
        )
    return expected, rows

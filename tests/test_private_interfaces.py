"""What the program relies on though no library promises it, where no other test would notice a change.

docs/architecture.md lists all of it.
"""

from __future__ import annotations

import json
import mmap
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import ray

from tests.reporting.test_tracking import read_back
from tests.support.program import ROOT, clean_environment
from tictactoe.process.variables import RULES
from tictactoe.tuning.workers import title

SET = [name for rule in RULES if rule.value and rule.always for name in rule.names if name.startswith(("RAY_", "TUNE_"))]
RAYLET = Path(ray.__file__).parent / "core" / "src" / "ray" / "raylet" / "raylet"
IDLE = """
import ray, time
from tictactoe.process import processes
from tictactoe.tuning import cluster
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
ray.get(ray.remote(lambda: 1).remote())
end = time.monotonic() + 10
while not processes.workers("IDLE") and time.monotonic() < end:
    time.sleep(0.1)
before = len(processes.workers("IDLE"))
cluster.release_workers()
print(before, len(processes.workers("IDLE")))
cluster.stop()
"""
LOGGED = """
import pathlib, sys, threading, time
import psutil
from rich.console import Console
from tictactoe.core.learner import Hyperparameters
from tictactoe.reporting.probe import Probe
from tictactoe.experiment.rounds import rounds
from tictactoe.reporting.tracking import Tracker
from tictactoe.settings import load
settings = load(["--num-samples", "1"], {})
tracker = Tracker(Probe(settings), rounds(settings), pathlib.Path(sys.argv[1]), "group", "1", Console(), threading.Event())
tracker.trial_started(0, Hyperparameters())
tracker._put(tracker._log, 0, {"games": 7})
while not list(pathlib.Path(sys.argv[1]).glob("wandb/offline-run-*/*.wandb")):
    time.sleep(0.1)
print([child.name() for child in psutil.Process().children(recursive=True)], flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("name", SET)
def test_ray_still_reads_the_variables_that_are_set_for_it(name: str) -> None:
    with RAYLET.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(name.removeprefix("RAY_").encode()) >= 0 and not name.isupper():
            return  # one of the core's own settings
    sources = (path.read_text(encoding="utf-8", errors="replace") for path in Path(ray.__file__).parent.rglob("*.py"))
    assert any(f'"{name}"' in source for source in sources)


@pytest.mark.slow
def test_idle_workers_are_called_so() -> None:
    ran = subprocess.run([sys.executable, "-c", IDLE], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    before, after = map(int, ran.stdout.split())
    assert (before >= 1, after) == (True, 0)


@pytest.mark.slow
def test_no_workers_are_started_ahead_of_trials(program: Callable[..., subprocess.Popen[str]]) -> None:
    process = program("--num-cpus", "4", "--max-concurrent", "1", "--num-samples", "2", "--seeds", "8", "--games", "6000000")
    assert process.stdout is not None
    next(line for line in process.stdout if re.search(r"trial_00000 .*games/s", line))
    titles = [title(child).split(" ")[0] for child in psutil.Process(process.pid).children(recursive=True)]
    (worker,) = (title for title in titles if title.startswith("ray::") and not title.endswith("Agent"))
    assert worker.startswith("ray::QLearningTrial")


@pytest.mark.slow
def test_a_runs_data_is_on_disk_within_seconds_and_its_service_has_its_name(tmp_path: Path) -> None:
    """A kill costs no more than that, and the service that stopped answering can be ended by its name."""
    command = [sys.executable, "-c", LOGGED, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, env=clean_environment(tmp_path), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert "wandb-core" in process.stdout.readline()
            (folder,) = tmp_path.glob("wandb/offline-run-*")
            end = time.monotonic() + 10
            while not read_back(folder)["history"]:
                assert time.monotonic() < end
                time.sleep(0.2)
            assert json.loads(json.dumps(read_back(folder)["history"][0]))["games"] == 7
        finally:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()

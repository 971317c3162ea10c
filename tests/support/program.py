"""The program as a user runs it, in a clean environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FAULTS = str(ROOT / "tests" / "support" / "faults")
"""On PYTHONPATH it makes the program heed FAULT."""
NO_PLOTS = {"PYTHONPATH": FAULTS, "FAULT": "plots:none"}
"""Variables that spare a search the plots of its report, which take some five seconds."""
JOB = ("--num-samples", "8", "--seeds", "240", "--games", "5000", "--num-cpus", "2")
"""A search long enough to be disturbed, in its trials: they have many seeds of few games, of which finalists get no more."""
JOB_DIGEST = "sha256:6fc9999a07a446bd9df43cfcae66d3d996108335879c3685a04ff6c0a46bade9"
"""Of that search, however it is run: recorded, since running it first would take half a minute in each suite."""
RACE = ("--num-samples", "240", "--seeds", "8", "--games", "10000", "--num-cpus", "2")
"""A race of three rounds, with three looks at its finalists, and a confirmation of two blocks.

`JOB` has so few trials that all of them play everything.
"""
RACE_DIGEST = "sha256:c859f3177dc01ef3217a4cb8c6ce5243dc4bc9b7eb91360b00236775dc661884"
"""Of that search, however it is run."""
OPTUNA_RACE = (*RACE, "--search", "optuna", "--num-samples", "64")
"""A race of two rounds, the first of which Optuna suggests in eight generations."""
SEARCHED = ("--num-samples", "4", "--seeds", "4", "--games", "20000", "--num-cpus", "2")
"""The search that the fixture `searched` has run."""
OURS = ("TICTACTOE_", "WANDB_", "RAY_", "TUNE_", "NUMBA_")


def clean_environment(home: Path, **variables: str) -> dict[str, str]:
    """An environment without settings of ours, with a home folder of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return kept | {"HOME": str(home), "TICTACTOE_ENV_FILE": os.devnull} | variables


def digest_of(output: str) -> str:
    """The digest in what a search has printed."""
    (digest,) = re.findall(r"^digest (sha256:[0-9a-f]{64})$", output, flags=re.MULTILINE)
    return str(digest)


def published_digest() -> str:
    """The default search's digest, as the README gives it."""
    (digest,) = re.findall(r"digest (sha256:[0-9a-f]{64})", (ROOT / "README.md").read_text())
    return str(digest)


def search(home: Path, *options: str, **variables: str) -> str:
    """Run a search to its end, with its results in `home`; returns what it has printed."""
    command = [sys.executable, str(ROOT / "main.py"), "--results-dir", "results", "--num-cpus", "2", *options]
    ran = subprocess.run(
        command, cwd=home, env=clean_environment(home, **variables), capture_output=True, text=True, timeout=280, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (home / "results").is_dir()  # relative to where the program was started, not to where Ray's workers are
    return ran.stdout

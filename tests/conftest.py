"""Fixtures shared by the tests: a clean environment, and the program as a user runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

hypothesis.settings.register_profile("default", deadline=None)  # compiling takes its time, once
hypothesis.settings.load_profile("default")

ROOT = Path(__file__).resolve().parent.parent
JOB = ("--num-samples", "8", "--seeds", "16", "--games", "60000", "--num-cpus", "2")
"""A search long enough to be disturbed."""
OURS = ("TICTACTOE_", "WANDB_", "RAY_", "TUNE_")


def clean_environment(home: Path, **variables: str) -> dict[str, str]:
    """An environment without settings of ours, with a home folder of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return kept | {"HOME": str(home), "TICTACTOE_ENV_FILE": str(home / "none.env")} | variables


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of `JOB`, left alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    command = [sys.executable, str(ROOT / "main.py"), "--results-dir", "results", *JOB]
    environment = clean_environment(folder, WANDB_MODE="disabled")
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert (folder / "results").is_dir()  # relative to where the program was started, not to where Ray's workers are
    return digest_of(ran.stdout)


def digest_of(output: str) -> str:
    """The digest in what a search has printed."""
    (found,) = re.findall(r"^digest (sha256:[0-9a-f]{64})$", output, flags=re.MULTILINE)
    return str(found)


def published_digest() -> str:
    """The default search's digest, as the README gives it."""
    (found,) = re.findall(r"digest (sha256:[0-9a-f]{64})", (ROOT / "README.md").read_text())
    return str(found)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `python main.py` with options and environment variables, perhaps `under` another program.

    Whatever still runs at the end is killed.
    """
    started: list[subprocess.Popen[str]] = []

    def start(*options: str, under: tuple[str, ...] = (), **variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*under, sys.executable, str(ROOT / "main.py"), "--results-dir", str(tmp_path / "results"), *options],
            cwd=tmp_path,
            env=clean_environment(tmp_path, **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def finish(program: Callable[..., subprocess.Popen[str]]) -> Callable[..., tuple[int, str, str]]:
    """Run the program to its end: exit code, output, errors."""

    def run(*options: str, **variables: str) -> tuple[int, str, str]:
        process = program(*options, **variables)
        output, errors = process.communicate(timeout=200)
        return process.returncode, output, errors

    return run


@pytest.fixture
def summary(tmp_path: Path) -> Callable[[], dict[str, Any]]:
    """summary.json of the only search under the results folder."""

    def read() -> dict[str, Any]:
        (path,) = (tmp_path / "results").glob("*/summary.json")
        return json.loads(path.read_text())

    return read


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one finished search on 3x3x3, "small"; to be looked at only."""
    home = tmp_path_factory.mktemp("searched")
    search(home, "--name", "small", "--num-samples", "2", "--seeds", "4", "--games", "20000")
    return home / "results"


def search(home: Path, *options: str) -> None:
    """Run a search to its end, with its results in `home`."""
    command = [sys.executable, str(ROOT / "main.py"), "--results-dir", str(home / "results"), "--num-cpus", "2", *options]
    ran = subprocess.run(
        command, cwd=home, env=clean_environment(home), capture_output=True, text=True, timeout=280, check=False
    )
    assert ran.returncode == 0, ran.stderr

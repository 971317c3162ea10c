"""Fixtures shared by the tests: a clean environment, and the program as a user runs it."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support.program import JOB_DIGEST, NO_PLOTS, OPTUNA_RACE, ROOT, SEARCHED, clean_environment, digest_of, search
from tests.support.running_ray import running_ray

hypothesis.settings.register_profile("default", deadline=None)  # compiling takes its time, once
hypothesis.settings.load_profile("default")


@pytest.fixture(scope="session")
def expected() -> str:
    """The digest of `JOB`, left alone."""
    return JOB_DIGEST


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


@pytest.fixture(scope="session")
def joined() -> Iterator[dict[str, str]]:
    """Variables with which the program joins a Ray that the tests share: for those that are not about Ray's start or stop.

    Its workers do not have the variables of the program. W&B, which takes a second to import, is left out, and so are the
    report's plots.
    """
    with running_ray(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32)) as variables:
        yield variables | NO_PLOTS | {"WANDB_DISABLED": "true"}


@pytest.fixture(scope="session")
def optuna_digest(joined: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of `OPTUNA_RACE`, left alone, with two trials at a time."""
    return digest_of(search(tmp_path_factory.mktemp("optuna"), *OPTUNA_RACE, **joined))


@pytest.fixture
def summary(tmp_path: Path) -> Callable[[], dict[str, Any]]:
    """summary.json of the only search under the results folder."""

    def read() -> dict[str, Any]:
        (path,) = (tmp_path / "results").glob("*/summary.json")
        return dict(json.loads(path.read_text()))

    return read


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one finished search on 3x3x3, "small"; to be looked at only.

    Beside it lie `output`, what the search printed, and `temporary-folders`, which of these it left.
    """
    home = tmp_path_factory.mktemp("searched")
    with tempfile.TemporaryDirectory(prefix="t") as temporary:  # with a short name, for Ray's sockets
        (home / "output").write_text(search(home, "--name", "small", *SEARCHED, TMPDIR=temporary))
        folders = [str(path.relative_to(temporary)) for path in Path(temporary).rglob("*") if path.is_dir()]
        (home / "temporary-folders").write_text("\n".join(folders))
    return home / "results"

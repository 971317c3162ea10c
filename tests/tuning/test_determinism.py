"""The digest is the same bit for bit, however and wherever a search runs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.program import (
    NO_PLOTS,
    OPTUNA_RACE,
    RACE,
    RACE_DIGEST,
    ROOT,
    clean_environment,
    digest_of,
    published_digest,
)

Run = Callable[..., tuple[int, str, str]]
OWN_RAY = NO_PLOTS | {"WANDB_DISABLED": "true"}
"""Variables of a search with a Ray of its own, which leaves out what no digest depends on."""


def plain_processor(cache: Path) -> dict[str, str]:
    """Variables that keep NumPy and Numba from using what not every processor has."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    usable = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    assert usable, "this processor has nothing to switch off"
    return {
        "NPY_DISABLE_CPU_FEATURES": " ".join(usable),
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(cache),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [("--max-concurrent", "1"), ("--num-cpus", "4", "--max-concurrent", "4"), ("--cpus-per-trial", "2")],
    ids=lambda options: " ".join(options),
)
def test_concurrency_and_resources_do_not_matter(finish: Run, joined: dict[str, str], options: tuple[str, ...]) -> None:
    code, output, _ = finish(*RACE, *options, **(OWN_RAY if "--num-cpus" in options else joined))
    assert (code, digest_of(output)) == (0, RACE_DIGEST)


@pytest.mark.slow
def test_the_processor_does_not_matter(finish: Run, tmp_path: Path) -> None:
    code, output, _ = finish(*RACE, **OWN_RAY | plain_processor(tmp_path / "cache"))
    assert (code, digest_of(output)) == (0, RACE_DIGEST)


@pytest.mark.slow
@pytest.mark.parametrize("concurrent", ["1", "4"])
def test_optuna_suggests_the_same_at_any_concurrency(
    finish: Run, joined: dict[str, str], optuna_digest: str, concurrent: str
) -> None:
    options = (*OPTUNA_RACE, "--num-cpus", concurrent, "--max-concurrent", concurrent)
    assert digest_of(finish(*options, **(joined if concurrent == "1" else OWN_RAY))[1]) == optuna_digest


@pytest.mark.slow
def test_the_default_search_has_the_digest_of_the_readme(finish: Run) -> None:
    code, output, _ = finish()
    assert (code, digest_of(output)) == (0, published_digest())


@pytest.mark.pythons
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_the_python_version_does_not_matter(version: str, tmp_path: Path) -> None:
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "--version"], capture_output=True, check=False).returncode:
        pytest.skip(f"no python{version} here")
    requirements = ["-r", str(ROOT / "requirements.txt"), "-c", str(ROOT / "constraints.txt")]
    subprocess.run([python, "-m", "venv", str(tmp_path / "venv")], check=True)
    own = str(tmp_path / "venv" / "bin" / "python")
    subprocess.run([own, "-m", "pip", "install", "--quiet", *requirements], check=True, capture_output=True)
    command = [own, str(ROOT / "main.py"), "--results-dir", str(tmp_path / "results"), *RACE]
    environment = clean_environment(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert digest_of(ran.stdout) == RACE_DIGEST

"""The project as a package: what is in a wheel is enough to run it from anywhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.program import ROOT, clean_environment


def test_the_supported_pythons_are_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11,<3.14"
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in (ROOT / "Makefile").read_text()


@pytest.mark.slow
def test_an_installed_package_runs_a_search(tmp_path: Path) -> None:
    """Without its dependencies, which are here already: `pip install .` brings the same ones."""
    source, target = tmp_path / "source", tmp_path / "installed"  # a copy: building leaves files in the source
    shutil.copytree(ROOT / "tictactoe", source / "tictactoe", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("main.py", "pyproject.toml", "README.md", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, source)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(source)]
    subprocess.run(install, check=True, capture_output=True)
    tiny = ("--num-samples", "1", "--seeds", "1", "--games", "200", "--num-cpus", "1", "--results-dir", "results")
    ran = subprocess.run(
        [sys.executable, str(target / "bin" / "ray-tune-tictactoe"), *tiny],
        cwd=tmp_path, env=clean_environment(tmp_path, PYTHONPATH=str(target)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    (folder,) = (tmp_path / "results").iterdir()
    assert {"summary.json", "policy.json", "trials.csv", "report.html"} <= {path.name for path in folder.iterdir()}

"""Installing: the Makefile on a machine that has been used for other things, and the project as a package."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support.program import ROOT, clean_environment


def test_the_supported_pythons_are_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11,<3.15"
    assert "(3, 11) <= sys.version_info[:2] <= (3, 14)" in (ROOT / "Makefile").read_text()


def test_what_the_program_imports_is_required() -> None:
    """A package that only tests require, or another package, is there by luck."""
    required = {re.split(r"[=\[]", line)[0] for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line}
    provided = packages_distributions()
    for path in (ROOT / "main.py", *(ROOT / "tictactoe").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"tictactoe", "_typeshed"}:
                assert required & {one.lower() for one in provided.get(name, ())}, f"{path} imports {name}"


@pytest.mark.parametrize(
    ("python", "says"), [("", "error: no Python 3.11 to 3.14 found"), ("/bin/false", "error: /bin/false cannot make virtual")]
)
def test_no_fit_python_is_one_line(tmp_path: Path, python: str, says: str) -> None:
    ran = make(clone(tmp_path), f"PYTHON={python}")
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[0].startswith(says)
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_make_installs_into_its_own_environment_whatever_others_have_set(tmp_path: Path) -> None:
    """Without a network, from a folder of wheels, in a folder with a name that a shell would take apart."""
    folder = clone(tmp_path)
    with zipfile.ZipFile(folder / "dotenv-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("dotenv.py", "")
        wheel.writestr("dotenv-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: dotenv\nVersion: 1\n")
        wheel.writestr("dotenv-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("dotenv-1.dist-info/RECORD", "")
    (tmp_path / "pip.conf").write_text("[install]\nuser = true\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dotenv.py").write_text("")
    others = {"PIP_CONFIG_FILE": tmp_path / "pip.conf", "PIP_TARGET": tmp_path / "target", "PIP_PREFIX": tmp_path / "prefix",
              "PYTHONPATH": tmp_path / "other", "VIRTUAL_ENV": tmp_path / "venv", "CONDA_PREFIX": tmp_path / "conda",
              "PIP_NO_INDEX": 1, "PIP_FIND_LINKS": "."}  # fmt: skip
    for _ in range(2):
        ran = make(folder, f"PYTHON={sys.executable}", "ARGS=--check", **{name: str(value) for name, value in others.items()})
        assert ran.returncode == 0, ran.stderr
        where, options = ran.stdout.splitlines()[-1].split("|")
        assert (Path(where).is_relative_to(folder / ".venv"), options) == (True, "--check")
        (folder / ".venv" / "bin" / "python").unlink()  # as if that Python had been removed: the environment is made again
    assert not (tmp_path / "target").exists() and not (tmp_path / "prefix").exists()


def clone(tmp_path: Path) -> Path:
    """A folder with the Makefile, and one package to install and to run."""
    folder = tmp_path / "it's a (clone)"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "requirements.txt").write_text("dotenv\n")
    (folder / "constraints.txt").write_text("dotenv==1\n")
    (folder / "main.py").write_text("import dotenv, sys\nprint(dotenv.__file__, *sys.argv[1:], sep='|')\n")
    return folder


def make(folder: Path, *variables: str, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = clean_environment(folder, **environment)
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # of the make that runs these tests
        settings.pop(name, None)
    return subprocess.run(["make", "run", *variables], cwd=folder, env=settings, capture_output=True, text=True, check=False)


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

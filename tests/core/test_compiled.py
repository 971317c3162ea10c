"""Where machine code is kept, and that no change of a source leaves old code behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tictactoe import files
from tictactoe.core import compiled

PARTS = "from tictactoe.core.compiled import inline\n\n\n@inline\ndef number():\n    return 1\n"
KERNELS = """
from tictactoe.core.compiled import kernel
from tictactoe.core.parts import number


@kernel
def answer():
    return number()


print(answer(), sum(answer.stats.cache_hits.values()), answer.stats.cache_path)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package's core with a kernel that has a function of another file compiled into it."""
    core = tmp_path / "copy" / "tictactoe" / "core"
    core.mkdir(parents=True)
    shutil.copy(Path(compiled.__file__), core)
    shutil.copy(Path(files.__file__), core.parent)
    (core / "parts.py").write_text(PARTS)
    (core / "kernels.py").write_text(KERNELS)
    return core


def run(package: Path, **variables: str) -> tuple[int, int, Path]:
    """The kernel's answer, how often it came from the cache, and the folder of that."""
    command = [sys.executable, "-m", "tictactoe.core.kernels"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")} | variables
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # Python's own cache goes by a file's time, which stands still here
    ran = subprocess.run(command, cwd=package.parents[1], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    answer, hits, folder = ran.stdout.split(maxsplit=2)
    return int(answer), int(hits), Path(folder.strip())


def test_a_change_of_an_inlined_function_is_seen_at_once(package: Path) -> None:
    first = run(package)
    assert first[:2] == (1, 0)
    assert first[2].is_relative_to(package / "__pycache__")
    assert run(package) == (1, 1, first[2])
    status = (package / "parts.py").stat()
    (package / "parts.py").write_text(PARTS.replace("return 1", "return 2"))
    os.utime(package / "parts.py", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert run(package)[:2] == (2, 0)
    (package / "parts.py").write_text(PARTS)
    assert run(package) == (1, 1, first[2])


def test_a_package_that_cannot_be_written_to(package: Path, tmp_path: Path) -> None:
    (package / "__pycache__").write_text("no folder")  # root may write to any folder
    for hits in (0, 1):
        answer, found, folder = run(package, HOME=str(tmp_path / "home"))
        assert (answer, found) == (1, hits)
        assert folder.is_relative_to(tmp_path / "home" / ".cache" / "tictactoe")


def test_the_first_folder_that_can_be_written_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sources, home, temporary, named = (tmp_path / name for name in ("sources", "home", "temporary", "named"))
    for folder in (sources, temporary):
        folder.mkdir()
    monkeypatch.setattr(compiled, "SOURCES", sources)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(named))
    private = temporary / f"tictactoe-kernels-{os.getuid()}"
    for parent in (named, sources / "__pycache__", home / ".cache" / "tictactoe", private):
        expected = parent / f"kernels-{compiled.fingerprint()}"
        assert compiled.folder.__wrapped__() == str(expected)
        assert expected.is_dir()
        shutil.rmtree(parent)
        if parent != private:
            parent.write_text("no folder")
    private.mkdir(mode=0o777)
    private.chmod(0o777)  # others could have put code there
    assert compiled.folder.__wrapped__() is None
    private.rmdir()
    private.symlink_to(home / ".cache")
    assert compiled.folder.__wrapped__() is None
    private.unlink()
    assert compiled.folder.__wrapped__() is not None
    assert private.stat().st_mode & 0o777 == 0o700


def test_without_any_folder_kernels_are_compiled_each_time(package: Path, tmp_path: Path) -> None:
    (package / "__pycache__").write_text("no folder")
    for name in ("home", f"tictactoe-kernels-{os.getuid()}"):
        (tmp_path / name).write_text("no folder")
    (package / "kernels.py").write_text(KERNELS.replace("answer.stats.cache_path", "'nowhere'"))
    for _ in range(2):
        assert run(package, HOME=str(tmp_path / "home"), TMPDIR=str(tmp_path)) == (1, 0, Path("nowhere"))


def test_the_fingerprint_is_of_names_and_contents(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiled, "SOURCES", tmp_path)
    prints = []
    for name, content in (("a.py", ""), ("b.py", ""), ("b.py", "x"), ("a.py", "x"), ("notes.txt", "x")):
        (tmp_path / name).write_text(content)
        prints.append(compiled.fingerprint())
    assert len(set(prints)) == 4
    assert prints[3] == prints[4]

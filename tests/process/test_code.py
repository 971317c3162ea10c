"""Nodes are told apart by their code: any change of it counts, and nothing else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tictactoe.process import code

VERSIONS = ("3.12.1", "2.0")


def copy(to: Path) -> Path:
    shutil.copytree(code.ROOT, to, ignore=shutil.ignore_patterns("__pycache__"))
    return to


def test_it_is_short_and_the_same_each_time() -> None:
    found = code.version()
    assert re.fullmatch(r"[0-9a-f]{12}", found)
    code._version.cache_clear()
    assert code.version() == found


def test_the_place_and_what_is_compiled_do_not_count(tmp_path: Path) -> None:
    root = copy(tmp_path / "elsewhere")
    (root / "core" / "__pycache__").mkdir()
    (root / "core" / "__pycache__" / "game.cpython-312.pyc").write_bytes(b"x")
    (root / "reporting" / "play.py").write_text("")
    (root / "verify.py").write_text("")
    assert code._hash(root, VERSIONS) == code._hash(code.ROOT, VERSIONS)


def test_each_change_counts(tmp_path: Path) -> None:
    root = copy(tmp_path / "tictactoe")
    before = code._hash(root, VERSIONS)
    seen = {before, code._hash(root, ("3.12.2", "2.0"))}
    source = root / "core" / "learner.py"
    source.write_text(source.read_text() + "\n")
    seen.add(code._hash(root, VERSIONS))
    source.rename(root / "core" / "other.py")
    seen.add(code._hash(root, VERSIONS))
    (root / "errors.py").unlink()
    seen.add(code._hash(root, VERSIONS))
    assert len(seen) == 5

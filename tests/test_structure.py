"""The import rule: who may know whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from conftest import ROOT

FILES = sorted([ROOT / "main.py", *(ROOT / "tictactoe").rglob("*.py")])
ALLOWED = {
    "game": set(),
    "table": {"game"},
    "learner": {"game", "table"},
    "evaluation": {"game", "table", "learner"},
    "policy": {"game", "table", "learner", "evaluation"},
    "verify": set(),
}


def imports(path: Path) -> set[str]:
    """Everything that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    roots = {module.partition(".")[0] for module in imports(path)}
    if not name.startswith("tictactoe/tuning/"):
        assert "ray" not in roots
    if name != "tictactoe/reporting/tracking.py":
        assert "wandb" not in roots
    ours = {module.split(".")[1] for module in imports(path) if module.startswith("tictactoe.")}
    if path.stem in ALLOWED and path.parent.name == "tictactoe":
        assert ours <= ALLOWED[path.stem]
    if name.startswith("tictactoe/reporting/"):
        assert "tuning" not in ours
    if name.startswith("tictactoe/tuning/"):
        assert "reporting" not in ours


def test_the_package_imports_nothing() -> None:
    assert (ROOT / "tictactoe" / "__init__.py").read_text() == ""

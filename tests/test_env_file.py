"""The `.env` file: what counts in it, and malformed lines by their number."""

from __future__ import annotations

from pathlib import Path

import pytest

from tictactoe import env_file
from tictactoe.errors import UserError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_assignments_are_read(file: Path) -> None:
    file.write_text("# a comment\n\nA=1\nexport B='two words'\nC=\"x\\ny\" # more\nD=\nA=2\n  E = ä \n", encoding="utf-8")
    assert env_file.read(file) == {"A": "2", "B": "two words", "C": "x\ny", "D": "", "E": "ä"}


def test_no_file_or_a_folder_there_is_none(tmp_path: Path) -> None:
    assert env_file.read(tmp_path / "none") == {}
    assert env_file.read(tmp_path) == {}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"not an assignment\n", 1),
        (b"A=1\n'unclosed=1\n", 2),
        (b"A=1\n\nKEY\n", 3),
        (b"'a=b'=1\n", 1),
        (b"=1\n", 1),
        (b"A=1\nB='unclosed\n", 2),
        (b"A=\x00\n", 1),
    ],
)
def test_a_malformed_line_is_named_with_the_remedy(file: Path, content: bytes, line: int) -> None:
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"\.env, line {line}: .*; mend or remove it$"):
        env_file.read(file)


def test_a_file_that_cannot_be_read(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\n")
    with pytest.raises(UserError, match=r"\.env: cannot be read \(.*\); mend or remove it$"):
        env_file.read(file)


def test_which_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TICTACTOE_ENV_FILE", raising=False)
    assert env_file.path() == Path(".env")
    monkeypatch.setenv("TICTACTOE_ENV_FILE", "")
    assert env_file.path() == Path(".env")
    monkeypatch.setenv("TICTACTOE_ENV_FILE", "/elsewhere")
    assert env_file.path() == Path("/elsewhere")


@pytest.mark.parametrize(("value", "placeholder"), [("", True), (" your-key-here ", True), ("changeme", True), ("key", False)])
def test_placeholders(value: str, placeholder: bool) -> None:
    assert env_file.is_placeholder(value) == placeholder

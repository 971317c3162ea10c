"""The `.env` file: what counts in it, and malformed lines by their number."""

from __future__ import annotations

import os
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


def test_a_value_with_another_in_it_is_python_dotenvs(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTER", "o")
    monkeypatch.setenv("A", "o")
    file.write_text("A=1\nB=${A}2\nC='${OUTER}'\nD=${NONE:-default}\nE=$A\n")
    assert env_file.read(file) == {"A": "1", "B": "12", "C": "o", "D": "default", "E": "$A"}


def test_a_byte_order_mark_and_windows_line_ends(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfA=1\r\nB=2\r\n")
    assert env_file.read(file) == {"A": "1", "B": "2"}


def test_no_file_or_a_folder_there_is_none(tmp_path: Path) -> None:
    assert env_file.read(tmp_path / "none") == {}
    assert env_file.read(tmp_path) == {}


def test_what_is_not_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TICTACTOE_ENV_FILE", raising=False)
    assert env_file.note(env_file.path()) is None
    monkeypatch.setenv("TICTACTOE_ENV_FILE", "elsewhere")
    assert env_file.note(env_file.path()) == (
        "TICTACTOE_ENV_FILE elsewhere: there is no such file; no settings are taken from it"
    )
    monkeypatch.setenv("TICTACTOE_ENV_FILE", os.devnull)
    assert env_file.note(env_file.path()) is None
    monkeypatch.delenv("TICTACTOE_ENV_FILE")
    for make in (Path.mkdir, lambda path: os.mkfifo(path), lambda path: path.symlink_to("nowhere")):
        make(tmp_path / ".env")
        assert env_file.note(env_file.path()) == ".env: no plain file; no settings are taken from it"
        assert env_file.read(env_file.path()) == {}
        (tmp_path / ".env").rmdir() if (tmp_path / ".env").is_dir() else (tmp_path / ".env").unlink()
    (tmp_path / ".env").touch()
    assert env_file.note(env_file.path()) is None


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

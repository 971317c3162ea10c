"""Files that are whole or not there."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tictactoe import files


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what has been synced to the disk, in order."""
    names: list[str] = []
    sync = os.fsync

    def record(descriptor: int) -> None:
        names.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    return names


def test_a_file_takes_the_place_of_another_and_both_are_on_the_disk(tmp_path: Path, synced: list[str]) -> None:
    path = tmp_path / "file"
    files.write(path, "ä\n")
    files.write(path, b"\0\1")
    assert path.read_bytes() == b"\0\1"
    assert synced == ["file.partial", tmp_path.name] * 2  # the content before the name
    files.write(path, "ä\n")
    assert path.read_text(encoding="utf-8") == "ä\n"
    assert [child.name for child in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError(), KeyboardInterrupt()], ids=repr)
def test_an_error_leaves_nothing_behind_and_the_old_content(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(type(error)), files.atomic(path) as file:
        file.write(b"new")
        raise error
    assert path.read_text() == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["file"]


def test_until_the_end_of_the_block_the_old_content_stands(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    (tmp_path / "file.partial").write_text("what a kill has left")
    with files.atomic(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_mode_is_kept_from_the_first_byte_on(tmp_path: Path) -> None:
    with files.atomic(tmp_path / "secret", mode=0o600) as file:
        assert stat.S_IMODE((tmp_path / "secret.partial").stat().st_mode) == 0o600
        file.write(b"x")
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    (tmp_path / "secret").chmod(0o644)
    files.write(tmp_path / "secret", "y", mode=0o600)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.write(tmp_path / "none" / "file", "x")


def test_lines_are_on_the_disk_and_their_files_name_too(tmp_path: Path, synced: list[str]) -> None:
    path = tmp_path / "lines"
    files.append(path, "one\n")
    assert synced == ["lines", tmp_path.name]
    files.append(path, "two\n")
    assert synced[2:] == ["lines"]
    assert path.read_text() == "one\ntwo\n"


def test_a_line_after_a_torn_one_is_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntw")
    files.append(path, "three\n")
    files.append(path, "four\n")
    assert path.read_bytes() == b"one\ntw\nthree\nfour\n"
    path.write_bytes(b"")
    files.append(path, "one\n")
    assert path.read_bytes() == b"one\n"


def test_a_file_system_that_cannot_sync_folders_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    files.write(tmp_path / "file", "x")
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff", b"[" * 100_000, b'"text"'])
def test_what_is_no_object_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert files.read_json(tmp_path / "file") is None


def test_objects_and_checksums(tmp_path: Path) -> None:
    path = tmp_path / "file"
    expected: dict[str, Any] = {"ä": [1, None]}
    path.write_text('{"ä": [1, null]}', encoding="utf-8")
    assert files.read_json(path) == expected
    assert files.sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    for nothing in (tmp_path / "none", tmp_path):
        assert files.read_json(nothing) is None
        assert files.sha256(nothing) is None

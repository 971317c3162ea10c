"""Files that are whole or not there, also after the power has failed."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic(path: Path, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """A binary file to write that takes the place of `path` at the end of the block: whole, or not at all.

    When the block raises, nothing is left. Content and name are on the disk afterwards. `mode` is the new file's, less the
    process's umask. Raises OSError.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write(path: Path, content: str | bytes, mode: int = 0o666) -> None:
    """Write a file with `atomic`; text as UTF-8."""
    with atomic(path, mode) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def append(path: Path, line: str) -> None:
    """Write one line (with its break) through to the disk, on a line of its own even after a torn one."""
    new = not path.exists()
    with path.open("ab+") as file:
        torn = file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
        file.write(b"\n" * bool(torn) + line.encode())
        file.flush()
        os.fsync(file.fileno())
    if new:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have a folder's names on the disk: without them a file may be gone after a power failure, though it was synced."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some network file systems know no such thing
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_private(folder: Path) -> bool:
    """Whether it is a real folder of this user's that nobody else can write to or read."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file, None where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def sha256(path: Path) -> str | None:
    """Of a file's content, None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None

"""Which code this is: with another one a node would come to other results, and may not take part in a search."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("ray", "numpy", "numba", "llvmlite")
"""Results depend on their versions, or nodes could not talk to each other."""
ELSEWHERE = ("reporting", "verify.py", "commands.py")
"""No part of these runs on a node."""
LENGTH = 12
"""Hexadecimal digits."""


def version() -> str:
    """A short hash of the program's sources, of Python's version and of those of the packages that decide results."""
    return _version()  # a function that caches itself could not be a task of Ray's


@cache
def _version() -> str:
    return _hash(ROOT, (platform.python_version(), *map(metadata.version, PACKAGES)))


def _hash(root: Path, versions: tuple[str, ...]) -> str:
    digest = hashlib.sha256(repr(versions).encode())
    for path in sorted(_sources(root)):
        digest.update(f"\0{path.relative_to(root).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:LENGTH]


def _sources(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*.py") if path.relative_to(root).parts[0] not in ELSEWHERE)

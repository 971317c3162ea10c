"""How kernels are compiled, and where their machine code is kept.

Numba keeps the code of a kernel under a hash of the file that the kernel stands in, and knows nothing of functions that
other files had compiled into it. So the folder is named after a hash of all sources of this package: after any change
there is another folder.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba

SOURCES = Path(__file__).resolve().parent


def fingerprint() -> str:
    """Of the package's sources, in 16 hexadecimal digits."""
    hashes = hashlib.sha256()
    for path in sorted(SOURCES.glob("*.py")):
        hashes.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return hashes.hexdigest()[:16]


def cache_folder() -> str | None:
    """The folder for machine code, made where it is missing: under the first parent that can be written to.

    Parents are NUMBA_CACHE_DIR if it is set, this package's `__pycache__`, the user's folder for caches, and one of this
    user's among the temporary files. None where nothing can be written.
    """
    name = f"kernels-{fingerprint()}"
    for parent in _parents():
        with suppress(OSError):
            folder = parent / name
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            return str(folder)
    return None


def _parents() -> Iterator[Path]:
    if named := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(named)
    yield SOURCES / "__pycache__"
    with suppress(RuntimeError):  # no home is known
        yield Path.home() / ".cache" / "tictactoe"
    with suppress(OSError):
        private = Path(tempfile.gettempdir(), f"tictactoe-kernels-{os.getuid()}")
        private.mkdir(mode=0o700, exist_ok=True)
        # What lies there is run, and anybody may have made a folder of that name.
        status = private.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077:
            yield private


FOLDER = cache_folder()
_CONFIG: Any = numba.config


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called with arguments of new types; it runs without Python's global lock."""
    before = _CONFIG.CACHE_DIR
    _CONFIG.CACHE_DIR = FOLDER or ""
    try:
        return numba.njit(cache=FOLDER is not None, nogil=True)(function)
    finally:
        _CONFIG.CACHE_DIR = before


inline = numba.njit(inline="always")
"""For a part of kernels, compiled into each of them."""

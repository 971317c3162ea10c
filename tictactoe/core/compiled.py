"""How kernels are compiled, and where their machine code is kept.

Numba keeps the code of a kernel under a hash of the file that the kernel stands in, and knows nothing of functions that
other files had compiled into it. So the folder is named after a hash of all sources of this package: after any change
there is another folder.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np

from tictactoe.files import is_private

SOURCES = Path(__file__).resolve().parent


def fingerprint() -> str:
    """Of the package's sources, in 16 hexadecimal digits."""
    hashes = hashlib.sha256()
    for path in sorted(SOURCES.glob("*.py")):
        hashes.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return hashes.hexdigest()[:16]


make_folders = True
"""Whether the folder is made where it is missing; `--check` makes nothing, and compiles without one then."""


@cache
def folder() -> str | None:
    """The folder for machine code, in this process: under the first parent that can be written to.

    Parents are NUMBA_CACHE_DIR if it is set, this package's `__pycache__`, the user's folder for caches, and one of this
    user's among the temporary files. None where nothing can be written.
    """
    name = f"kernels-{fingerprint()}"
    for parent in _parents():
        with suppress(OSError):
            found = parent / name
            if make_folders:
                found.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=found).close()
            return str(found)
    return None


def _parents() -> Iterator[Path]:
    if named := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(named)
    yield SOURCES / "__pycache__"
    with suppress(RuntimeError):  # no home is known
        yield Path.home() / ".cache" / "tictactoe"
    with suppress(OSError):
        private = Path(tempfile.gettempdir(), f"tictactoe-kernels-{os.getuid()}")
        if make_folders:
            private.mkdir(mode=0o700, exist_ok=True)
        if is_private(private):  # what lies there is run, and anybody may have made a folder of that name
            yield private


_CONFIG: Any = numba.config


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called with arguments of new types; it runs without Python's global lock.

    With NUMBA_DISABLE_JIT it stays Python, where NumPy would warn of sums that overflow as they are meant to.
    """
    if _CONFIG.DISABLE_JIT:
        return np.errstate(over="ignore")(function)
    before = _CONFIG.CACHE_DIR
    _CONFIG.CACHE_DIR = folder() or ""
    try:
        return numba.njit(cache=folder() is not None, nogil=True)(function)
    finally:
        _CONFIG.CACHE_DIR = before


inline = numba.njit(inline="always")
"""For a part of kernels, compiled into each of them."""

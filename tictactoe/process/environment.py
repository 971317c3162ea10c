"""What has to be in the environment before Ray, Numba and W&B are imported. Standard library only."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_DEFAULTS = {
    "RAY_AUTH_MODE": "token",  # an open dashboard runs anybody's code (CVE-2023-48022)
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output engine prints a frame even when told to be quiet
    "RAY_DEDUP_LOGS": "0",
    "RAY_prestart_worker_first_driver": "0",  # workers beside those of the first tasks would only take memory
    "RAY_USAGE_STATS_ENABLED": "0",
    # Its kills are errors that Tune does not know and ends the search for. The kernel's it knows: it tries the trial again.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # file loggers cost more than a short trial
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are ours: see Interrupt
    "WANDB_SILENT": "true",
}


def set_defaults() -> None:
    """Set what neither the user nor `.env` has set; before Ray or W&B is imported."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def prepare() -> None:
    """What must be in place before Numba is imported. Raises OSError where nothing can be written to."""
    tempfile.gettempdir()
    with suppress(OSError, RuntimeError):  # preflight says so where it matters
        Path.home().mkdir(parents=True, exist_ok=True)
    baked = os.environ.get("TICTACTOE_NUMBA_CACHE")
    if baked and "NUMBA_CACHE_DIR" not in os.environ and Path(baked).is_dir():
        os.environ["NUMBA_CACHE_DIR"] = _writable_copy(Path(baked))


def _writable_copy(baked: Path) -> str:
    """A copy of the image's compiled code, made once: Numba uses only a cache that it may also write to."""
    folder = Path(tempfile.gettempdir(), f"numba-{os.getuid()}")
    if not folder.exists():
        partial = tempfile.mkdtemp(prefix="numba-")
        shutil.copytree(baked, partial, dirs_exist_ok=True)
        try:
            Path(partial).rename(folder)
        except OSError:  # another process was quicker
            shutil.rmtree(partial, ignore_errors=True)
    return str(folder)


def provide_token() -> str:
    """Make sure that Ray finds a token, and say where it comes from.

    It is RAY_AUTH_TOKEN, else the file that RAY_AUTH_TOKEN_PATH names, else ~/.ray/auth_token; a file that is
    missing is made. A token from the environment is written to RAY_AUTH_TOKEN_PATH too, so that
    `ray get-auth-token` finds it from another shell. Raises OSError when the file cannot be written.
    """
    token = os.environ.get("RAY_AUTH_TOKEN", "").strip()
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if token and not named:
        return "RAY_AUTH_TOKEN"
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    if token or not (path.is_file() and path.read_text().strip()):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token or secrets.token_hex(32))
        partial.replace(path)
    return "RAY_AUTH_TOKEN" if token else str(path)

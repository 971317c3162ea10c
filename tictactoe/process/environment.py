"""What has to be in the environment before Numba, Ray and W&B are imported."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from tictactoe import env_file, files
from tictactoe.env_file import PREFIX, is_placeholder
from tictactoe.process import ray_address

DEFAULTS = {
    "RAY_AUTH_MODE": "token",  # an open dashboard runs anybody's code (CVE-2023-48022)
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output engine prints a frame even when told to be quiet
    "RAY_DEDUP_LOGS": "0",
    # As where Ray supports one node only: its address is 127.0.0.1 (or ::1). So only the dashboard is for other machines, and
    # a firewall or VPN on this one's other addresses is of no account. An address in RAY_ADDRESS is taken as it is, too.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_prestart_worker_first_driver": "0",  # workers beside those of the first tasks would only take memory
    "RAY_USAGE_STATS_ENABLED": "0",
    # Its kills are errors that Tune does not know and ends the search for. The kernel's it knows: it tries the trial again.
    "RAY_memory_monitor_refresh_ms": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # file loggers cost more than a short trial
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are ours: see Interrupt
    "WANDB_SILENT": "true",
}


def prepare() -> dict[str, str]:
    """Put everything into the environment, in the order in which libraries look at it; returns the lines of `.env`.

    1. A folder for temporary files: nothing else works without one.
    2. The home folder is made where it can be: Ray and W&B write to it. Where it cannot, preflight says so.
    3. NUMBA_CACHE_DIR, where an image has brought compiled code along: before Numba is imported, by anything of `core`.
    4. The lines of `.env` that are not ours (WANDB_*, RAY_*, ...), where the environment does not set them: before Ray and
       W&B are imported, which read them then.
    5. Our defaults for Ray and W&B, where neither the user nor `.env` has set anything. Where RAY_ADDRESS names no running
       Ray (empty, `local`), it is taken out.

    Raises OSError where no temporary file can be written, UserError for a `.env` that cannot be read.
    """
    tempfile.gettempdir()
    with suppress(OSError, RuntimeError):
        Path.home().mkdir(parents=True, exist_ok=True)
    baked = os.environ.get(PREFIX + "NUMBA_CACHE")
    if baked and "NUMBA_CACHE_DIR" not in os.environ and Path(baked).is_dir():
        os.environ["NUMBA_CACHE_DIR"] = _writable_copy(Path(baked))
    lines = env_file.read(env_file.path())
    for name, value in lines.items():
        if not name.startswith(PREFIX) and not is_placeholder(value):
            os.environ[name] = os.environ.get(name) or value  # a variable that is set but empty says nothing
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if ray_address.existing() is None:
        os.environ.pop("RAY_ADDRESS", None)  # Ray would look at an empty one too
    return lines


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
        files.write(path, token or secrets.token_hex(32), mode=0o600)
    return "RAY_AUTH_TOKEN" if token else str(path)

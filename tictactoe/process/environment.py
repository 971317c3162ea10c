"""What has to be in the environment before Numba, Ray and W&B are imported, and what they need on the disk."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import tempfile
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tictactoe import env_file, files
from tictactoe.env_file import PREFIX, is_placeholder, is_word
from tictactoe.process import processes, ray_address, variables

SECRETS = ("WANDB_API_KEY", "RAY_AUTH_TOKEN")
_RAYS_SOCKET = f"/{processes.PREFIX}00000000/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest name of a socket of Ray's, from RAY_TMPDIR on."""
_PYTHONS_SOCKET = f"/{processes.PREFIX}00000000/pymp-00000000/listener-00000000"
"""The longest name of a socket that Python's `multiprocessing` makes, in Ray's dashboard for one, from TMPDIR on."""
_SOCKET_BYTES = 107
"""Longest name that Linux lets a socket have."""
_PLAIN = re.compile(r"[A-Za-z0-9_./,:=@%+-]+")
"""What stays one word in a shell's line, as which Ray starts its workers."""
_SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - a run makes a private folder there


@dataclass(frozen=True)
class Environment:
    """What `prepare` has found."""

    lines: dict[str, str]
    """The assignments of `.env`."""
    decisions: list[str]
    """What was made of each variable of others that was set."""
    notes: list[str]
    """What the user should know of `.env`."""


def prepare() -> Environment:
    """Put everything into the environment, in the order in which libraries look at it. Nothing is made on the disk.

    1. A folder for temporary files: nothing else works without one.
    2. The lines of `.env` that are not ours (WANDB_*, RAY_*, ...), where the environment does not set them.
    3. Keys and tokens as they are meant: without blanks and quotes around them, and none where one is a placeholder.
    4. What `variables` says of others' variables: before Numba, Ray and W&B are imported, which read them then.

    Raises OSError where no temporary file can be written, UserError for a `.env` that cannot be read.
    """
    tempfile.gettempdir()
    file = env_file.path()
    lines = env_file.read(file)
    for name, value in lines.items():
        if not name.startswith(PREFIX) and not is_placeholder(value):
            os.environ[name] = os.environ.get(name) or value  # a variable that is set but empty says nothing
    for name in SECRETS:
        if value := os.environ.pop(name, ""):
            value = value.strip().strip("\"'")
            if not is_placeholder(value):
                os.environ[name] = value
    if ray_address.existing() is None:
        os.environ.pop("RAY_ADDRESS", None)  # Ray would look at an empty one too
    if os.environ.get("PYTHONWARNINGS"):  # read by this interpreter already: warnings as errors would end it
        warnings.simplefilter("ignore")
    decisions = variables.apply(os.environ)
    return Environment(lines, decisions, [note] if (note := env_file.note(file)) else [])


def make_folders() -> None:
    """Make what libraries need: the home folder, where it can be, and a place for compiled code that an image brings along.

    Ray and W&B write to the home folder. Where it cannot be made, preflight says so. NUMBA_CACHE_DIR has to be there before
    Numba is imported, by anything of `core` that is compiled.
    """
    with suppress(OSError, RuntimeError):
        Path.home().mkdir(parents=True, exist_ok=True)
    baked = os.environ.get(PREFIX + "NUMBA_CACHE")
    if baked and "NUMBA_CACHE_DIR" not in os.environ and Path(baked).is_dir():
        os.environ["NUMBA_CACHE_DIR"] = _writable_copy(Path(baked))


def _writable_copy(baked: Path) -> str:
    """A copy of the image's compiled code, made once: Numba uses only a cache that it may also write to."""
    folder = Path(tempfile.gettempdir(), f"numba-{os.geteuid()}")
    if not files.is_private(folder):
        partial = tempfile.mkdtemp(prefix="numba-")
        shutil.copytree(baked, partial, dirs_exist_ok=True)
        Path(partial).chmod(0o700)  # copytree has given it the original's
        try:
            Path(partial).rename(folder)
        except OSError:  # another process was quicker, or somebody else has that name
            if not files.is_private(folder):
                return partial
            shutil.rmtree(partial, ignore_errors=True)
    return str(folder)


def session_folder() -> tuple[Path | None, str]:
    """Under which folder a Ray of our own keeps its session, and what there is to say of it.

    It is RAY_TMPDIR, else the folder for temporary files, if sockets of Ray's can be there: else another one with a short name.
    None where there is no such folder either.
    """
    named = os.environ.get("RAY_TMPDIR")
    base = Path(named or tempfile.gettempdir())
    return _fit("RAY_TMPDIR" if named else "TMPDIR", base.absolute(), _RAYS_SOCKET, "Ray's session is in")


def temporary_folder() -> tuple[Path | None, str]:
    """Where temporary files go, and what there is to say of it: another folder where names of sockets get too long."""
    return _fit("TMPDIR", Path(tempfile.gettempdir()), _PYTHONS_SOCKET, "temporary files go to")


def _fit(variable: str, base: Path, longest: str, what: str) -> tuple[Path | None, str]:
    if (problem := _unfit(base, longest)) is None:
        return base, ""
    for other in map(Path, _SHORT):
        if _unfit(other, longest) is None:
            return other, f"{variable} {base} {problem}: {what} {other}"
    return None, f"{variable} {base} {problem}; set {variable} to a writable folder with a short, plain name"


def _unfit(base: Path, longest: str) -> str | None:
    """Why sockets with names of up to so many bytes could not be under a folder."""
    if not base.is_dir():
        return "is no folder" if base.exists() else "is not there"
    if longest == _RAYS_SOCKET and not _PLAIN.fullmatch(str(base)):
        return "has letters in its name that the command for Ray's workers cannot hold"
    if (excess := len(os.fsencode(base)) + len(longest) - _SOCKET_BYTES) > 0:
        return f"is {excess} byte{'s' * (excess > 1)} too long for the names of sockets"
    try:
        with tempfile.TemporaryDirectory(dir=base) as folder, socket.socket(socket.AF_UNIX) as probe:
            probe.bind(f"{folder}/s")
    except OSError as error:
        return f"cannot hold sockets ({error.strerror})"
    return None


def provide_token(make: bool = True) -> Path | None:
    """Make sure that Ray finds a token; returns the file that it is in, None where only RAY_AUTH_TOKEN has it.

    It is RAY_AUTH_TOKEN, else the file that RAY_AUTH_TOKEN_PATH names, else ~/.ray/auth_token; a file that is missing is made,
    if `make`. A token from the environment is written to RAY_AUTH_TOKEN_PATH too, so that it is found from another shell.
    Raises OSError when the file cannot be read or written, ValueError when it cannot be a token.
    """
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    if token and not os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return None
    path = _token_file()
    there = path.read_text(errors="replace").strip() if path.exists() else ""
    if not is_word(there):
        raise ValueError(f"{path} holds more than one word of ASCII letters and digits")
    if make and (token != there if token else not there):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, f"{token or secrets.token_hex(32)}\n", mode=0o600)
    return path


def token_is_given() -> bool:
    """Whether there is a token already, which `provide_token` need not make."""
    with suppress(OSError, RuntimeError):
        return bool(os.environ.get("RAY_AUTH_TOKEN") or _token_file().read_text(errors="replace").strip())
    return False


def _token_file() -> Path:
    """Raises RuntimeError where this user has no home folder."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return (Path(named) if named else Path.home() / ".ray" / "auth_token").absolute()

"""Whether W&B's runs can go to their server: found out once, before any run, beside Ray's start.

A run that does not reach its server, or may not write there, waits for long and is lost. So what W&B itself would use
is looked up and asked: its settings, its key, the entity and the project.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tictactoe import env_file
from tictactoe.experiment.fingerprint import search_name
from tictactoe.experiment.rounds import races
from tictactoe.reporting.server import PROBE_SECONDS, Offline, Server, UnknownEntity, ask
from tictactoe.text import one_line, reason

if TYPE_CHECKING:
    from tictactoe.settings import Settings

LOAD_SECONDS = 10.0
"""Longest wait for W&B's package and the server's answers together."""
PROJECT = "ray-tune-tictactoe"
RUN_EACH_UP_TO = 1_000
"""The most trials that have a run each; of more than that as many share one run. In a race those of the last round have one."""


class Probe:
    """Asks, in a thread beside Ray's start."""

    def __init__(self, settings: Settings) -> None:
        key = "" if settings.wandb_api_key is None else settings.wandb_api_key.get_secret_value().strip(" \t\r\n'\"")
        if key:
            os.environ["WANDB_API_KEY"] = key
        else:
            os.environ.pop("WANDB_API_KEY", None)
        for name in [name for name, value in os.environ.items() if name.startswith("WANDB_") and not value]:
            del os.environ[name]  # set but empty says nothing
        self.project = self.place = PROJECT
        """Where runs go: the project, and where the entity is known, "entity/project"."""
        self._settings = settings
        self._server: Server | None = None
        self._answer: tuple[str, str] | None = None
        self._result: tuple[str, str] | None = None
        self._late = "its package is not loaded yet"
        self._end = 0.0
        self._thread = threading.Thread(target=self._look, daemon=True)

    def start(self) -> None:
        """Begin to ask; W&B's import takes a second of a core, so best while there is something to wait for."""
        self._end = time.monotonic() + LOAD_SECONDS
        self._thread.start()

    def result(self) -> tuple[str, str]:
        """(mode, message): "online", "offline" or "disabled", and what to tell the user about it."""
        if self._thread.ident is None:
            self.start()
        while self._thread.is_alive() and time.monotonic() < self._end:
            self._thread.join(0.02)
        if self._result is None:  # decided once: a late answer changes nothing
            self._result = self._answer or ("offline", self._said(self._late))
        return self._result

    def answers(self) -> bool:
        """Whether the server of online runs still answers anything at all."""
        return self._server is None or self._server.answers()

    def _look(self) -> None:
        try:
            self._answer = self._decide()
        except Offline as offline:
            self._answer = "offline", self._said(str(offline))
        except Exception as error:  # telemetry never fails a search
            self._answer = "offline", self._said(reason(error))

    def _said(self, why: str) -> str:
        command = sync_command(self._settings.results_dir / search_name(self._settings))
        return f"W&B: {why}; runs are kept offline{self._grouped()}, `{command}` sends them later"

    def _grouped(self) -> str:
        many = self._settings.num_samples > RUN_EACH_UP_TO and not races(self._settings)
        return f", {RUN_EACH_UP_TO:,} trials in each run" if many else ""

    def _decide(self) -> tuple[str, str]:
        """What W&B's own settings and the server say. Raises Offline."""
        if os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true"):
            return "disabled", "W&B: disabled, as WANDB_DISABLED says"
        chosen, malformed = _wandb_settings()
        by = "WANDB_MODE" if os.environ.get("WANDB_MODE") else _settings_files(chosen)
        if chosen.mode == "disabled":
            return "disabled", f"W&B: disabled, as {by} says"
        if malformed:
            raise Offline(malformed)
        if chosen.mode in ("offline", "dryrun"):
            raise Offline(f"offline, as {by} says")
        key = _key(chosen)
        entity, self.project = chosen.entity, chosen.project or PROJECT
        headers = chosen.x_extra_http_headers or {}
        self._server = Server(chosen.base_url, _proxy(chosen), not chosen.insecure_disable_ssl, headers)
        socks = (self._server.proxy or "").startswith("socks")
        if key is not None and not socks:  # else the first run tells: only W&B's service process can ask
            self._end = min(self._end, time.monotonic() + PROBE_SECONDS)
            self._late = f"{self._server.address} does not answer within {PROBE_SECONDS:g} s"
            try:
                entity = ask(self._server, key, entity, self.project)
            except UnknownEntity:
                chosen.entity = None  # else runs would carry it, and `wandb sync` could not send them
                raise
        self.place = f"{entity}/{self.project}" if entity else self.project
        return "online", f"W&B: online at {self._server.address}, in {self.place}{self._grouped()}"


def sync_command(folder: Path, online: bool = False) -> str:
    """The command that sends the runs of a search's folder, from where the program was started.

    Those that never reached the server, with `online` also those that reached it in part.
    """
    command = _wandb(f"sync {'--include-online ' if online else ''}{_quoted(folder / 'wandb')}")
    if any(name.startswith("WANDB_") for name in env_file.read(env_file.path())):
        return f"{_quoted(Path(sys.executable))} -m dotenv -f {_quoted(env_file.path())} run --no-override {command}"
    return command


def _wandb(arguments: str) -> str:
    """A command line of W&B's own, as it can be typed where the program was started."""
    return f"{_quoted(Path(sys.executable))} -m wandb {arguments}"


def _quoted(path: Path) -> str:
    """A path for the shell, as short as can be."""
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))


class _Errors:
    """What W&B would print about its settings files."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def error(self, line: str) -> None:
        self.lines += re.sub(r"\x1b\[\d+m|wandb: |ERROR |WARNING ", "", line).splitlines()

    warning = error

    def info(self, line: str) -> None:
        """Nothing wrong."""


def _wandb_settings() -> tuple[Any, str]:
    """W&B's settings of this environment and its settings files, and what is malformed there, else "".

    Malformed variables are taken out of the environment: with them no run could start, not even offline.
    """
    import wandb
    from pydantic import ValidationError
    from wandb.sdk import wandb_setup

    quiet, errors, malformed = wandb.Settings(silent=True), _Errors(), []
    wandb.termsetup(quiet, errors)
    for name, value in list(os.environ.items()):
        if not name.startswith("WANDB_") or name == "WANDB_API_KEY":
            continue
        try:
            wandb.Settings().update_from_env_vars({name: value})
        except Exception as error:
            del os.environ[name]
            text = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            team = "; WANDB_ENTITY names the team" if name == "WANDB_PROJECT" and "/" in value else ""
            malformed.append(f"{name}: {one_line(text.removeprefix('Value error, '))}{team}")
    settings = wandb_setup.singleton().settings
    wandb.termsetup(quiet, None)
    if errors.lines:
        malformed.append(f"{_settings_files(settings)}: {one_line(' '.join(errors.lines))}")
    return settings, "; ".join(malformed)


def _settings_files(chosen: Any) -> str:
    """Those of W&B's settings files that there are."""
    return " and ".join(map(str, chosen.read_system_settings().sources))


def _key(chosen: Any) -> str | None:
    """The key that W&B would use, None where it would use an identity token. Raises Offline."""
    from wandb.errors import AuthenticationError
    from wandb.sdk.lib import wbauth

    try:
        auth = wbauth.authenticate_session(host=chosen.base_url, source="", prompt=False, update_session=False)
    except AuthenticationError as error:
        raise Offline(one_line(str(error)).rstrip(".")) from None
    if auth is None:
        raise Offline(f"no WANDB_API_KEY, and no `{_wandb('login')}`")
    if isinstance(auth, wbauth.AuthApiKey):
        return auth.api_key
    assert isinstance(auth, wbauth.AuthIdentityTokenFile)
    if not auth.path.is_file():
        raise Offline(f"WANDB_IDENTITY_TOKEN_FILE: there is no file {auth.path}")
    return None


def _proxy(chosen: Any) -> str | None:
    """The proxy that W&B's service process goes through, which takes none for this machine itself, and not ALL_PROXY."""
    scheme, host = urlsplit(chosen.base_url).scheme, urlsplit(chosen.base_url).hostname or ""
    if host == "localhost" or host.startswith("127.") or host == "::1" or urllib.request.proxy_bypass(host):
        return None
    return getattr(chosen, f"{scheme}_proxy") or urllib.request.getproxies().get(scheme)

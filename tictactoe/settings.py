"""The settings of a run: command line, over environment (`TICTACTOE_...`), over `.env`, over defaults."""

from __future__ import annotations

import argparse
import difflib
import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn, get_args

from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tictactoe import situation
from tictactoe.core.game import Board
from tictactoe.env_file import PREFIX, is_placeholder, is_word
from tictactoe.errors import UserError

CLUSTER_PORT = 6379
METRICS_PORT = 9464
"""The usual one of OpenTelemetry's exporter for Prometheus, which Ray's is."""


class Command(NamedTuple):
    """What can be done besides a search."""

    about: str
    argument: str
    """The setting that stands on the command line without an option."""
    metavar: str
    help: str
    """Of the argument."""
    options: tuple[str, ...]


_NAME = ("name", "NAME", "name of the search, or path of its folder (default: the newest finished one)")
COMMANDS = {
    "report": Command("Make the report of a finished search again.", *_NAME, ("results_dir",)),
    "play": Command("Play against the winner of a finished search.", *_NAME, ("play_as", "results_dir")),
    "status": Command(
        "Say what a search is doing, or what has become of it. "
        "Exit codes: 0 it runs or has finished, 1 it has failed or fallen silent, 75 it was interrupted.",
        "name",
        "NAME",
        "name of the search, or path of its folder (default: the newest one)",
        ("json_output", "results_dir"),
    ),
    "worker": Command(
        "Join the search that `main.py --cluster` runs on another machine.",
        "head",
        "HEAD[:PORT]",
        f"that machine, and the search's --cluster-port (default: {CLUSTER_PORT}); TICTACTOE_HEAD where it is not named here",
        ("num_cpus", "node_address", "metrics_port"),
    ),
}
_SECRETS = ("wandb_api_key", "ray_auth_token")
_FLAGS = {"play_as": "--as", "json_output": "--json"}
_TEXTS = ("name", "head")
"""Of these `none` is a value like any other."""
_NO_SETTINGS = ("ENV_FILE", "NUMBA_CACHE", "STARTED_BY")
"""Of the variables with our prefix, those that are for others than this module."""
NONE = "none"
"""On the command line, for an option that has no value by default and has one in the environment."""


class Settings(BaseSettings):
    """Every option of every command; the descriptions are the text of `--help`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    command: Literal["search", "report", "play", "status", "worker"] = "search"
    board: str = Field("3x3x3", description="rows x columns x marks in a row to win, up to 16 cells")
    num_samples: int = Field(1024, ge=1, le=100_000, description="configurations to try")
    seeds: int = Field(
        48, ge=1, le=10_000, description="replicates of a configuration, each with its own seed; with race, of the last ones"
    )
    games: int = Field(50_000, ge=1, le=10**12, description="self-play games of each replicate")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of the whole search")
    search: Literal["random", "optuna"] = Field(
        "random", description="how configurations are chosen; with both, results are the same at any concurrency"
    )
    scheduler: Literal["race", "none", "asha"] = Field(
        "race",
        description="which trials play on: race gives few games and seeds to all, and more to the best, round by round; "
        "none gives all to all; asha stops poor trials early, and repeats with --max-concurrent 1 only",
    )
    lag: int = Field(
        8,
        ge=1,
        le=1000,
        description="with --search optuna and no race: a suggestion knows what all trials but the last N - 1 before it have "
        "come to, and at most N run at a time; in a race Optuna suggests generations, whatever N is",
    )
    max_concurrent: int | None = Field(None, ge=1, description="trials at a time (default: as many as CPUs and memory allow)")
    time_budget: float | None = Field(None, gt=0, allow_inf_nan=False, description="end the search after this many seconds")
    cpus_per_trial: float = Field(1.0, gt=0, le=1024, allow_inf_nan=False, description="CPUs that a trial reserves")
    gpus_per_trial: float = Field(0.0, ge=0, le=64, allow_inf_nan=False, description="GPUs that a trial reserves")
    num_cpus: int | None = Field(
        None,
        ge=0,
        le=1024,
        description="CPUs for Ray (default: those this process may use); 0 where others run all trials",
    )
    trial_timeout: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="fail a trial that takes longer than this many seconds"
    )
    name: str | None = Field(None, description="name of the search (default: board and fingerprint)")
    results_dir: Path = Field(Path("results"), description="folder that holds a folder for each search")
    fresh: bool = Field(False, description="move earlier results of this name aside and start over")
    retry_failed: bool = Field(False, description="run failed trials again; else they stay failed when a search goes on")
    hold: bool = Field(False, description="keep the dashboard up after the search, until a signal")
    verbose: bool = Field(False, description="show Ray's own log messages")
    check: bool = Field(False, description="only say what would go wrong, and exit")
    deep: bool = Field(False, description="with --check: also start Ray and run one tiny trial, about half a minute")
    dashboard_host: str = Field("127.0.0.1", description="address that the Ray dashboard listens on")
    dashboard_port: int = Field(8265, ge=1, le=65535, description="port of the Ray dashboard")
    metrics_port: int = Field(
        METRICS_PORT, ge=0, le=65535, description="port of this machine's metrics, for Prometheus; 0 for none"
    )
    cluster: bool = Field(
        False, description="let other machines join the search, each by `main.py worker`; needs RAY_AUTH_TOKEN on all of them"
    )
    cluster_port: int = Field(CLUSTER_PORT, ge=1024, le=65535, description="with --cluster: port that workers join at")
    node_address: str | None = Field(
        None, description="IP address at which the other machines reach this one (default: that of the default route)"
    )
    head: str | None = Field(None, description="of a worker: HOST or HOST:PORT of the search to join")
    json_output: bool = Field(False, description="as JSON, for scripts")
    play_as: Literal["X", "O"] = Field("X", description="your side in the first game; X begins")
    wandb_api_key: SecretStr | None = Field(None, validation_alias=AliasChoices("WANDB_API_KEY"))
    ray_auth_token: SecretStr | None = Field(None, validation_alias=AliasChoices("RAY_AUTH_TOKEN"))

    @property
    def go_on(self) -> str:
        """How an unfinished search is taken up again."""
        return situation.here().go_on(self.results_dir, self.fresh)

    @property
    def kept(self) -> str:
        """What becomes of finished trials when the search ends early, and how it is taken up again."""
        return situation.here().kept(self.results_dir, self.fresh)

    @field_validator("board")
    @classmethod
    def _board(cls, value: str) -> str:
        return str(Board.parse(value))

    @field_validator("name")
    @classmethod
    def _name(cls, value: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("command") != "search":  # a path does as well
            return value
        if value is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
            raise ValueError("use up to 100 letters, digits, '.', '_' and '-', with a letter or digit first (no slash)")
        return value

    @field_validator("results_dir")
    @classmethod
    def _results_dir(cls, value: Path) -> Path:
        if "\0" in str(value):
            raise ValueError("a path cannot hold a null character")
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(value)):  # of two slashes Path has left one
            raise ValueError("results cannot be kept at a URL; name a local folder, or one where the storage is mounted")
        try:
            value = value.expanduser().absolute()
            str(value).encode()  # as Ray will
        except RuntimeError:
            raise ValueError("there is no such user; name a folder") from None
        except FileNotFoundError:
            raise ValueError("the folder you are in is gone; name the whole path, or change to another folder") from None
        except UnicodeEncodeError:
            raise ValueError("its path is no UTF-8; name another folder") from None
        return value

    @field_validator("node_address")
    @classmethod
    def _node_address(cls, value: str | None) -> str | None:
        try:
            return None if value is None else str(ip_address(value))
        except ValueError:
            raise ValueError("not an IP address; name one that this machine has") from None

    @field_validator("head")
    @classmethod
    def _head(cls, value: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("command") != "worker":
            return value
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]@]+)(?::(\d{1,5}))?", value or "")
        if match is None or not 1024 <= int(match[2] or CLUSTER_PORT) <= 65535:
            raise ValueError("name the machine where `main.py --cluster` runs, as HOST or HOST:PORT, port 1024 to 65535")
        return f"{match[1]}:{match[2] or CLUSTER_PORT}"

    @field_validator(*_SECRETS)
    @classmethod
    def _secret(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None or is_placeholder(value.get_secret_value()) else value

    @field_validator("ray_auth_token")
    @classmethod
    def _token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not is_word(value.get_secret_value()):
            raise ValueError("it has to be one word of ASCII letters, digits and signs; mend or remove it")
        return value  # of a key for W&B its probe tells what is wrong: no search waits for that

    @model_validator(mode="after")
    def _together(self) -> Settings:
        if self.deep and not self.check:
            raise ValueError("--deep: only says how deep --check looks; use --check --deep")
        if self.num_cpus == 0 and self.command == "worker":
            raise ValueError("--num-cpus 0: a worker runs trials; use 1 or more")
        if self.num_cpus == 0 and not self.cluster:
            raise ValueError("--num-cpus 0: no trial could run, as no other machine can join; use 1 or more, or --cluster")
        return self


def load(arguments: list[str], env_lines: Mapping[str, str]) -> Settings:
    """The settings of a command line (without the program's name) in this environment and the lines of its `.env`.

    A command takes its own options and no others: what the environment says of a search is not for it. Raises UserError for
    bad input; exits with 0 for `--help`.
    """
    command = arguments[0] if arguments and arguments[0] in COMMANDS else "search"
    options = vars(parser(command).parse_args(arguments if command == "search" else arguments[1:]))
    fields = Settings.model_fields
    options = {n: None if v == NONE and fields[n].default is None and n not in _TEXTS else v for n, v in options.items()}
    options["command"] = command  # always said: the environment cannot name another
    lines = {name.upper(): value for name, value in env_lines.items()}
    wanted = [n for n in fields if n not in _SECRETS]
    if command != "search":
        wanted = [COMMANDS[command].argument, *COMMANDS[command].options]
        options = {n: fields[n].default for n in fields if n not in wanted} | dict.fromkeys(map(str.upper, _SECRETS)) | options
    from_file = {n: value for n in wanted if n not in options and (value := lines.get(_variable(n))) and not _is_set(n)}
    values: dict[str, Any] = from_file | options
    try:
        return Settings(**values)
    except ValidationError as error:
        raise UserError(_one_line(error, options, from_file)) from None


def unknown(env_lines: Mapping[str, str]) -> list[str]:
    """A note for each variable or line of `.env` that has our prefix and is no setting."""
    known = [_variable(name) for name in Settings.model_fields if name not in ("command", *_SECRETS)]
    notes = []
    for place, names in (("", os.environ), (" in .env", env_lines)):
        for name in sorted(names):
            if name.startswith(PREFIX) and name not in known and name.removeprefix(PREFIX) not in _NO_SETTINGS:
                close = difflib.get_close_matches(name, known, 1, 0.85)
                notes.append(f"{name}{place}: no such setting" + (f"; is {close[0]} meant?" if close else ""))
    return notes


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _is_set(name: str) -> bool:
    return any(value and variable.upper() == _variable(name) for variable, value in os.environ.items())


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


def parser(command: str = "search") -> argparse.ArgumentParser:
    """A command's command line, made from the fields of `Settings`; values stay text, absent options are left out."""
    if command != "search":
        about, argument, metavar, text, options = COMMANDS[command]
        result = _Parser(f"main.py {command}", description=about, allow_abbrev=False, argument_default=argparse.SUPPRESS)
        result.add_argument(argument, nargs="?", metavar=metavar, help=text)
        for name in options:
            _add_option(result, name)
        return result
    result = _Parser(
        prog="main.py",
        description="Search hyperparameters of self-play tabular Q-learning with Ray Tune.",
        epilog=f"Every option is also an environment variable ({PREFIX}NUM_SAMPLES=64) and a line of .env; "
        f"--no-..., and '{NONE}' where that is the default, undo these. "
        "Exit codes: 0 finished, 1 failed, 2 bad input or failed check, "
        "75 interrupted and saved (run the same command again to go on). "
        "--check and every search refuse to start, with 2, when: fewer CPUs or less memory than one trial needs, "
        "results or home folder not writable, no folder for temporary files or for Ray's session, the dashboard's token not "
        "writable, RAY_AUTH_MODE other than token, an address that cannot be listened on, a dashboard port taken that was "
        "named or that others than this machine use, a RAY_ADDRESS where no Ray answers; with --cluster also a RAY_ADDRESS, no "
        "token that was given, an address that this machine does not have, a cluster port taken. Once Ray is up a search also "
        "refuses fewer CPUs or GPUs on each node than one trial needs.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    for name in Settings.model_fields:
        if name not in ("command", "head", "play_as", "json_output", *_SECRETS):
            _add_option(result, name)
    for other, of_it in COMMANDS.items():
        result.add_argument_group(f"main.py {other} [{of_it.metavar}]", f"{of_it.about} See main.py {other} --help")
    return result


def _add_option(parser: argparse.ArgumentParser, name: str) -> None:
    field = Settings.model_fields[name]
    default = "off" if field.default is False else "none" if field.default is None else field.default
    text = field.description or ""
    text += "" if "(default:" in text else f" (default: {default})"
    if isinstance(field.default, bool):
        parser.add_argument(_flag(name), dest=name, action=argparse.BooleanOptionalAction, help=text)
    else:
        parser.add_argument(_flag(name), dest=name, metavar=_metavar(name, field.annotation), help=text)


def _flag(name: str) -> str:
    return _FLAGS.get(name) or "--" + name.replace("_", "-")


def _metavar(name: str, annotation: Any) -> str:
    if name == "board":
        return "RxCxK"
    if name in ("time_budget", "trial_timeout"):
        return "SECONDS"
    options = get_args(annotation) or (annotation,)
    if all(isinstance(option, str) for option in options):
        return "|".join(options)
    return next(
        (word for kind, word in ((int, "N"), (float, "N"), (Path, "DIR")) if kind in options), name.rpartition("_")[2].upper()
    )


def _one_line(error: ValidationError, options: Mapping[str, Any], from_file: Mapping[str, str]) -> str:
    """The first problem, with the option, variable or line of `.env` that it comes from."""
    problem = error.errors(include_url=False)[0]
    message = problem["msg"].removeprefix("Value error, ").replace("\n", " ")
    if not problem["loc"]:  # of several settings, which it names
        return message
    name = str(problem["loc"][0]).removeprefix(PREFIX).removeprefix(PREFIX.lower()).lower()
    if name in _SECRETS:
        return f"{name.upper()}: {message}"
    command = COMMANDS.get(options["command"])
    if name in from_file:
        source = f"{_variable(name)} in .env"
    elif name not in options and _is_set(name):
        source = _variable(name)
    else:
        source = command.metavar if command and command.argument == name else _flag(name)
    shown = f" {problem['input']!r}" if isinstance(problem["input"], (str, int, float)) else ""
    return f"{source}{shown}: {message[0].lower()}{message[1:]}"

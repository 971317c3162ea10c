"""Settings: precedence, and bad input as one line that names the option and the remedy."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.program import ROOT
from tictactoe import settings
from tictactoe.errors import UserError
from tictactoe.process import environment
from tictactoe.settings import Settings

SWITCHES = ("fresh", "retry_failed", "hold", "verbose", "check", "cluster")
SECRETS = ("wandb_api_key", "ray_auth_token")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty folder to be in, and an environment without ours, which is as it was afterwards."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith(("TICTACTOE_", "WANDB_", "RAY_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    os.environ.clear()
    os.environ.update(before)


def load(arguments: list[str]) -> Settings:
    """The settings of a command line as the program comes to them: what belongs into the environment is there before."""
    return settings.load(arguments, environment.prepare().lines)


def write_env(folder: Path, text: str) -> None:
    (folder / ".env").write_text(text)


def test_command_line_over_environment_over_env_file_over_defaults(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_env(clean, "TICTACTOE_SEEDS=3\nTICTACTOE_GAMES=300\nTICTACTOE_SEED=3\nUNKNOWN=x\nTICTACTOE_UNKNOWN=x\n")
    monkeypatch.setenv("TICTACTOE_GAMES", "200")
    monkeypatch.setenv("TICTACTOE_SEED", "2")
    loaded = load(["--seed", "1"])
    assert (loaded.seed, loaded.games, loaded.seeds, loaded.num_samples) == (1, 200, 3, 1_024)


def test_other_lines_of_the_env_file_go_to_the_environment_where_not_set(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_env(clean, "WANDB_PROJECT=mine\nWANDB_ENTITY=file\nRAY_SOMETHING=1\n")
    monkeypatch.setenv("WANDB_ENTITY", "environment")
    monkeypatch.setenv("WANDB_PROJECT", "")
    monkeypatch.delenv("WANDB_PROJECT")
    load([])
    assert os.environ["WANDB_PROJECT"] == "mine"
    assert os.environ["WANDB_ENTITY"] == "environment"
    assert os.environ["RAY_SOMETHING"] == "1"


@pytest.mark.parametrize("key", ["", "your-key-here"])
def test_a_placeholder_key_is_no_key(clean: Path, key: str) -> None:
    write_env(clean, f"WANDB_API_KEY={key}\n")
    assert load([]).wandb_api_key is None
    assert "WANDB_API_KEY" not in os.environ


def test_keys_are_secret(clean: Path) -> None:
    write_env(clean, "WANDB_API_KEY=abcdef123456\n")
    loaded = load([])
    assert loaded.wandb_api_key is not None
    assert loaded.wandb_api_key.get_secret_value() == "abcdef123456"
    assert "abcdef123456" not in repr(loaded) + loaded.model_dump_json()


def test_a_missing_env_file_or_a_folder_there_means_none(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load([]).seed == 0
    (clean / ".env").mkdir()
    assert load([]).seed == 0
    monkeypatch.setenv("TICTACTOE_ENV_FILE", str(clean / "elsewhere"))
    (clean / "elsewhere").write_text("TICTACTOE_SEED=5\n")
    assert load([]).seed == 5


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--board", "3x3"], ["--board", "3x3x3"]),
        (["--board", "5x5x4"], ["--board", "16"]),
        (["--board", "3x3x4"], ["--board", "k <= 3"]),
        (["--seeds", "0"], ["--seeds", "1"]),
        (["--num-samples", "-1"], ["--num-samples", "1"]),
        (["--games", "0"], ["--games", "1"]),
        (["--games", "many"], ["--games", "integer"]),
        (["--seed", "-1"], ["--seed", "0"]),
        (["--lag", "0"], ["--lag '0'", "greater than or equal to 1"]),
        (["--lag", "1001"], ["--lag '1001'", "less than or equal to 1000"]),
        (["--lag", "none"], ["--lag 'none'", "integer"]),
        (["--search", "grid"], ["--search", "random", "optuna"]),
        (["--scheduler", "pbt"], ["--scheduler", "none", "asha"]),
        (["--results-dir", "~nobody-of-that-name/x"], ["--results-dir", "no such user"]),
        (["--results-dir", "r\udce9s"], ["--results-dir", "UTF-8"]),
        (["--results-dir", "s3://bucket/x"], ["--results-dir", "local folder"]),
        (["--results-dir", "gs://bucket/x"], ["--results-dir", "local folder"]),
        (["--results-dir", "hdfs://host:9000/x"], ["--results-dir", "local folder"]),
        (["--results-dir", "file:///tmp/x"], ["--results-dir", "local folder"]),
        (["--time-budget", "nan"], ["--time-budget", "finite"]),
        (["--cpus-per-trial", "0"], ["--cpus-per-trial", "greater than 0"]),
        (["--name", "a/b"], ["--name", "slash"]),
        (["--name", ".."], ["--name"]),
        (["--sed", "1"], ["--sed", "--help"]),
        (["--seed"], ["--seed", "--help"]),
        (["extra"], ["extra", "--help"]),
        (["play", "a", "b"], ["b", "--help"]),
        (["play", "--as", "Z"], ["--as 'Z'", "'X' or 'O'"]),
        (["play", "--seeds", "3"], ["--seeds", "--help"]),
        (["report", "--as", "X"], ["--as", "--help"]),
        (["--deep"], ["--deep", "--check --deep"]),
        (["--cluster-port", "80"], ["--cluster-port '80'", "1024"]),
        (["--node-address", "localhost"], ["--node-address 'localhost'", "IP address"]),
        (["worker"], ["HEAD[:PORT]: name the machine where `main.py --cluster` runs"]),
        (["worker", "http://a:6379"], ["HEAD[:PORT] 'http://a:6379'", "HOST:PORT"]),
        (["worker", "a:80"], ["HEAD[:PORT] 'a:80'", "1024"]),
        (["worker", "a", "--cluster"], ["--cluster", "--help"]),
    ],
)
def test_bad_options_are_named_with_their_remedy(arguments: list[str], parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load(arguments)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_bad_values_name_where_they_come_from(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_env(clean, "TICTACTOE_SEEDS=x\n")
    with pytest.raises(UserError, match=r"TICTACTOE_SEEDS in \.env"):
        load([])
    monkeypatch.setenv("TICTACTOE_SEEDS", "y")
    with pytest.raises(UserError, match="TICTACTOE_SEEDS 'y'"):
        load([])


@pytest.mark.parametrize("content", [b"not an assignment\n", b"\xff\xfe\n", b"A=\x00\n"])
def test_a_malformed_env_file_is_named(clean: Path, content: bytes) -> None:
    (clean / ".env").write_bytes(content)
    with pytest.raises(UserError, match=r"\.env.*mend or remove it"):
        load([])


def test_every_option_is_in_the_help_and_in_the_example_file() -> None:
    text = "".join(settings.parser(command).format_help() for command in ("search", *settings.COMMANDS))
    example = (ROOT / ".env.example").read_text()
    assert next(line for line in example.splitlines() if not line.startswith("#")).startswith("WANDB_API_KEY=")
    assert text.count("(default:") >= len(Settings.model_fields) - 3  # the command and the secrets are no options
    for name, field in Settings.model_fields.items():
        if name in ("wandb_api_key", "ray_auth_token"):
            assert name.upper() + "=" in example
            continue
        if name == "command":
            continue
        assert {"play_as": "--as X|O", "head": "HEAD[:PORT]", "json_output": "--json"}.get(
            name, "--" + name.replace("_", "-")
        ) in text
        default = "" if field.default is None else str(field.default).removesuffix(".0")
        default = default.lower() if isinstance(field.default, bool) else default
        assert f"#TICTACTOE_{name.upper()}={default}\n" in example


def test_the_help_names_every_command_and_a_command_has_only_its_options() -> None:
    text = settings.parser().format_help()
    for command, (_, _, metavar, _, options) in settings.COMMANDS.items():
        assert f"main.py {command} [{metavar}]" in text
        listed = re.findall(r"--[a-z-]+", settings.parser(command).format_help().partition("options:")[2])
        short = {"play_as": "--as", "json_output": "--json"}
        switches = {"--no-json"} if "json_output" in options else set()
        own = {short.get(name, "--" + name.replace("_", "-")) for name in options}
        assert sorted({"--help", *own, *switches}) == sorted({*listed})
    assert "--as" not in text


def test_commands_take_a_name_and_the_environment_but_are_named_only_on_the_command_line(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICTACTOE_COMMAND", "play")
    assert load([]).command == "search"
    loaded = load(["play", "mine", "--as", "O", "--results-dir", "there"])
    assert (loaded.command, loaded.name, loaded.play_as, loaded.results_dir) == ("play", "mine", "O", clean / "there")
    write_env(clean, "TICTACTOE_NAME=theirs\nTICTACTOE_PLAY_AS=O\nTICTACTOE_BOARD=none\nRAY_AUTH_TOKEN=ä\n")
    monkeypatch.setenv("TICTACTOE_SEEDS", "none")  # what is wrong with a search is nothing to them
    assert (load(["play"]).name, load(["play"]).play_as) == ("theirs", "O")
    assert load(["report"]).command == "report"
    with pytest.raises(UserError, match=r"TICTACTOE_BOARD in \.env 'none'"):
        load(["--name", "play", "--seeds", "3"])


@pytest.mark.parametrize(
    ("named", "head"),
    [("a", "a:6379"), ("a.b.c:7000", "a.b.c:7000"), ("[fd00::1]:7000", "[fd00::1]:7000"), ("none", "none:6379")],
)
def test_a_workers_head(clean: Path, monkeypatch: pytest.MonkeyPatch, named: str, head: str) -> None:
    loaded = load(["worker", named, "--num-cpus", "2", "--node-address", "127.0.0.1"])
    assert (loaded.command, loaded.head, loaded.num_cpus, loaded.node_address) == ("worker", head, 2, "127.0.0.1")
    write_env(clean, f"TICTACTOE_HEAD={named}\nTICTACTOE_SEEDS=none\n")
    assert load(["worker"]).head == head
    monkeypatch.setenv("TICTACTOE_HEAD", "other:1")
    assert load(["worker", named]).head == head
    with pytest.raises(UserError, match=r"^TICTACTOE_HEAD 'other:1': name the machine"):
        load(["worker"])
    monkeypatch.delenv("TICTACTOE_HEAD")
    with pytest.raises(UserError, match=r"^--num-cpus 0: a worker runs trials; use 1 or more$"):
        load(["worker", named, "--num-cpus", "0"])
    write_env(clean, "TICTACTOE_HEAD=http://\n")
    assert load([]).command == "search"  # which has none


@pytest.mark.parametrize("switch", SWITCHES)
def test_what_the_environment_switches_on_the_command_line_switches_off(
    clean: Path, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    option = switch.replace("_", "-")
    monkeypatch.setenv(f"TICTACTOE_{switch.upper()}", "true")
    assert getattr(load([]), switch)
    assert not getattr(load([f"--no-{option}"]), switch)
    monkeypatch.delenv(f"TICTACTOE_{switch.upper()}")
    write_env(clean, f"TICTACTOE_{switch.upper()}=1\n")
    assert getattr(load([]), switch)
    assert not getattr(load([f"--no-{option}"]), switch)
    assert getattr(load([f"--{option}"]), switch)


@pytest.mark.parametrize("name", ["max_concurrent", "time_budget", "num_cpus", "trial_timeout"])
def test_what_has_no_value_by_default_can_be_without_one_again(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"TICTACTOE_{name.upper()}", "2")
    assert getattr(load([]), name) == 2
    assert getattr(load([f"--{name.replace('_', '-')}", "none"]), name) is None


def test_lines_with_other_variables_in_them_are_read_alike(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBER", "7")
    write_env(clean, "TICTACTOE_SEED=${NUMBER}\nWANDB_TAGS=${NUMBER}\nWANDB_NOTES='${TICTACTOE_SEED}'\n")
    assert load([]).seed == 7
    assert (os.environ["WANDB_TAGS"], os.environ["WANDB_NOTES"]) == ("7", "7")


def test_names_of_no_setting_are_told_with_what_may_be_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NUM_SAMPELS", "COMMAND", "ENV_FILE", "NUMBA_CACHE", "STARTED_BY", "SEEDS"):
        monkeypatch.setenv(f"TICTACTOE_{name}", "")
    assert settings.unknown({"TICTACTOE_SEDES": "3", "TICTACTOE_SEED": "3", "WANDB_SEDES": "3"}) == [
        "TICTACTOE_COMMAND: no such setting",
        "TICTACTOE_NUM_SAMPELS: no such setting; is TICTACTOE_NUM_SAMPLES meant?",
        "TICTACTOE_SEDES in .env: no such setting; is TICTACTOE_SEEDS meant?",
    ]


@pytest.mark.parametrize("value", ["two words", "two\nlines", "schlüssel"])
def test_what_can_be_no_token_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", value)
    with pytest.raises(UserError, match=r"^RAY_AUTH_TOKEN: it has to be one word") as caught:
        load([])
    assert value not in str(caught.value)


def test_no_number_of_a_large_board_is_asked_for_while_settings_are_read() -> None:
    code = "import sys; from tictactoe.settings import load; load(['--board', '4x4x4'], {}); assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_folder_one_is_in_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UserError, match=r"--results-dir .*the folder you are in is gone"):
        load(["--results-dir", "x"])
    with pytest.raises(UserError, match=r"^--results-dir: the folder you are in is gone"):
        load([])


def test_the_help_says_what_is_promised_of_the_digest() -> None:
    text = " ".join(settings.parser().format_help().split())
    assert "with both, results are the same at any concurrency" in text
    assert "asha stops poor trials early, and repeats with --max-concurrent 1 only" in text


def test_a_variable_that_is_set_but_empty_hides_no_line_of_the_file(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_env(clean, "WANDB_API_KEY=secret\nWANDB_PROJECT=mine\n")
    monkeypatch.setenv("WANDB_API_KEY", "")
    key = load([]).wandb_api_key
    assert key is not None and key.get_secret_value() == os.environ["WANDB_API_KEY"] == "secret"


def accepts_or_refuses_in_one_line(arguments: list[str]) -> None:
    try:
        assert isinstance(load(arguments), Settings)
    except UserError as error:
        assert len(str(error).splitlines()) == 1


@given(
    st.sampled_from([n for n in Settings.model_fields if n not in ("command", "head", "play_as", *SWITCHES, *SECRETS)]),
    st.text(),
)
def test_any_text_of_an_option(name: str, value: str) -> None:
    accepts_or_refuses_in_one_line([f"--{name.replace('_', '-')}={value}"])


@given(st.sampled_from([n for n in Settings.model_fields if n not in SECRETS]), st.text())
def test_any_text_of_a_variable(name: str, value: str) -> None:
    value = value.encode(errors="replace").replace(b"\0", b"").decode()  # what a variable can hold
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"TICTACTOE_{name.upper()}", value)
        accepts_or_refuses_in_one_line([])


KEYS = st.sampled_from(["TICTACTOE_SEEDS", "WANDB_API_KEY", "RAY_AUTH_TOKEN", "'a=b'", "A B", "A", ""])
LINES = st.one_of(st.binary(max_size=40), st.builds(lambda key, text: f"{key}={text}".encode(), KEYS, st.text(max_size=20)))


@given(st.lists(LINES, max_size=4))
def test_any_env_file(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.env"
    path.write_bytes(b"\n".join(lines))
    before = dict(os.environ)
    os.environ["TICTACTOE_ENV_FILE"] = str(path)
    try:
        accepts_or_refuses_in_one_line([])
    finally:
        os.environ.clear()
        os.environ.update(before)

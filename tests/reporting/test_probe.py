"""What W&B would use is asked before any run; whatever is wrong is told in one line, with the data kept."""

from __future__ import annotations

import os
import re
import shlex
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import wandb

from tests.support.records import settings
from tests.support.wandb_server import Server
from tictactoe.reporting.probe import Probe

KEY = "0" * 40
PROXIES = [f"{scheme}_proxy" for scheme in ("http", "https", "all", "no")]


@pytest.fixture
def server(wandb_server: Server) -> Server:
    return wandb_server


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server) -> Iterator[Callable[..., tuple[str, str]]]:
    """What a probe answers, in a home folder of its own, with the test's server, a key and these variables.

    None takes a variable out.
    """
    for name in list(os.environ):
        if name.startswith("WANDB_") or name.lower() in PROXIES:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TICTACTOE_ENV_FILE", str(tmp_path / ".env"))
    before = dict(os.environ)

    def ask(num_samples: int = 64, scheduler: str = "race", **variables: str | None) -> tuple[str, str]:
        for name, value in {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.url, **variables}.items():
            if value is not None:
                os.environ[name] = value
        options = {"num_samples": num_samples, "scheduler": scheduler}
        return Probe(settings(results_dir=tmp_path / "my results", name="one", **options)).result()

    forget_wandb()
    yield ask
    forget_wandb()
    os.environ.clear()
    os.environ.update(before)


def forget_wandb() -> None:
    """Have W&B look at its settings anew."""
    with suppress(SystemExit):
        wandb.teardown()


def kept(said: str) -> bool:
    """Whether what was said is one line that names the command which sends the runs later."""
    command = f"{shlex.quote(sys.executable)} -m wandb sync 'my results/one/wandb'"
    return "\n" not in said and f"; runs are kept offline, `{command}` sends them later" in said


def test_online(probe: Callable[..., tuple[str, str]], server: Server) -> None:
    assert probe() == ("online", f"W&B: online at {server.url}, in me/ray-tune-tictactoe")


def test_what_is_named_is_asked_for(probe: Callable[..., tuple[str, str]], server: Server) -> None:
    team, said = {"WANDB_ENTITY": "team", "WANDB_PROJECT": "games"}, f"W&B: online at {server.url}, in team/games"
    assert probe(num_samples=1_001, scheduler="none", **team) == ("online", f"{said}, 1,000 trials in each run")
    assert probe(num_samples=1_001, **team) == ("online", said)  # the trials of the last round are few


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"WANDB_ENTITY": "nobody"}, "http://.* knows no entity 'nobody'; mend WANDB_ENTITY"),
        ({"WANDB_PROJECT": "closed"}, "the key may not write to me/closed; mend"),
        ({"WANDB_PROJECT": "team/games"}, "WANDB_PROJECT: .*cannot contain characters.*; WANDB_ENTITY names the team"),
        ({"WANDB_API_KEY": "short"}, r"WANDB_API_KEY invalid: API key must have 40\+ characters, has 5"),
        ({"WANDB_API_KEY": "ü" * 39 + "!"}, "WANDB_API_KEY invalid: API key may only contain"),
        ({"WANDB_API_KEY": None}, "no WANDB_API_KEY, and no `.* -m wandb login`"),
        ({"WANDB_API_KEY": "your-key-here"}, "no WANDB_API_KEY, and no `.* -m wandb login`"),
        (
            {"WANDB_API_KEY": None, "WANDB_IDENTITY_TOKEN_FILE": "nowhere"},
            "WANDB_IDENTITY_TOKEN_FILE: there is no file .*nowhere",
        ),
        ({"WANDB_BASE_URL": "nonsense"}, "WANDB_BASE_URL: "),
        (
            {"WANDB_BASE_URL": "https://wandb.ai"},
            "WANDB_BASE_URL: https://wandb.ai is not a valid server address, did you mean",
        ),
        ({"WANDB_MODE": "onlin"}, "WANDB_MODE: Input should be 'online', 'offline'"),
        ({"WANDB_INIT_TIMEOUT": "soon"}, "WANDB_INIT_TIMEOUT: Input should be a valid number"),
        ({"WANDB_MODE": "offline"}, "offline, as WANDB_MODE says"),
        ({"WANDB_BASE_URL": "http://nowhere.invalid"}, "http://nowhere.invalid: its name cannot be looked up"),
        ({"WANDB_BASE_URL": "http://nowhere.invalid", "http_proxy": "me:secret@127.0.0.1:9"}, "the proxy 127.0.0.1:9 refuses"),
    ],
)
def test_what_is_wrong_is_told_with_its_remedy(
    probe: Callable[..., tuple[str, str]],
    server: Server,
    variables: dict[str, Any],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look_up = socket.getaddrinfo

    def without_nowhere(host: Any, *arguments: Any, **options: Any) -> Any:
        """A name server may take long to say so."""
        if host == "nowhere.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", without_nowhere)
    server.read_only = {"me/closed"}
    mode, said = probe(**variables)
    assert mode == "offline"
    assert re.match(f"W&B: {expected}", said), said
    assert kept(said)
    assert "secret" not in said
    assert KEY not in said


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, "refuses the key"),
        (403, "refuses the key"),
        (404, "answers 404 Not Found"),
        (503, "answers 503 Service Unavailable"),
    ],
)
def test_an_answer_that_is_none(probe: Callable[..., tuple[str, str]], server: Server, status: int, expected: str) -> None:
    server.status = status
    mode, said = probe()
    assert (mode, said.partition(";")[0]) == ("offline", f"W&B: {server.url} {expected}")
    assert kept(said)


def test_a_port_that_refuses_or_speaks_no_tls(probe: Callable[..., tuple[str, str]], server: Server) -> None:
    mode, said = probe(WANDB_BASE_URL=server.url.replace("http:", "https:"))
    assert (mode, kept(said)) == ("offline", True)
    assert "does not speak TLS" in said
    forget_wandb()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        mode, said = probe(WANDB_BASE_URL=f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert (mode, kept(said)) == ("offline", True)
    assert "refuses the connection" in said


def test_certificates(probe: Callable[..., tuple[str, str]], server: Server, tmp_path: Path) -> None:
    made = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
    subprocess.run(
        [*shlex.split(made), "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True, cwd=tmp_path
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = f"https://localhost:{server.server_port}"
    mode, said = probe(WANDB_BASE_URL=url)
    assert (mode, kept(said)) == ("offline", True)
    assert re.match("W&B: .* its certificate is not trusted .*; SSL_CERT_FILE can name the one to trust", said)
    forget_wandb()
    assert "; SSL_CERT_FILE names what is not there" in probe(WANDB_BASE_URL=url, SSL_CERT_FILE="nowhere.pem")[1]
    forget_wandb()
    assert probe(WANDB_BASE_URL=url, SSL_CERT_FILE=str(tmp_path / "cert.pem"))[0] == "online"


def test_variables_of_others_that_wandb_does_not_heed_change_nothing(probe: Callable[..., tuple[str, str]]) -> None:
    """Its service process takes no ALL_PROXY, and no proxy for this machine itself; nor other programs' certificates."""
    nowhere = {"REQUESTS_CA_BUNDLE": "/nowhere.pem", "CURL_CA_BUNDLE": "/nowhere.pem", "SSL_CERT_FILE": "/nowhere.pem"}
    assert probe(**nowhere, all_proxy="socks5://127.0.0.1:9", http_proxy="http://127.0.0.1:9", WANDB_PROJECT="")[0] == "online"


def test_a_proxy_that_only_wandb_can_use_is_left_to_the_first_run(probe: Callable[..., tuple[str, str]]) -> None:
    assert probe(WANDB_BASE_URL="http://nowhere.invalid", http_proxy="socks5://127.0.0.1:9")[0] == "online"


def test_a_key_with_quotes_and_a_line_break(probe: Callable[..., tuple[str, str]]) -> None:
    assert probe(WANDB_API_KEY=f'"{KEY}"\n')[0] == "online"
    assert os.environ["WANDB_API_KEY"] == KEY


def test_wandb_login_counts(probe: Callable[..., tuple[str, str]], server: Server, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text(f"machine {server.url.removeprefix('http://')}\n  login user\n  password {KEY}\n")
    (tmp_path / ".netrc").chmod(0o600)
    (tmp_path / ".config" / "wandb").mkdir(parents=True)
    (tmp_path / ".config" / "wandb" / "settings").write_text(f"[default]\nbase_url = {server.url}\nentity = team\n")
    answer = probe(WANDB_API_KEY=None, WANDB_BASE_URL=None)
    assert answer == ("online", f"W&B: online at {server.url}, in team/ray-tune-tictactoe")


@pytest.mark.parametrize(
    ("line", "mode", "expected"),
    [
        ("mode = offline", "offline", r"offline, as \S*wandb/settings says; runs are kept"),
        ("mode = disabled", "disabled", r"disabled, as \S*wandb/settings says"),
        ("mode = nonsense", "offline", r"\S*wandb/settings: .* mode .*Input should be 'online"),
    ],
)
def test_wandbs_settings_in_the_folder_count(
    probe: Callable[..., tuple[str, str]],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    line: str,
    mode: str,
    expected: str,
) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text(f"[default]\n{line}\n")
    answer = probe()
    assert answer[0] == mode
    assert re.match(f"W&B: {expected}", answer[1]), answer
    assert capfd.readouterr() == ("", "")


def test_a_server_that_never_answers_is_given_two_seconds(probe: Callable[..., tuple[str, str]], server: Server) -> None:
    server.lost.set()
    mode, said = probe()
    assert (mode, kept(said)) == ("offline", True)
    assert "does not answer within 2 s" in said


def test_the_answer_is_decided_once(probe: Callable[..., tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    late = threading.Event()
    monkeypatch.setattr(Probe, "_decide", lambda self: (late.wait(20), ("online", "late"))[1])
    monkeypatch.setattr("tictactoe.reporting.probe.LOAD_SECONDS", 0.2)
    asked = Probe(settings())
    mode, said = asked.result()
    assert mode == "offline"
    late.set()
    asked._thread.join()
    assert asked.result() == (mode, said)


def test_a_key_in_env_is_brought_along_by_the_command(probe: Callable[..., tuple[str, str]], tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"WANDB_API_KEY='{KEY}'\n")
    python, said = shlex.quote(sys.executable), probe(WANDB_MODE="offline")[1]
    assert f"`{python} -m dotenv -f .env run --no-override {python} -m wandb sync 'my results/one/wandb'`" in said

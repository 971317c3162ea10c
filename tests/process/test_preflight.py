"""Preflight: each thing that would go wrong later is said now, with its remedy."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from copy import copy
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from rich.console import Console

from tests.support import records as made
from tests.support.cgroup import write_cgroup
from tests.support.processes import free_port
from tictactoe import situation
from tictactoe.core.game import Board
from tictactoe.errors import UserError
from tictactoe.process import environment, memory, ports, preflight
from tictactoe.process.preflight import Preflight, inspect
from tictactoe.settings import METRICS_PORT
from tictactoe.situation import Situation

needs_ipv6 = pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="needs IPv6")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An environment without ours, which is as it was afterwards."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith(("TICTACTOE_", "WANDB_", "RAY_", "KUBERNETES_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., Preflight]:
    """Preflight of settings with results under tmp_path, in a cgroup without limits unless one is given."""

    def run(cgroup: Path = tmp_path / "none", shm: Path = Path("/dev/shm"), **options: object) -> Preflight:
        given = {"results_dir": tmp_path / "results", "dashboard_port": free_port(), "metrics_port": free_port()} | options
        return inspect(made.settings(**given), cgroup=cgroup, shm=shm)

    return run


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of the loopback address that somebody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_nothing_is_fatal_on_a_plain_machine(check: Callable[..., Preflight], tmp_path: Path) -> None:
    result = check()
    assert not result.fatal
    result.require()
    assert stat.S_IMODE((tmp_path / "home" / ".ray" / "auth_token").stat().st_mode) == 0o600
    assert result.token_source == str(tmp_path / "home" / ".ray" / "auth_token")


@pytest.mark.parametrize("version", [1, 2])
def test_a_quota_that_gives_no_slot(check: Callable[..., Preflight], tmp_path: Path, version: int) -> None:
    cgroup = write_cgroup(tmp_path / "cgroup", version, quota=0.5)
    assert check(cgroup).num_cpus == 1
    assert not check(cgroup).fatal
    result = check(cgroup, cpus_per_trial=2)
    assert result.fatal == ["--cpus-per-trial 2: only 1 CPU here; use --cpus-per-trial 1 or less, or give more CPUs"]
    with pytest.raises(UserError, match="--cpus-per-trial 2"):
        result.require()
    assert not check(cgroup, cpus_per_trial=2, num_cpus=2).fatal


@pytest.mark.parametrize("version", [1, 2])
def test_as_many_trials_at_a_time_as_there_is_memory_for(check: Callable[..., Preflight], tmp_path: Path, version: int) -> None:
    need = memory.need(Board(), 48)
    enough = write_cgroup(tmp_path / "enough", version, memory_mib=need.of(2))
    short = write_cgroup(tmp_path / "short", version, memory_mib=need.of(2) - 1)
    result = check(enough, num_cpus=2)
    assert (result.fatal, result.notes, result.max_concurrent) == ([], [], None)
    result = check(short, num_cpus=2)
    assert (result.fatal, result.max_concurrent) == ([], 1)
    limit = f"limit {need.of(2) - 1:,} MiB; Ray and the program take 760, each trial {need.trial:.0f}"
    assert result.notes == [f"memory for 1 trial at a time instead of 2: {limit}"]
    for options in ({"max_concurrent": 1}, {"num_samples": 1}, {"cpus_per_trial": 1.5}):
        assert check(short, num_cpus=2, **options).max_concurrent is None
    assert check(enough, num_cpus=3, max_concurrent=3).max_concurrent == 2


def test_many_cpus_in_a_small_container(check: Callable[..., Preflight], tmp_path: Path) -> None:
    """`docker run --memory 1280m` without `--cpus`, on a large machine."""
    result = check(write_cgroup(tmp_path / "cgroup", 2, memory_mib=1_280), num_cpus=64)
    assert (result.fatal, result.max_concurrent, result.num_cpus) == ([], 3, 3)
    assert result.notes == [
        "memory for 3 trials at a time instead of 64: limit 1,280 MiB; Ray and the program take 760, each trial 171"
    ]
    assert result.memory == "limit 1,280 MiB; Ray and the program take 760, a worker takes 500, each trial 171"


def test_too_little_memory_for_one_trial(check: Callable[..., Preflight], tmp_path: Path) -> None:
    small = write_cgroup(tmp_path / "cgroup", 2, memory_mib=600)
    assert check(small, num_cpus=2).fatal == [
        "memory limit 600 MiB: a search on 3x3x3 with 48 seeds needs 932 MiB with one trial at a time; raise the limit"
    ]
    large = write_cgroup(tmp_path / "large", 2, memory_mib=1_400)
    (message,) = check(large, board="3x4x4", seeds=10_000).fatal
    most = int(message.rpartition("; raise the limit, or use --seeds ")[2].removesuffix(" or fewer"))
    assert not check(large, board="3x4x4", seeds=most).fatal
    assert check(large, board="3x4x4", seeds=most + 1).fatal


@pytest.mark.parametrize("version", [1, 2])
def test_others_that_share_the_limit(check: Callable[..., Preflight], tmp_path: Path, version: int) -> None:
    """A notebook's server in the same container, for example."""
    used = psutil.Process().memory_info()
    own = (used.rss - used.shared) // 2**20
    result = check(write_cgroup(tmp_path / "alone", version, memory_mib=1_280, taken_mib=own + 20), num_cpus=3)
    assert result.max_concurrent is None
    shared = write_cgroup(tmp_path / "shared", version, memory_mib=1_280, taken_mib=own + 200)
    (note,) = check(shared, num_cpus=3).notes
    assert note.startswith("memory for 1 trial at a time instead of 3: limit 1,280 MiB, of which others have taken ")
    (message,) = check(write_cgroup(tmp_path / "full", version, memory_mib=1_280, taken_mib=own + 900)).fatal
    assert message.endswith("; raise the limit, or end other programs")


def test_what_the_machine_has_available_counts_too(check: Callable[..., Preflight], monkeypatch: pytest.MonkeyPatch) -> None:
    used = psutil.Process().memory_info()
    own = (used.rss - used.shared) // 2**20
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=(1_300 - own) * 2**20))
    (note,) = check(num_cpus=8).notes
    assert note.startswith("memory for 3 trials at a time instead of 8: available 1,")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=0))
    (message,) = check().fatal
    assert message.startswith("memory available ") and message.endswith("; end other programs")


def test_shares_of_a_cpu_are_counted_as_ray_counts_them(check: Callable[..., Preflight], tmp_path: Path) -> None:
    result = check(write_cgroup(tmp_path / "cgroup", 2, memory_mib=1_280), num_cpus=1, cpus_per_trial=0.1)
    assert "instead of 10:" in result.notes[0]


def test_small_shared_memory_is_a_detail(check: Callable[..., Preflight], tmp_path: Path) -> None:
    result = check(shm=tmp_path / "missing")
    assert not result.fatal and not result.notes
    assert result.details == [
        f"{tmp_path / 'missing'} has 0 MiB free: Ray's object store goes to the temporary folder, which does as well"
    ]
    assert not check(shm=tmp_path).details


@pytest.mark.parametrize("what", ["results", "home"])
def test_a_folder_that_cannot_be_written(check: Callable[..., Preflight], tmp_path: Path, what: str) -> None:
    (tmp_path / what).write_text("a file where a folder should be")
    messages = check().fatal
    option = {"results": "--results-dir", "home": "HOME"}[what]
    assert messages[0].startswith(f"{option} {tmp_path / what}: cannot be written (")
    assert messages[0].endswith("; name a writable folder")


def made_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_check_makes_nothing_and_says_what_would_be_made(
    check: Callable[..., Preflight], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "none"))
    result = check(check=True)
    assert not result.fatal
    assert not made_under(tmp_path)
    assert result.details == [
        f"--results-dir {tmp_path / 'results'} is not there; a search would make it",
        f"HOME {tmp_path / 'home'} is not there; a search would make it",
        f"{tmp_path / 'home/.ray/auth_token'} is not there; a search would make it, with a token of its own",
    ]
    assert result.notes == [f"RAY_TMPDIR {tmp_path / 'none'} is not there: Ray's session is in /tmp"]
    assert os.environ["RAY_TMPDIR"] == "/tmp"
    assert not check().fatal
    assert {"home", "home/.ray/auth_token", "results"} <= {*made_under(tmp_path)}
    assert not check(check=True).details


def test_no_place_for_rays_session(check: Callable[..., Preflight], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "none"))
    monkeypatch.setattr(environment, "_SHORT", ())
    (message,) = check().fatal
    assert message.startswith(f"RAY_TMPDIR {tmp_path / 'none'} is not there; set RAY_TMPDIR to ")


@pytest.mark.parametrize(("options", "first"), [({"games": 99}, 100), ({"games": 11_984, "board": "4x3x4"}, 11_985)])
def test_too_few_games_for_a_check(check: Callable[..., Preflight], options: dict[str, object], first: int) -> None:
    (message,) = check(**options).fatal
    board = options.get("board", "3x3x3")
    assert message == (
        f"--games {options['games']}: ends before the first check on {board}, after {first} games; use --games {first} or more"
    )
    assert not check(**options | {"games": first}).fatal


def test_encryption_without_its_files(check: Callable[..., Preflight], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "1")
    monkeypatch.setenv("RAY_TLS_SERVER_KEY", "/none")
    monkeypatch.setenv("RAY_TLS_CA_CERT", __file__)
    assert check().fatal == [
        "RAY_TLS_SERVER_CERT is not set, which RAY_USE_TLS asks for; name the file, or unset RAY_USE_TLS",
        "RAY_TLS_SERVER_KEY /none: there is no such file, which RAY_USE_TLS asks for; name the file, or unset RAY_USE_TLS",
    ]
    monkeypatch.setenv("RAY_USE_TLS", "0")
    assert not check().fatal


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"two words"])
def test_a_token_file_with_anything_else_in_it(check: Callable[..., Preflight], tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "home" / ".ray" / "auth_token"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    (message,) = check().fatal
    assert str(path) in message and message.endswith("or mend or remove the file")


def test_no_home_at_all(check: Callable[..., Preflight], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])  # a user id without a passwd entry
    messages = check().fatal
    assert messages[0] == "HOME is not set, and this user has no home folder; set it to a writable folder"
    assert "RAY_AUTH_TOKEN_PATH" in messages[1]


def test_a_token_from_the_environment_is_named_written_and_not_shown(
    check: Callable[..., Preflight], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = "5e" * 32
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    result = check()
    assert result.token_source == "RAY_AUTH_TOKEN"
    assert (tmp_path / "token").read_text().strip() == token
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert preflight.show(Console(), result, "W&B: disabled") == 0
    assert token not in capsys.readouterr().out


def test_the_command_as_printed_prints_the_token(check: Callable[..., Preflight], monkeypatch: pytest.MonkeyPatch) -> None:
    """From any folder and any shell, with whatever name the file has, and whether the program or Ray has made it."""
    for name, content in (("token", None), ("it's a $HOME (token)", None), ("rays", "5e5e")):
        path = Path(os.environ["HOME"]) / name
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
        if content:
            path.write_text(content)
        result = check()
        assert result.token == f"the token that `{result.token_command}` prints; from {path}"
        ran = subprocess.run(["sh", "-c", result.token_command], cwd="/", env={}, capture_output=True, text=True, check=True)
        assert ran.stdout.strip() == path.read_text().strip() == (content or ran.stdout.strip())
        assert len(ran.stdout) >= 4


def test_a_token_that_only_the_environment_has_is_not_printed_by_a_command(
    check: Callable[..., Preflight], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "5e" * 32)
    result = check()
    assert (result.token_command, result.token) == ("", "the token in RAY_AUTH_TOKEN")


def test_how_to_print_the_token_from_outside(check: Callable[..., Preflight], monkeypatch: pytest.MonkeyPatch) -> None:
    for place, name, command in (
        ("kubernetes", "deploy/mnist-ray-tune", "kubectl exec deploy/mnist-ray-tune -- ray get-auth-token"),
        ("docker", "0123456789ab", "docker exec 0123456789ab ray get-auth-token"),
    ):
        where = Situation(place, name)  # type: ignore[arg-type]
        monkeypatch.setattr(situation, "here", partial(copy, where))
        assert check().token_command == command


def test_an_open_dashboard_is_refused(check: Callable[..., Preflight], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    (message,) = check().fatal
    assert message.startswith("RAY_AUTH_MODE disabled") and message.endswith("unset it")


def test_on_a_laptop_the_next_free_port_is_taken_and_named(tmp_path: Path) -> None:
    with socket.socket() as server:
        with suppress(OSError):  # somebody has it already: as good
            server.bind(("127.0.0.1", 8265))
            server.listen()
        result = inspect(made.settings(results_dir=tmp_path / "results"), cgroup=tmp_path / "none")
    assert not result.fatal
    assert result.port > 8265
    assert f"port 8265 is taken: the dashboard is on {result.port}" in result.notes


@pytest.mark.parametrize("host", ["0.0.0.0", pytest.param("::", marks=needs_ipv6), pytest.param("::1", marks=needs_ipv6)])
def test_addresses_that_can_be_listened_on(check: Callable[..., Preflight], host: str) -> None:
    assert not check(dashboard_host=host).fatal


@pytest.mark.parametrize("path", ["a\\b", "a\nb"])
def test_a_path_that_ray_cannot_start_from(check: Callable[..., Preflight], monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(sys, "executable", f"/{path}/python")
    (message,) = check().fatal
    assert "backslash" in message and message.endswith("use another folder")


def test_an_address_of_no_ray(check: Callable[..., Preflight], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    (message,) = check().fatal
    assert message.startswith("RAY_ADDRESS 127.0.0.1:") and "nobody answers there" in message
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert not check().fatal


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_fatal_where_it_was_named_or_others_rely_on_it(
    check: Callable[..., Preflight], monkeypatch: pytest.MonkeyPatch, taken: int, host: str
) -> None:
    monkeypatch.setattr(ports, "PORT_SECONDS", 0.3)
    result = check(dashboard_port=taken, dashboard_host=host)
    assert result.fatal == [f"--dashboard-port {taken} on {host}: taken; name a free one, or end what holds it"]


def test_an_address_that_is_not_ours(check: Callable[..., Preflight]) -> None:
    (message,) = check(dashboard_host="192.0.2.1").fatal  # reserved for documentation
    assert message.startswith("--dashboard-host 192.0.2.1: cannot be listened on (")


@pytest.mark.parametrize("host", ["ä..b", "\udcff", "no such host"])
def test_a_text_that_is_no_address(check: Callable[..., Preflight], host: str) -> None:
    (message,) = check(dashboard_host=host).fatal
    assert message.startswith(f"--dashboard-host {host}: cannot be listened on (")


def test_what_is_another_rays_affair(check: Callable[..., Preflight], monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{taken}")
    result = check(dashboard_port=taken, cpus_per_trial=1000)
    assert not result.fatal and not result.notes
    monkeypatch.setenv("RAY_TMPDIR", "/none")
    assert check().fatal == ["RAY_TMPDIR /none: no folder that can be written to; unset it, or name another"]


def test_a_head_that_others_can_join(
    check: Callable[..., Preflight], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, taken: int
) -> None:
    monkeypatch.setattr(ports, "PORT_SECONDS", 0.3)
    here = partial(check, cluster=True, node_address="127.0.0.1")
    port = free_port()
    (message,) = here(cluster_port=port).fatal
    assert message.startswith("RAY_AUTH_TOKEN is not set") and "RAY_GCS_SERVER_PORT" not in os.environ
    assert not (tmp_path / "home" / ".ray").exists()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "abc")
    result = here(cluster_port=port)
    assert not result.fatal and any(note.startswith("--node-address 127.0.0.1: only this machine") for note in result.notes)
    assert os.environ["RAY_GCS_SERVER_PORT"] == str(port)
    (message,) = here(cluster_port=taken).fatal
    assert message.startswith(f"--cluster-port {taken}: taken; name a free one")
    (message,) = check(cluster=True, node_address="203.0.113.1", cluster_port=port).fatal
    assert message.startswith("--node-address 203.0.113.1: this machine has no such address")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    (message,) = here(cluster_port=port).fatal
    assert message.startswith("RAY_AUTH_MODE disabled: ")
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{taken}")
    (message,) = here(cluster_port=port).fatal
    assert message.startswith("--cluster: RAY_ADDRESS names a Ray that runs already")


def test_without_cluster_ray_is_told_nothing_of_it(check: Callable[..., Preflight]) -> None:
    assert not check(cluster_port=free_port()).fatal
    assert not {name for name in os.environ if name.startswith(("RAY_GCS", "RAY_health"))}


def test_check_says_all_and_ends_with_2_only_for_what_is_fatal(capsys: pytest.CaptureFixture[str]) -> None:
    result = Preflight(
        2, 8266, memory="enough", token_source="/a/file", token_command="cat /a/file", notes=["port 8265 is taken"],
        details=["small"],
    )  # fmt: skip
    assert preflight.show(Console(width=200), result, "W&B: offline, as WANDB_MODE says", ["MPLBACKEND  kept: x"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "note: port 8265 is taken",
        "note: small",
        "CPUs for trials: 2",
        "memory: enough",
        "dashboard: port 8266",
        "metrics: none",
        "dashboard's sign-in: the token that `cat /a/file` prints; from /a/file",
        "W&B: offline, as WANDB_MODE says",
        "variables of other tools that are set:",
        "  MPLBACKEND  kept: x",
        "ready",
    ]
    result.fatal.append("--results-dir /x: cannot be written")
    assert preflight.show(Console(width=200), result, "W&B: disabled") == 2
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == ("error: --results-dir /x: cannot be written", "a search would not start")


def test_the_program_checks_before_it_starts(finish: Callable[..., tuple[int, str, str]]) -> None:
    code, output, errors = finish("--check", "--cpus-per-trial", "1000", WANDB_MODE="offline")
    assert code == 2
    assert "error: --cpus-per-trial 1000" in output and "W&B: offline" in output and not errors
    code, output, errors = finish("--cpus-per-trial", "1000")
    assert code == 2
    assert errors.startswith("error: --cpus-per-trial 1000") and errors.count("\n") == 1 and not output
    code, output, errors = finish("--check", WANDB_MODE="disabled")
    assert (code, output.splitlines()[-1]) == (0, "ready")


def test_a_taken_port_for_metrics_is_fatal_where_it_was_named_and_another_one_is_taken_else(
    check: Callable[..., Preflight], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, taken: int
) -> None:
    monkeypatch.setattr(ports, "PORT_SECONDS", 0.3)
    assert check(metrics_port=taken).fatal == [
        f"--metrics-port {taken}: taken; name a free one, or 0 for none, or end what holds it"
    ]
    with ExitStack() as held:
        with suppress(OSError):  # somebody has it already
            held.enter_context(socket.create_server(("127.0.0.1", METRICS_PORT)))
        result = inspect(made.settings(results_dir=tmp_path, dashboard_port=free_port()), cgroup=tmp_path / "none")
        assert result.metrics_port > METRICS_PORT
        assert f"port {METRICS_PORT} is taken: metrics are on {result.metrics_port}" in result.notes
    assert check(metrics_port=0).metrics_port == 0
    own = free_port()
    assert check(dashboard_port=own, metrics_port=own).fatal == [
        f"--metrics-port {own}: taken; name a free one, or 0 for none, or end what holds it"
    ]

"""Ray's start, its workers and its end in the real program."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from numba.core import caching

from tests.support import records as made
from tests.support.processes import free_port
from tests.support.program import FAULTS, NO_PLOTS, ROOT, clean_environment
from tictactoe.core import compiled
from tictactoe.errors import UserError
from tictactoe.experiment.replicates import warm_up
from tictactoe.process import code, processes
from tictactoe.process.interrupt import Interrupt
from tictactoe.process.preflight import Preflight
from tictactoe.process.processes import name_of
from tictactoe.tuning import cluster, gcs, meeting

RESULTS = "re s#u%20l?t$s"
TINY = ("--num-samples", "2", "--seeds", "2", "--games", "5000", "--num-cpus", "2")
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts main.py of a folder, perhaps after some Python code, by a Python; temporary files go to a `temporary` folder."""
    started: list[subprocess.Popen[str]] = []

    def run(
        *options: str, temporary: Path, root: Path = ROOT, python: str = sys.executable, code: str = "", **variables: str
    ) -> subprocess.Popen[str]:
        # Ray is not to be imported before the environment is as it should be.
        begin = (
            f"import sys; sys.path.insert(0, {str(root)!r}); from tictactoe.process import environment; environment.prepare()"
        )
        program = ("-c", f"{begin}; {code}; import main; main.run()") if code else ()
        environment = clean_environment(tmp_path, WANDB_MODE="disabled", TMPDIR=str(temporary), **variables)
        command = [python, *(program or (str(root / "main.py"),)), "--results-dir", str(tmp_path / RESULTS), *options]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder with a short name: those of Ray's sockets lie below it."""
    with tempfile.TemporaryDirectory(prefix="t") as folder:
        yield Path(folder)


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    children: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
    return children


def listened_at(process: psutil.Process) -> set[str]:
    """Addresses that a process listens at."""
    with suppress(psutil.NoSuchProcess):  # it has just ended
        return {one.laddr.ip for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN}
    return set()


def left_in(temporary: Path, within: float = 15.0) -> list[str]:
    """Folders of runs that are still there after the reaper has had its time."""
    end = time.monotonic() + within
    while (left := [*temporary.glob("ttt-*")]) and time.monotonic() < end:
        time.sleep(0.1)
    return [path.name for path in left]


def kernels_for(root: Path, cache: Path) -> Path:
    """Put what has been compiled of this package there for a copy of it, where each process would take seconds to do so."""
    warm_up("3x3x3")
    kernels = Path(compiled.folder() or "")
    locator: Any = caching._CacheLocator
    here, there = (locator.get_suitable_cache_subpath(str(of / "tictactoe" / "core" / "a.py")) for of in (ROOT, root))
    shutil.copytree(kernels / here, cache / kernels.name / there)
    return cache


@pytest.mark.slow
def test_any_folder_will_do_nobody_else_is_listened_to_and_a_ray_that_dies_while_held_is_told(
    start: Start, tmp_path: Path, temporary: Path
) -> None:
    strange = 'we (ird) it\'s "$a" & b;c'
    root = tmp_path / strange
    shutil.copytree(ROOT / "tictactoe", root / "tictactoe", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "main.py", root)
    (root / ".venv").symlink_to(sys.prefix)
    (temporary / strange).mkdir()
    python = str(root / ".venv" / "bin" / Path(sys.executable).name)
    process = start(
        *TINY,
        "--hold",
        root=root,
        python=python,
        temporary=temporary / strange,
        NUMBA_CACHE_DIR=str(kernels_for(root, tmp_path / "kernels")),
        PYTHONPATH="",
    )
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if "the dashboard stays" in line:
            break
    assert "\ndigest sha256:" in output
    children = descendants(process)
    listening = {address for child in children for address in listened_at(child)}
    assert listening and listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    [child for child in children if name_of(child) == "gcs_server"][-1].kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: Ray's gcs_server died, and the dashboard with it; the results are whole" in errors.splitlines()
    assert not left_in(temporary / strange)


@pytest.mark.slow
def test_a_deep_check_tries_a_trial_and_leaves_nothing(start: Start, tmp_path: Path, temporary: Path) -> None:
    host = "::1" if Path("/proc/net/if_inet6").exists() else "127.0.0.1"
    process = start("--check", "--deep", "--num-cpus", "1", "--dashboard-host", host, temporary=temporary)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    shown, number = f"[{host}]" if ":" in host else host, r"[\d.]+ s$"
    lines = [line for line in output.splitlines() if not line.startswith("waiting for")]  # on a busy machine
    started, ran, stopped, last = lines[-4:]
    assert re.match(rf"Ray started, with its dashboard at http://{re.escape(shown)}:\d+, in {number}", started)
    assert re.match(f"a trial of 1,000 games ran in {number}", ran)
    assert re.match(f"Ray stopped in {number}", stopped) and last == "ready, and tried"
    assert not left_in(temporary, 0.0)
    assert not [*(tmp_path / RESULTS).glob("*")]


@pytest.mark.slow
def test_workers_that_die_as_they_start_are_told_with_the_reason(start: Start, temporary: Path) -> None:
    short = "from tictactoe.tuning import workers as w; w.PATIENCE_SECONDS = 3; w.NONE_SECONDS = 8; w.SLOW_SECONDS = 40"
    process = start(*TINY, temporary=temporary, code=short, FAULT="workers", PYTHONPATH=FAULTS)
    output, errors = process.communicate(timeout=120)
    (line,) = errors.splitlines()
    assert process.returncode == 1
    assert re.match(r"error: Ray has started no process for trials in \d+ s: ", line)
    assert "\nwaiting for Ray to start the processes of trials, 8 s at most\n" in output
    assert "libfault.so" in line and line.endswith("finished trials are kept: run the same command again to go on")
    assert not left_in(temporary)


@pytest.mark.slow
def test_a_start_that_hangs_has_an_end(start: Start, temporary: Path) -> None:
    sooner = "from tictactoe.tuning import workers; workers.PATIENCE_SECONDS = 3"
    short = f"{sooner}; from tictactoe.tuning import cluster; cluster.START_SECONDS = 7"
    process = start(*TINY, temporary=temporary, code=short)
    while not (found := [child for child in descendants(process) if name_of(child) == "gcs_server"]):
        time.sleep(0.02)
    found[0].send_signal(signal.SIGSTOP)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.search(r"^waiting for Ray's \w+, 7 s at most$", output, re.MULTILINE)
    (line,) = errors.splitlines()
    assert re.match(r"error: Ray did not start: still waiting for Ray's \w+ after 7 s", line)
    assert not left_in(temporary)


@pytest.mark.slow
def test_a_ray_without_tokens_is_refused_before_the_first_trial(start: Start, temporary: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus", "2", "--port"]
    variables = {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": str(temporary), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    command = [*ray, address.rpartition(":")[2], "--include-dashboard", "false", "--disable-usage-stats"]
    head = subprocess.Popen(command, env=clean_environment(temporary, **variables), stdout=subprocess.DEVNULL, text=True)
    try:
        end = time.monotonic() + 60
        while not any(name_of(child) == "raylet" for child in descendants(head)):
            assert time.monotonic() < end and head.poll() is None
            time.sleep(0.2)
        process = start(*TINY, temporary=temporary, RAY_ADDRESS=address)
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output, errors.count("\n")) == (2, "", 1)
        assert errors.startswith(f"error: RAY_ADDRESS {address}: that Ray was started without tokens")
        process = start(*TINY, temporary=temporary, RAY_ADDRESS=address, RAY_AUTH_MODE="disabled", **NO_PLOTS)
        output, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
    finally:
        processes.kill(descendants(head) if head.poll() is None else [])
        head.kill()
        head.wait()


@pytest.mark.slow
def test_a_port_that_was_taken_since_preflight_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        interrupt = Interrupt()
        monkeypatch.setattr(interrupt, "reinstall", lambda: None)  # the signals are the tests' own
        try:
            address = cluster.Launch(made.settings(), Preflight(1, taken)).wait(interrupt, print)
            assert address is not None and re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
            assert taken < int(address.rpartition(":")[2]) <= taken + cluster.PORT_TRIES
            head_and_worker_hear_of_each_other(ray.get_runtime_context().gcs_address)
        finally:
            cluster.stop()


def head_and_worker_hear_of_each_other(address: str) -> None:
    """With the head's Ray in this process."""
    with gcs.connected(address) as there:
        assert meeting.head(there) is None
        meeting.announce(made.settings(board="3x3x3", seeds=7, cpus_per_trial=0.5))
        assert meeting.head(there) == meeting.Head(code.version(), "3x3x3", 7, 0.5)
        assert meeting.refusals() == {}
        meeting.refuse(there, "10.0.0.7", "its code is another")
        meeting.refuse(there, "fd00::7", "ünfit")
        assert meeting.refusals() == {"10.0.0.7": "its code is another", "fd00::7": "ünfit"}
        assert meeting.refusals() == {}


@pytest.mark.parametrize(
    ("why", "remedy"),
    [
        ("OSError: AF_UNIX path length cannot exceed 107 bytes: 'x'", "RAY_TMPDIR to a folder with a shorter path"),
        ("OSError: [Errno 28] No space left on device", "make room"),
        ("PermissionError: [Errno 13] Permission denied: '/some/where/ray'", "RAY_TMPDIR to another folder"),
        ("Timed out waiting for file /some/where/ray/x", "--verbose"),
    ],
)
def test_each_reason_has_its_remedy(monkeypatch: pytest.MonkeyPatch, why: str, remedy: str) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/some/where")
    assert remedy in cluster._remedy(why)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"gpus_per_trial": 9.0}, ("--gpus-per-trial 9", "no more than 1;", "--gpus-per-trial 1 or less")),
        ({"cpus_per_trial": 5.0}, ("--cpus-per-trial 5", "no more than 4;", "--cpus-per-trial 4 or less")),
    ],
)
def test_a_ray_that_will_not_do_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict[str, Any], parts: tuple[str, ...]
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}])
    launch = cluster.Launch.__new__(cluster.Launch)  # without starting Ray
    launch._settings = made.settings(results_dir=tmp_path, **options)
    with pytest.raises(UserError) as refused:
        launch._require()
    assert all(part in str(refused.value) for part in parts)

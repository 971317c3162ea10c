"""The image in a real Docker engine: `make test-image`."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.memory import BOUND_MIB, measure, pod_options
from tests.support.commands import PAGES, block_lines, in_backticks
from tests.support.containers import SECRET, docker, state, wait_for
from tests.support.machines import until
from tests.support.program import ROOT, digest_of, published_digest

pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]
LIMITS = ("--cpus", "2", "--memory", "1280m", "--memory-swap", "1280m")
LOCKED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
          "--user", "12345:54321")  # fmt: skip
SMALL = ("python", "/app/main.py", "--num-samples", "6", "--seeds", "8", "--games", "20000")
LONG = ("python", "/app/main.py", "--scheduler", "none", "--num-samples", "40", "--seeds", "256", "--games", "100000")


@pytest.fixture
def start(image: str) -> Iterator[Callable[..., str]]:
    """Start a container with options for `docker run`, the image's command or another; returns its name."""
    started: list[str] = []

    def run(*options: str, command: tuple[str, ...] = ()) -> str:
        name = f"ray-tune-test-{uuid.uuid4().hex[:8]}"
        started.append(name)
        docker("run", "--detach", "--name", name, *LIMITS, *options, image, *command)
        return name

    yield run
    for name in started:
        docker("rm", "--force", "--volumes", name, check=False)


def address(container: str) -> str:
    return "http://" + docker("port", container, "8265/tcp").splitlines()[0].replace("0.0.0.0", "127.0.0.1")


def status(url: str, token: str | None = None) -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def container_id(container: str) -> str:
    return docker("inspect", "--format", "{{.Id}}", container).strip()


def wait_until_healthy(container: str) -> None:
    end = time.monotonic() + 60
    while state(container)["Health"]["Status"] != "healthy":
        assert time.monotonic() < end, state(container)["Health"]
        time.sleep(1)


def test_default_search_within_its_memory_then_held_and_healthy(start: Callable[..., str]) -> None:
    container = start("-p", "127.0.0.1::8265", "-e", "RAY_AUTH_TOKEN=" + "5e" * 32)
    output = wait_for(container, "the dashboard stays")
    assert "exploitability 0 (exact)" in output
    assert digest_of(output) == published_digest()  # in the container as out of it
    assert not re.search("warning|/dev/shm", output, re.IGNORECASE)  # with Docker's own 64 MB there
    assert "5e" * 32 not in output
    assert "Ray dashboard: http://localhost:8265 " in output
    assert f"`docker exec {container_id(container)[:12]} ray get-auth-token` prints" in output
    assert docker("exec", container, "stat", "-c", "%a", "/tmp/ray-auth-token").strip() == "600"
    url = address(container)
    assert status(f"{url}/api/gcs_healthz") == 200
    for route in ("/api/version", "/api/v0/actors", "/nodes?view=summary", "/api/jobs/"):
        assert status(url + route) == 401
        assert status(url + route, "5e" * 32) == 200
        assert status(url + route, "5f" * 32) in (401, 403)
    wait_until_healthy(container)
    assert not state(container)["OOMKilled"]
    assert docker("exec", container, "ray", "get-auth-token").strip() == "5e" * 32
    began = time.monotonic()
    docker("stop", container)
    assert time.monotonic() - began < 10
    assert state(container)["ExitCode"] == 0
    docker("start", container)
    again = wait_for(container, r"(?s)the dashboard stays.*the dashboard stays")
    assert again.count("finished [16/16]") == 1  # of the last round


def test_the_pod_of_the_deployment_fits_its_limit(image: str) -> None:
    measured = measure(image, pod_options(), ["--num-samples", "4", "--games", "50000"])
    assert not measured.oom_killed
    assert len(measured.curve) > 10
    assert 500 < measured.peak_mib <= BOUND_MIB


def test_read_only_root_and_any_user_with_kernels_from_the_cache(start: Callable[..., str]) -> None:
    code = (
        "from tictactoe.process import environment; environment.prepare(); environment.make_folders()\n"
        "from tictactoe.core import warmup, learner, evaluation, graph; warmup.main()\n"
        "import numba; assert numba.config.CPU_NAME == 'generic', 'another processor would compile again'\n"
        "import importlib.util, json, os\n"
        "assert os.path.exists(importlib.util.cache_from_source(json.__file__)), 'the standard library is not compiled'\n"
        "e = evaluation\n"
        "for kernel in (learner.play, e._train_and_check, e._greedy, e._worth, graph._smallest):\n"
        "    assert kernel.stats.cache_hits and not kernel.stats.cache_misses, (kernel, kernel.stats)\n"
        "print('all from the cache')"
    )
    docker("wait", (container := start(*LOCKED, command=("python", "-c", code))))
    assert "all from the cache" in docker("logs", container)
    container = start(*LOCKED, command=(*SMALL, "--no-hold"))
    assert docker("wait", container).strip() == "0", docker("logs", container)
    assert "digest sha256:" in docker("logs", container)


def test_stop_in_mid_search_saves_and_start_goes_on(start: Callable[..., str]) -> None:
    container = start(command=LONG)
    output = wait_for(container, r"\[3/40\]")
    running = {line[:11] for line in output.splitlines() if "games/s" in line}
    assert len(running) >= 2, output  # lines of concurrent trials
    began = time.monotonic()
    docker("stop", container)
    assert time.monotonic() - began < 10
    assert state(container)["ExitCode"] == 75
    last = docker("logs", container).splitlines()[-1]
    assert "interrupted" in last and "nothing is kept without a volume" in last
    subprocess.run(next(command for command in in_backticks(last) if "start" in command).split(), check=True)
    resumed = wait_for(container, r"of 40 trials are finished already")
    assert int(re.search(r"(\d+) of 40 trials", resumed)[1]) >= 3  # type: ignore[index]
    wait_for(container, r"\[6/40\]")


def wait_for_status(container: str) -> None:
    """Wait until it has just written status.json, as it does every five seconds: tar does not like to be disturbed by that."""
    look = ("exec", container, "sh", "-c", "stat -c %i /results/*/status.json")
    before = docker(*look)
    until(lambda: docker(*look) != before, lambda: "status.json is not written", 60.0)


def test_any_port_proxy_and_folder_and_the_printed_way_to_copy_results(
    image: str, start: Callable[..., str], tmp_path: Path
) -> None:
    volume = f"ray-tune-test-{uuid.uuid4().hex[:8]}"
    options = ("--workdir", "/", "--env", "http_proxy=http://127.0.0.1:1", "--volume", f"{volume}:/results")
    container = start(*options, command=(*SMALL, "--dashboard-port", "9000"))
    try:
        output = wait_for(container, "the dashboard stays")
        assert "Ray dashboard: http://localhost:9000 (where `docker run` has `-p 9000:9000`)" in output
        assert "without a volume" not in output
        wait_until_healthy(container)
        lines = [line for page in PAGES for line in block_lines(page.read_text())]
        copy = next(line for line in lines if "--entrypoint tar" in line).replace("ray-tune-results", volume)
        from_pod = next(line for line in lines if "kubectl exec" in line and "tar" in line)
        for number, command in enumerate(
            (copy, from_pod.replace("kubectl exec deploy/mnist-ray-tune --", f"docker exec {container}"))
        ):
            (tmp_path / str(number)).mkdir()
            wait_for_status(container)
            command = "mkdir -p results; set -o pipefail; " + command.replace("mnist-ray-tune:latest", image)
            subprocess.run(["bash", "-c", command], cwd=tmp_path / str(number), check=True)
            (folder,) = (tmp_path / str(number) / "results").iterdir()
            assert json.loads((folder / "summary.json").read_text())["status"] == "finished"
    finally:
        docker("rm", "--force", container)
        docker("volume", "rm", volume)


def test_a_trial_that_takes_too_much_memory_fails_alone(start: Callable[..., str]) -> None:
    """The container's limit is real: the kernel ends the trial's process, again and again."""
    faults = (
        "--volume",
        f"{ROOT / 'tests' / 'support' / 'faults'}:/faults:ro",
        "--env",
        "PYTHONPATH=/faults",
        "--env",
        "FAULT=memory:3",
    )
    container = start(*faults, command=(*SMALL, "--no-hold"))
    assert docker("wait", container).strip() == "0", docker("logs", container)
    output = docker("logs", container)
    assert output.count("trial_00003  is tried again") == 3
    assert "trial_00003  failed: its process was ended for want of memory" in output
    assert "1 trial failed" in output
    assert len(set(re.findall(r"(trial_\d+)  finished", output))) == 5


@pytest.mark.parametrize(
    ("options", "command", "says"),
    [
        ((), ("--board", "7x7x7"), "error: --board"),
        (("--cpus", "0.5"), ("--cpus-per-trial", "2"), "error: --cpus-per-trial 2: only 1 CPU here"),
        (("--memory", "600m"), (), "error: memory limit 600 MiB"),
        (("--read-only", "--tmpfs", "/tmp", "--env", "HOME=/nowhere"), (), "error: HOME /nowhere: cannot be written"),
        ((*LOCKED, "--env", "TICTACTOE_RESULTS_DIR=/app"), (), "error: --results-dir /app: cannot be written"),
        (("--env", "RAY_AUTH_MODE=disabled"), (), "error: RAY_AUTH_MODE disabled"),
        (("--read-only",), (), "error: no folder for temporary files"),
    ],
)
def test_what_cannot_work_is_exit_2(
    start: Callable[..., str], options: tuple[str, ...], command: tuple[str, ...], says: str
) -> None:
    container = start(*options, command=("python", "/app/main.py", *command))
    assert docker("wait", container).strip() == "2"
    output = docker("logs", container)
    assert output.startswith(says) and output.count("\n") == 1


def test_check_says_where_things_stand(start: Callable[..., str]) -> None:
    container = start(command=("python", "/app/main.py", "--check"))
    assert docker("wait", container).strip() == "0"
    output = docker("logs", container)
    assert re.search("W&B: no WANDB_API_KEY, .*; runs are kept offline", output)
    assert f"`docker exec {container_id(container)[:12]} ray get-auth-token` prints" in output
    assert output.endswith("ready\n")


def test_nothing_secret_or_needless_in_the_image(image: str) -> None:
    history = docker("history", "--no-trunc", image)
    assert not re.search(r"(?i)(api_key|auth_token)=\S", history)
    assert SECRET not in history
    places = ("/app", "/etc", "/home", "/opt", "/results", "/root", "/tmp", "/var")
    assert docker("run", "--rm", "--user", "0", "--entrypoint", "grep", image, "-rl", SECRET, *places, check=False) == ""
    files = docker("run", "--rm", "--entrypoint", "find", image, "/app", "/results", "/tmp", "-not", "-path", "*/numba-cache/*")
    for unwanted in (".env", ".git", "/tests", "wandb", "Dockerfile"):
        assert unwanted not in files
    assert "/app/main.py" in files
    sources = (path for path in (ROOT / "tictactoe").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    ours = {path.relative_to(ROOT) for path in sources}
    assert {f"/app/{path}" for path in ours} == {
        name for name in files.split() if name.startswith("/app/tictactoe/") and not name.endswith(("__pycache__", ".pyc"))
        and name not in {f"/app/{path.parent}" for path in ours}
    }  # fmt: skip
    (inspected,) = json.loads(docker("image", "inspect", image))
    (base,) = json.loads(docker("image", "inspect", "python:3.12-slim"))
    assert inspected["Size"] - base["Size"] <= 1.2e9
    config = inspected["Config"]
    assert config["User"] == "1000:1000"
    assert config["Entrypoint"] == ["/usr/bin/tini", "--"]
    assert config["Cmd"] == ["python", "/app/main.py"]
    assert list(config["ExposedPorts"]) == ["8265/tcp"]
    assert config["StopSignal"] == "SIGTERM"
    assert docker("run", "--rm", "--entrypoint", "sh", image, "-c", "command -v gcc || true") == ""

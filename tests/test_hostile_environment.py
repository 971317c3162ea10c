"""The program among variables and folders that were made for somebody else: a notebook, a batch system, an earlier job."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray._private.utils import validate_socket_filepath

from tests.process.test_faults import NAMESPACE
from tests.support.program import ROOT, SEARCHED, clean_environment, digest_of
from tictactoe.process import environment

HOSTILE = {
    # of a notebook
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "JPY_PARENT_PID": "1",
    # of a batch system and its sites
    "OMP_NUM_THREADS": "0",
    "OPENBLAS_NUM_THREADS": "many",
    "NUMBA_NUM_THREADS": "100000",
    "RAY_RUNTIME_ENV_HOOK": "of.another.job",
    "RAY_NAMESPACE": "another",
    "RAY_GCS_SERVER_PORT": "1",
    "RAY_REDIS_ADDRESS": "192.0.2.1:1",
    "RAY_OVERRIDE_RESOURCES": "{",
    "RAY_JOB_CONFIG_JSON_ENV_VAR": "{",
    "RAY_LOG_TO_STDERR": "1",
    "RAY_AIR_NEW_OUTPUT": "1",
    "RAY_TUNE_CALLBACKS": "of.another.Callback",
    "RAY_CHDIR_TO_TRIAL_DIR": "x",
    "RAY_DEBUG_POST_MORTEM": "1",
    "RAY_memory_monitor_refresh_ms": "1",
    "RAY_USE_RANDOM_PORTS": "1",
    "TUNE_RESULT_DIR": "/proc/none",
    "TUNE_RESULT_BUFFER_LENGTH": "1000",
    "TUNE_MAX_PENDING_TRIALS_PG": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "x",
    "TUNE_DISABLE_AUTO_INIT": "1",
    "GRPC_VERBOSITY": "debug",
    # of `wandb agent`, and of runs of one's own
    "WANDB_RUN_ID": "another",
    "WANDB_SWEEP_ID": "another",
    "WANDB_RESUME": "must",
    "WANDB_NAME": "another",
    "WANDB_RUN_GROUP": "another",
    "WANDB_DIR": "/proc/none",
    "WANDB_INIT_TIMEOUT": "soon",
    "WANDB_START_METHOD": "x",
    "WANDB_SERVICE": "1-1-tcp-localhost-1",
    "WANDB_MODE": "offline",
    "WANDB_DISABLED": "",
    # of who looks for a fault
    "NUMBA_DEBUG": "1",
    "NUMBA_CAPTURED_ERRORS": "x",
    "NUMBA_CACHE_LOCATOR_CLASSES": "x",
    "PYTHONWARNINGS": "error",
    "PYTHONSAFEPATH": "1",
    "PYTHONASYNCIODEBUG": "1",
    "PYTHONVERBOSE": "",
    "PYTHONSTARTUP": "/none.py",
    "PYTHONINSPECT": "1",
    # of the network
    "http_proxy": "http://192.0.2.1:1",
    "HTTPS_PROXY": "socks5://192.0.2.1:1",
    "REQUESTS_CA_BUNDLE": "/none.pem",
    "SSL_CERT_FILE": "/none.pem",
    # of a terminal
    "TERM": "dumb",
    "COLUMNS": "x",
    "LC_ALL": "C",
}
FOLDERS = ("TMPDIR", "TICTACTOE_RESULTS_DIR", "HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR")


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short name."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        yield Path(folder)


def check(cwd: Path, variables: dict[str, str] | None = None, python: tuple[str, ...] = ()) -> list[str]:
    """The lines of `main.py --check`, which says that a search would start and has nothing to complain of."""
    command = [sys.executable, *python, str(ROOT / "main.py"), "--check"]
    environ = clean_environment(cwd / "home", WANDB_DISABLED="true") | (variables or {})
    ran = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=60, check=False)
    lines = ran.stdout.splitlines()
    assert (ran.returncode, lines[-1:], ran.stderr) == (0, ["ready"], "")
    return lines


def made_under(folder: Path) -> set[Path]:
    return {*folder.rglob("*")}


def test_everything_at_once_is_told_and_nothing_is_made(short: Path) -> None:
    before = made_under(short)
    lines = check(short, HOSTILE)
    assert made_under(short) == before
    told = [line.split()[0] for line in lines if line.startswith("  ")]
    assert told == sorted(told)
    assert {*HOSTILE} - {*told} == {"JPY_PARENT_PID", "PYTHONVERBOSE", "WANDB_DISABLED"}


@pytest.mark.parametrize("options", [("-P",), ("-I",)])
def test_options_of_the_interpreter(short: Path, options: tuple[str, ...]) -> None:
    check(short, python=options)


@pytest.mark.parametrize("name", ["a b", "it's", "ü", "$HOME (x)", "n" * 100, "missing/folder"])
def test_folders_with_names_of_any_kind(short: Path, name: str) -> None:
    folder = short / name
    if not name.startswith("missing"):
        folder.mkdir()
    before = made_under(short)
    lines = check(short if name.startswith("missing") else folder, dict.fromkeys(FOLDERS, str(folder)))
    assert made_under(short) == before
    assert any(line.startswith(f"note: TMPDIR {folder} ") for line in lines) is folder.exists()
    assert any(line.startswith(f"note: TMPDIR {folder}: ") for line in lines) is not folder.exists()
    assert any(line.startswith("note: HOME ") for line in lines) is not folder.exists()


def test_another_file_system(short: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        lines = check(short, dict.fromkeys(FOLDERS, folder))
        assert not any(line.startswith("note: TMPDIR") for line in lines)
        assert not made_under(Path(folder))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TICTACTOE_RESULTS_DIR": "results"}, "--results-dir {folder}/results: cannot be written ("),
        ({"HOME": "home"}, "HOME {folder}/home: cannot be written ("),
        ({"RAY_TMPDIR": ""}, None),
        ({"TMPDIR": ""}, None),
        ({"MPLCONFIGDIR": "", "NUMBA_CACHE_DIR": ""}, None),
    ],
)
def test_read_only_folders(short: Path, variables: dict[str, str], message: str | None) -> None:
    """As root too: the file system itself is read-only, in a mount namespace of the program's own."""
    folder = short / "read-only"
    folder.mkdir()
    if subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode != 0:
        pytest.skip("no mount namespace may be made here")
    over = f'mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} && exec "$0" "$@"'
    command = [*NAMESPACE, "sh", "-c", over, sys.executable, str(ROOT / "main.py"), "--check"]
    environ = clean_environment(short, WANDB_DISABLED="true") | {n: str(folder / v) for n, v in variables.items()}
    ran = subprocess.run(command, cwd=short, env=environ, capture_output=True, text=True)
    assert not ran.stderr
    fatal = [line for line in ran.stdout.splitlines() if line.startswith("error: ")]
    assert ran.returncode == (2 if message else 0)
    assert all(line.startswith("error: " + str(message).format(folder=folder)) for line in fatal[:1])
    assert bool(fatal) is (message is not None)


@pytest.mark.slow
def test_a_search_among_all_of_it_has_the_same_digest(searched: Path, short: Path) -> None:
    """Also under what looks like `uv run` to Ray, which would then copy the folder that the program was started in."""
    folder = short / ("it's a " + "n" * 100)
    folder.mkdir()
    shutil.copy(shutil.which("sh") or "", short / "uv")
    (folder / "run").write_text('"$@"; exit $?\n')
    command = ["uv", "run", sys.executable, "-P", str(ROOT / "main.py"), "--results-dir", "results", *SEARCHED]
    environ = clean_environment(short) | HOSTILE | {"TMPDIR": str(folder)}
    ran = subprocess.run(
        command, executable=short / "uv", cwd=folder, env=environ, capture_output=True, text=True, timeout=280, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert digest_of(ran.stdout) == digest_of((searched.parent / "output").read_text())
    (results,) = (folder / "results").iterdir()
    assert (results / "report.html").is_file()
    assert len([*(results / "wandb").glob("offline-run-*")]) == 5  # each trial's own, and the search's
    assert {path.name for path in folder.iterdir()} == {"run", "results"}
    assert ": temporary files go to /tmp\n" in ran.stdout


def test_rays_longest_socket() -> None:
    longest = "/" + "n" * (107 - len(environment._RAYS_SOCKET) - 1) + environment._RAYS_SOCKET
    validate_socket_filepath(longest)
    with pytest.raises(OSError, match="AF_UNIX path length cannot exceed 107 bytes"):
        validate_socket_filepath(longest + "x")


DRAW = """
import hashlib, io
from tictactoe.reporting.report import drawing
with drawing.style():
    figure, axes = drawing.new_figure(100)
    axes.set(title="a", xlabel="games")
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
print(hashlib.sha256(file.getvalue()).hexdigest())
"""


def test_figures_are_the_same_whatever_a_matplotlibrc_says(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.size: 40\nsavefig.transparent: True\naxes.facecolor: red\n")
    home = Path.home()  # where matplotlib has its list of fonts
    environs = (clean_environment(home), clean_environment(home, MATPLOTLIBRC=str(tmp_path)))
    ran = [
        subprocess.run([sys.executable, "-c", DRAW], cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
        for environ in environs
    ]
    assert ran[0].stdout == ran[1].stdout


PLAY = """
import json, pathlib, sys
from tictactoe.core.evaluation import evaluate
from tictactoe.core.hyperparameters import Hyperparameters
from tictactoe.core.policy import Policy
from tictactoe.experiment.record import to_json
from tictactoe.experiment.replicates import Replicates, Task
replicates = Replicates(Task("3x3x3", seeds=2, games=150, seed=5), Hyperparameters())
replicates.advance(float("inf"), 150)
replicates.save(pathlib.Path(sys.argv[1]))
told = to_json(replicates.progress()) | to_json(evaluate(replicates.learners[0]))
told = {name: value for name, value in told.items() if "cpu" not in name}
print(json.dumps(told), Policy.from_learner(replicates.learners[0]).to_json())
"""


def test_without_compiled_code_results_are_the_same(tmp_path: Path) -> None:
    """NUMBA_DISABLE_JIT is for who looks for a fault: it works, a thousand times slower."""
    ran = [
        subprocess.run(
            [sys.executable, "-c", PLAY, str(tmp_path / f"state-{plain}")],
            cwd=ROOT, env=clean_environment(tmp_path, NUMBA_DISABLE_JIT=plain), capture_output=True, text=True, check=False,
        )
        for plain in ("0", "1")
    ]  # fmt: skip
    assert [(each.returncode, each.stderr) for each in ran] == [(0, "")] * 2
    assert ran[0].stdout == ran[1].stdout

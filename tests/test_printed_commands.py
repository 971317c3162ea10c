"""What is printed is tried: every command of the README, of docs/ and of the program, as far as this machine can.

Each is of one kind, and the kind says how it is tried. Those for Docker run in `tests/deployment/test_image.py`.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import yaml

from tests.support.commands import LISTINGS, PAGES, PROGRAMS, bare, block_lines, in_backticks, of_pages
from tests.support.manifests import kubectl
from tests.support.program import ROOT, clean_environment
from tictactoe import situation
from tictactoe.settings import load
from tictactoe.situation import Mount, Situation

SECRETS = {"my-env-secret", "mnist-ray-tune-token"}
FILES = sorted([*ROOT.glob("*.yaml"), *ROOT.glob("deploy/*/*.yaml")])
MANIFESTS = [o for path in FILES for o in yaml.safe_load_all(path.read_text()) if "metadata" in o]
OBJECTS = {f"{o['kind'].lower()}/{o['metadata']['name']}" for o in MANIFESTS} | {f"secret/{name}" for name in SECRETS}
SHORT = {"deploy": "deployment", "svc": "service", "secret": "secret", "po": "pod"}
MINIKUBE = re.compile(
    r"minikube (start( --(container-runtime=docker|cni=calico|cpus=\d+|memory=\d+mb))+|docker-env|delete"
    r"|service mnist-ray-tune-service( --url)?|image (build -t mnist-ray-tune:latest \.|load mnist-ray-tune:latest))"
)
"""Its commands and options, as its manual has them: there is none here to ask."""


@pytest.fixture
def home(tmp_path: Path, searched: Path) -> Path:
    """A clone's folder with results in it, so far as commands look at it; the search has the name NAME."""
    for name in ("main.py", "tictactoe", "Dockerfile", ".env.example", "requirements.txt", "constraints.txt"):
        (tmp_path / name).symlink_to(ROOT / name)
    for path in ROOT.glob("*.yaml"):
        shutil.copy(path, tmp_path)  # Kustomize follows links, and takes no files from elsewhere
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    shutil.copytree(searched / "small", tmp_path / "results" / "NAME", symlinks=True)
    shutil.copytree(searched.parent / ".ray", tmp_path / ".ray")  # with the token
    return tmp_path


def run(home: Path, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command as it is printed, with its input at its end."""
    return subprocess.run(
        ["bash", "-c", command], cwd=home, env=clean_environment(home, **variables), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def works(home: Path, command: str) -> None:
    ran = run(home, command)
    assert ran.returncode == 0, ran.stderr


def prints_the_token(home: Path, command: str) -> None:
    assert run(home, command).stdout.strip() == (home / ".ray" / "auth_token").read_text().strip()


def has_known_options(_: Path, command: str) -> None:
    arguments = re.sub(r"^.*main\.py ?", "", command)
    if not arguments.startswith("--help"):
        load(shlex.split(arguments), {})


def is_a_target(home: Path, command: str) -> None:
    target, *variables = shlex.split(command)[1:]
    assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for variable in variables:
        name, _, value = variable.partition("=")
        assert name in ("ARGS", "PYTHON")
        if name == "ARGS":
            has_known_options(home, value)


def is_a_module(_: Path, command: str) -> None:
    assert importlib.util.find_spec(command.split()[2]) is not None


def is_installed(home: Path, command: str) -> None:
    assert (home / ".venv" / "bin" / Path(command.split()[0]).name).exists()


def has_its_files(home: Path, command: str) -> None:
    named = re.findall(r"(?<=-[rc] )\S+", command)
    assert all((home / name).is_file() for name in named)


def is_of_this_image(home: Path, command: str) -> None:
    words = command.split()
    if words[1] in ("build", "push"):
        assert re.search(r" (REGISTRY/mnist-ray-tune:1|mnist-ray-tune:latest)\b", command) and (home / "Dockerfile").is_file()
    elif words[1] in ("run", "rmi"):
        assert "mnist-ray-tune:latest" in words
        _, _, inside = command.partition("mnist-ray-tune:latest ")
        if inside.startswith("python"):
            assert inside.split()[1] == "/app/main.py"  # whatever the working folder is
            has_known_options(home, inside)
    assert not re.search(rf"(?<!{situation.VOLUME}):/results", command) or "$PWD" in command


def is_of_the_compose_file(_: Path, command: str) -> None:
    """Its services; there is no Compose here."""
    known = {
        "up",
        "stop",
        "down",
        "restart",
        "exec",
        "--volumes",
        *yaml.safe_load((ROOT / "compose.yaml").read_text())["services"],
    }
    assert set(command.partition(" ray ")[0].split()[2:]) <= known


def has_its_configuration(_: Path, command: str) -> None:
    assert all((ROOT / name).is_file() for name in re.findall(r"[\w./-]+\.yaml", command))


def names_objects_and_parses(home: Path, command: str) -> None:
    """All that can be tried without a cluster: files, names, and kubectl's own reading, up to its call of the server."""
    ours = command.partition(" -- ")[0].split()
    for word in ours:
        kind, slash, name = word.partition("/")
        if slash and not word.startswith("-") and not (home / word).exists():
            assert f"{SHORT.get(kind, kind)}/{name}" in OBJECTS or kind == "pod", word
    assert "secret" not in ours or SECRETS & set(ours)
    labels = [label for o in MANIFESTS for label in o["metadata"].get("labels", {}).items()]
    assert "-l" not in ours or tuple(ours[ours.index("-l") + 1].split("=")) in labels
    run(home, "[ -e .env ] || cp .env.example .env")
    ran = run(home, command.replace("kubectl", f"{kubectl()} --server http://127.0.0.1:1", 1), KUBECONFIG=str(home / "none"))
    assert "refused" in ran.stderr, ran.stderr


def is_minikubes(_: Path, command: str) -> None:
    assert MINIKUBE.fullmatch(command.removeprefix("eval $(").removesuffix(")"))


def is_understood(home: Path, command: str) -> None:
    works(home, f"{command} --help")  # what it sends is for tests/reporting


KINDS: dict[str, Callable[[Path, str], None]] = {
    r"\.venv/bin/python main\.py --check --deep": has_known_options,  # tests/tuning/test_cluster.py runs it
    r"\.venv/bin/python main\.py (play|report|status|--help|--check)\b": works,
    r"\.venv/bin/python -m tictactoe\.verify ": works,
    r"(cp|install|mkdir|rm) |\[ -e": works,
    r"(?!docker|kubectl|podman).*get-auth-token$|cat ": prints_the_token,
    r"(\.venv/bin/)?python main\.py ": has_known_options,
    r"(\.venv/bin/)?python3? -m (pip|venv) |uv |pip ": has_its_files,
    r"(\S*python\S* -m )?wandb (sync|login)\b": is_understood,
    r"(\.venv/bin/)?python -m ": is_a_module,
    r"(\.venv/bin/)?(ray|wandb) ": is_installed,
    r"make ": is_a_target,
    r"docker compose ": is_of_the_compose_file,
    r"prometheus |promtool ": has_its_configuration,  # tests/deployment/test_alerts.py checks them
    r"docker (build|push|exec|run|rmi|start|stop|volume rm)\b": is_of_this_image,
    r"kubectl ": names_objects_and_parses,
    r"(eval \$\()?minikube ": is_minikubes,
    r"tar ": lambda _home, _command: None,  # behind a pipe of Docker's or kubectl's
    r"(apptainer|apt-get|export) ": lambda _home, _command: None,
}
"""Of commands, by how they begin, each with how it is tried."""


def try_out(home: Path, command: str) -> None:
    how = next((how for pattern, how in KINDS.items() if re.match(pattern, command)), None)
    assert how is not None, f"{command!r} is of no kind: nobody tries it"
    how(home, command)


@pytest.mark.parametrize(("command", "page"), of_pages())
def test_a_command_of_the_pages(home: Path, command: str, page: str) -> None:
    try_out(home, command)


def test_every_line_of_a_code_block_is_a_command_or_a_known_listing() -> None:
    for page in PAGES:
        for line in block_lines(page.read_text()):
            assert PROGRAMS.match(bare(line)) or line.startswith(LISTINGS) or not line, f"{page.name}: {line}"


def test_what_a_search_and_a_check_have_printed(home: Path, searched: Path) -> None:
    """Each where it was printed."""
    checked = run(home, ".venv/bin/python main.py --check").stdout
    for folder, printed in ((searched.parent, searched.with_name("output").read_text()), (home, checked)):
        commands = in_backticks(printed)
        assert commands  # that for the token among them
        for command in commands:
            try_out(folder, command)


@pytest.mark.parametrize("place", ["docker", "kubernetes"])
def test_what_is_printed_elsewhere(home: Path, place: Literal["docker", "kubernetes"]) -> None:
    name = f"deploy/{situation.DEPLOYMENT}" if place == "kubernetes" else "0123456789ab"
    lost, kept = Situation(place, name), Situation(place, name, (Mount(Path("/results"), "/volumes/mine/_data", "ext4"),))
    said = [where.kept(Path("/results"), False) + where.dashboard("http://localhost:8265") for where in (lost, kept)]
    for command in in_backticks(" ".join([*said, *lost.notes(Path("/results"))])):
        if command != f"{place} run":  # which is only named
            try_out(home, command)

"""What must be in the environment before Numba, Ray and W&B are imported, and the dashboard's token."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.test_variables import SET
from tests.support.program import ROOT, clean_environment
from tictactoe.process import environment

RECORD = """
import importlib, json, os, sys

class Recorder:
    "Writes down the environment at the first import of each library, and ends the import there."
    seen = {}

    def find_spec(self, name, path, target=None):
        if name in ("numba", "ray", "wandb"):
            self.seen.setdefault(name, dict(os.environ))
            raise ImportError(name)

sys.meta_path.insert(0, Recorder())
import main
assert not Recorder.seen, f"main.py alone imports {[*Recorder.seen]}"
for step in (lambda: main.main(["report"]), lambda: importlib.import_module("ray"), lambda: importlib.import_module("wandb")):
    try:
        step()
    except ImportError as error:
        print(error, file=sys.stderr)
print(json.dumps(Recorder.seen))
"""


def seen_at_import(home: Path, lines: str, **variables: str) -> dict[str, dict[str, str]]:
    """The environment that Numba, Ray and W&B find when the program first imports them."""
    (home / ".env").write_text(lines)
    (home / "temporary").mkdir()
    variables = {"TICTACTOE_ENV_FILE": str(home / ".env"), "TMPDIR": str(home / "temporary")} | variables
    ran = subprocess.run(
        [sys.executable, "-c", RECORD], cwd=ROOT, env=clean_environment(home, **variables), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.splitlines() == ["numba", "ray", "wandb"]
    return dict(json.loads(ran.stdout))


def test_all_is_there_before_anything_is_imported(tmp_path: Path) -> None:
    baked = tmp_path / "baked"
    baked.mkdir()
    (baked / "code.nbi").write_bytes(b"compiled")
    seen = seen_at_import(
        tmp_path,
        "WANDB_PROJECT=file\nWANDB_ENTITY=file\nRAY_SOMETHING=1\nRAY_DEDUP_LOGS=1\nTUNE_MINE=2\nWANDB_TAGS=${WANDB_ENTITY}\n"
        "WANDB_API_KEY=your-key-here\nRAY_AUTH_TOKEN=\nTICTACTOE_SEEDS=3\n",
        TICTACTOE_NUMBA_CACHE=str(baked),
        WANDB_ENTITY="environment",
        WANDB_SILENT="false",
        WANDB_PROJECT="",  # says nothing
    )
    cache = Path(seen["numba"]["NUMBA_CACHE_DIR"])
    assert cache.parent == tmp_path / "temporary"
    assert (cache / "code.nbi").read_bytes() == b"compiled"
    assert os.access(cache, os.W_OK) and cache != baked
    for library in ("numba", "ray", "wandb"):
        variables = seen[library]
        assert variables["WANDB_PROJECT"] == "file"
        assert variables["RAY_SOMETHING"] == "1"
        assert "TUNE_MINE" not in variables
        assert variables["WANDB_TAGS"] == "file"  # as python-dotenv has it: the file's own lines come first
        assert variables["WANDB_ENTITY"] == "environment"
        own = {"WANDB_SILENT": "false", "RAY_DEDUP_LOGS": "1"}  # the user's, in the environment and in the file
        assert {name: variables[name] for name in SET} == SET | own
        assert "WANDB_API_KEY" not in variables and "RAY_AUTH_TOKEN" not in variables  # a placeholder, and nothing
        assert "TICTACTOE_SEEDS" not in variables  # the settings' own


def test_without_baked_code_numba_keeps_its_own_place(tmp_path: Path) -> None:
    seen = seen_at_import(tmp_path, "WANDB_API_KEY=key\n", TICTACTOE_NUMBA_CACHE=str(tmp_path / "none"))
    assert "NUMBA_CACHE_DIR" not in seen["numba"]
    assert seen["wandb"]["WANDB_API_KEY"] == "key"
    assert {name: seen["ray"][name] for name in SET} == SET


def test_no_folder_for_temporary_files_is_one_line_and_exit_2(tmp_path: Path) -> None:
    code = "import sys, tempfile, main\ntempfile._candidate_tempdir_list = lambda: ['/proc/none']\nsys.exit(main.main([]))"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean_environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert "TMPDIR" in ran.stderr


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder still to be made, in an environment without ours, which is as it was afterwards."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith(("TICTACTOE_", "WANDB_", "RAY_", "TUNE_", "NUMBA_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TICTACTOE_ENV_FILE", str(tmp_path / ".env"))
    yield tmp_path / "home"
    os.environ.clear()
    os.environ.update(before)


def test_the_lines_are_returned_and_the_home_is_made(home: Path) -> None:
    (home.parent / ".env").write_text("TICTACTOE_SEEDS=3\nWANDB_API_KEY=changeme\n")
    found = environment.prepare()
    assert found.lines == {"TICTACTOE_SEEDS": "3", "WANDB_API_KEY": "changeme"}
    assert not found.notes
    assert not home.exists()
    environment.make_folders()
    assert home.is_dir()


def test_a_home_that_cannot_be_made_is_for_preflight_to_tell(home: Path) -> None:
    home.write_text("a file where a folder should be")
    environment.make_folders()


@pytest.mark.parametrize("value", ["  abc\n", '"abc"', "'abc'", ' "abc" '])
def test_keys_and_tokens_are_as_they_are_meant(home: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    for name in environment.SECRETS:
        monkeypatch.setenv(name, value)
    environment.prepare()
    assert {os.environ[name] for name in environment.SECRETS} == {"abc"}


def test_a_placeholder_in_the_environment_is_no_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "your-key-here")
    environment.prepare()
    assert "WANDB_API_KEY" not in os.environ


def test_others_variables_are_decided_and_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.parent / ".env").write_text("WANDB_RUN_ID=x\n")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    told = "\n".join(environment.prepare().decisions)
    assert "WANDB_RUN_ID" in told and "MPLBACKEND" in told
    assert os.environ["MPLBACKEND"] == "agg" and "WANDB_RUN_ID" not in os.environ


def test_baked_code_is_copied_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    baked, temporary = home.parent / "baked", home.parent / "temporary"
    for folder in (baked, temporary):
        folder.mkdir()
    (baked / "code").write_text("first")
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setenv("TICTACTOE_NUMBA_CACHE", str(baked))
    environment.make_folders()
    (cache,) = temporary.iterdir()
    assert os.environ["NUMBA_CACHE_DIR"] == str(cache)
    (cache / "code").write_text("what this machine has compiled")
    del os.environ["NUMBA_CACHE_DIR"]
    environment.make_folders()
    assert os.environ["NUMBA_CACHE_DIR"] == str(cache)
    assert (cache / "code").read_text() == "what this machine has compiled"
    cache.chmod(0o777)  # others could have put code there
    del os.environ["NUMBA_CACHE_DIR"]
    environment.make_folders()
    assert os.environ["NUMBA_CACHE_DIR"] != str(cache)
    assert (Path(os.environ["NUMBA_CACHE_DIR"]) / "code").read_text() == "first"
    os.environ["NUMBA_CACHE_DIR"] = "/the/users/own"
    environment.make_folders()
    assert os.environ["NUMBA_CACHE_DIR"] == "/the/users/own"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_token_is_made_once_and_for_its_owner_alone(home: Path) -> None:
    path = home / ".ray" / "auth_token"
    assert environment.provide_token(make=False) == path
    assert not home.exists()
    assert environment.provide_token() == path
    token = path.read_text()
    assert len(bytes.fromhex(token)) == 32
    assert mode(path) == 0o600
    assert environment.provide_token() == path
    assert path.read_text() == token
    path.write_text(" \n")  # as good as none
    environment.provide_token()
    assert len(path.read_text().strip()) == 64 and path.read_text() != token


def test_a_token_of_the_environment_needs_no_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "5e" * 32)
    assert environment.provide_token() is None
    assert not home.exists()


def test_a_token_of_the_environment_is_written_where_a_file_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "deep" / "token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    assert environment.provide_token() == path
    assert len(path.read_text().strip()) == 64
    monkeypatch.setenv("RAY_AUTH_TOKEN", "5e" * 32)
    before = path.read_text()
    assert environment.provide_token(make=False) == path
    assert path.read_text() == before
    assert environment.provide_token() == path
    assert path.read_text().strip() == "5e" * 32
    assert mode(path) == 0o600


def test_a_token_that_cannot_be_written(home: Path) -> None:
    home.write_text("a file where a folder should be")
    with pytest.raises(OSError, match="Not a directory"):
        environment.provide_token()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"two words", b"two\nlines", "schlüssel".encode(), b"\x00"])
def test_a_token_file_that_holds_no_token(home: Path, content: bytes) -> None:
    path = home / ".ray" / "auth_token"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="auth_token holds more than one word"):
        environment.provide_token()
    assert path.read_bytes() == content


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a name short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        yield Path(folder)


def gone(folder: Path) -> None:
    folder.rmdir()


def a_file(folder: Path) -> None:
    folder.rmdir()
    folder.touch()


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("a b", None, "letters in its name"),
        ("it's", None, "letters in its name"),
        ("ümlaut", None, "letters in its name"),
        ("$HOME", None, "letters in its name"),
        ("n" * 100, None, "bytes too long for the names of sockets"),
        ("x", gone, "is not there"),
        ("x", a_file, "is no folder"),
    ],
)
def test_where_rays_sockets_cannot_be_another_folder_takes_its_place(
    home: Path, monkeypatch: pytest.MonkeyPatch, short: Path, variable: str, name: str, change: Any, problem: str
) -> None:
    base = short / name
    base.mkdir()
    if change is not None:
        change(base)
    if variable == "TMPDIR":
        monkeypatch.setattr("tempfile.tempdir", str(base))
    else:
        monkeypatch.setenv(variable, str(base))
    monkeypatch.setattr(environment, "_SHORT", (str(short / "none"), str(short)))
    before = [*short.iterdir()]
    folder, message = environment.session_folder()
    assert folder == short and [*short.iterdir()] == before
    assert (
        message.startswith(f"{variable} {base} ") and problem in message and message.endswith(f": Ray's session is in {short}")
    )
    monkeypatch.setattr(environment, "_SHORT", (str(short / "none"),))
    folder, message = environment.session_folder()
    assert folder is None
    assert message.startswith(f"{variable} {base} ") and message.endswith("with a short, plain name")


def test_the_longest_name_that_rays_sockets_allow(home: Path, monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    longest = 107 - len(environment._RAYS_SOCKET)
    for length, fits in ((longest, True), (longest + 1, False)):
        base = short / ("n" * (length - len(str(short)) - 1))
        base.mkdir()
        monkeypatch.setenv("RAY_TMPDIR", str(base))
        folder, message = environment.session_folder()
        assert ((folder, message) == (base, "")) is fits
    assert f"RAY_TMPDIR {base} is 1 byte too long" in message


def test_temporary_files_go_elsewhere_only_where_names_get_too_long(monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    longest = 107 - len(environment._PYTHONS_SOCKET)
    for length, fits in ((longest, True), (longest + 1, False)):
        base = short / ("it's " + "n" * (length - len(str(short)) - 6))
        base.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(base))
        folder, message = environment.temporary_folder()
        assert (folder, message) == (
            (base, "")
            if fits
            else (Path("/tmp"), f"TMPDIR {base} is 1 byte too long for the names of sockets: temporary files go to /tmp")
        )


def test_a_relative_folder_is_meant_from_here(home: Path, monkeypatch: pytest.MonkeyPatch, short: Path) -> None:
    monkeypatch.chdir(short)
    monkeypatch.setenv("RAY_TMPDIR", ".")
    assert environment.session_folder() == (short, "")

"""Output that cannot be written: neither a little program nor the real one ends otherwise for it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.support.program import ROOT, clean_environment

PREPARE = """
import os, sys
from tictactoe.process import streams
streams.make_unfailing()
"""
LOST = "note: standard output cannot be written ({}); the program goes on without it\n"


def shell(tmp_path: Path, line: str, code: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """What comes of a shell's line, in which `$PROGRAM` is a little program that begins with `PREPARE`."""
    (tmp_path / "program.py").write_text(PREPARE + code)
    variables = {"PROGRAM": f"{sys.executable} {tmp_path / 'program.py'}", "PYTHONPATH": str(ROOT)} | variables
    environment = clean_environment(tmp_path, MAIN=f"{sys.executable} {ROOT / 'main.py'}", **variables)
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], cwd=tmp_path, env=environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


MANY = "for number in range(3):\n    print('x' * 100_000)\nopen('end', 'w').close()\nsys.exit(7)"


@pytest.mark.parametrize(
    ("line", "errors"),
    [("$PROGRAM > /dev/full", LOST.format("No space left on device")),
     ("$PROGRAM | head -c 1 > /dev/null", LOST.format("Broken pipe")),
     ("$PROGRAM > /dev/full 2>&1", ""), ("$PROGRAM >&-", ""), ("$PROGRAM <&- >&- 2>&-", ""), ("$PROGRAM > /dev/full 2>&-", "")],
)  # fmt: skip
def test_what_cannot_be_written_is_left_out_and_said_once(tmp_path: Path, line: str, errors: str) -> None:
    ran = shell(tmp_path, line, MANY)
    assert (ran.returncode, ran.stderr) == (7, errors)
    assert (tmp_path / "end").exists()


def test_no_file_takes_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    code = "file = open('file', 'w')\nprint('lost')\nos.system('echo lost')\nfile.close()"
    ran = shell(tmp_path, "$PROGRAM <&- >&- 2>&-", code)
    assert ran.returncode == 0
    assert (tmp_path / "file").read_text() == ""


def test_what_cannot_be_encoded_is_escaped(tmp_path: Path) -> None:
    code = "print('é ┌ \\udce9')\nprint('é', file=sys.stderr)"
    ran = shell(tmp_path, "$PROGRAM", code, PYTHONIOENCODING="ascii")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "\\xe9 \\u250c \\udce9\n", "\\xe9\n")
    assert shell(tmp_path, "$PROGRAM", "print('é', '\\udce9')", PYTHONIOENCODING="utf-8").stdout == "é \\udce9\n"


def test_a_pipe_that_does_not_wait_gets_everything() -> None:
    """Whoever shares a pipe or a terminal with the program may have set it so."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    code = PREPARE + "print('x' * 1_000_000)\nprint('end')"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True) as process:
        os.close(writing)
        with os.fdopen(reading) as file:
            assert file.read() == "x" * 1_000_000 + "\nend\n"
        assert process.stderr is not None and process.stderr.read() == ""
    assert process.returncode == 0


def test_the_real_program(tmp_path: Path, searched: Path) -> None:
    results = tmp_path / "résultats ☂"
    results.symlink_to(searched)
    variables = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PLAY": f"$MAIN play --results-dir '{results}'"}
    ran = shell(tmp_path, "$MAIN --check > /dev/full")
    assert (ran.returncode, ran.stderr) == (0, LOST.format("No space left on device"))
    ran = shell(tmp_path, "echo 5 | eval $PLAY", FORCE_COLOR="1", COLUMNS="0", **variables)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "| 1 | 2 | 3 |" in ran.stdout and "\x1b" not in ran.stdout
    ran = shell(tmp_path, "eval $PLAY none >&-", **variables)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "r\\xe9sultats \\u2602" in ran.stderr
    ran = shell(tmp_path, "mkfifo open; eval $PLAY <> open > /dev/full", **variables)
    assert ran.returncode == 0  # nobody sees its questions


@pytest.mark.parametrize(("term", "width"), [("dumb", 80), ("xterm", 20)])
def test_a_terminal_without_abilities(searched: Path, term: str, width: int) -> None:
    outer, inner = pty.openpty()
    termios.tcsetwinsize(inner, (24, width))
    with subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), "play"], cwd=searched.parent, stdin=subprocess.DEVNULL,
        stdout=inner, stderr=inner,
        env=clean_environment(searched.parent, TERM=term),
    ) as process:  # fmt: skip
        os.close(inner)
        text = ""
        while chunk := read(outer):
            text += chunk
    os.close(outer)
    assert process.returncode == 0
    assert "│ 1 │ 2 │ 3 │" in re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert ("\x1b" in text) == (term != "dumb")


def read(terminal: int) -> str:
    """What comes next, nothing at the end."""
    try:
        return os.read(terminal, 65536).decode()
    except OSError:
        return ""

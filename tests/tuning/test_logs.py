"""Reasons out of Ray's messages and log files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tictactoe.tuning import logs

BASH = "bash: -c: line 1: syntax error near unexpected token `('"
FULL = "OSError: [Errno 28] No space left on device"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("plain", "plain"),
        ("", "RuntimeError"),
        ("The last 20 lines of /x/d.log:\n2026-11-25 21:33:18,974\tINFO head.py:1 -- ok", "it did not come up in time"),
        (
            "Failed to start the dashboard\nThe last 20 lines of /tmp/ray/x/dashboard.log (it contains the error message):\n"
            f"Traceback (most recent call last):\n  File x\n{FULL}\n",
            FULL,
        ),
        ("Failed to start GCS.\n\x1b[31m[2026-11-25 21:33:18,974 C 19646 19646] (gcs_server) Check failed: x\x1b[0m\n.",
         "(gcs_server) Check failed: x"),
    ],
)  # fmt: skip
def test_the_telling_line_of_a_message(text: str, reason: str) -> None:
    assert logs.cause(RuntimeError(text)) == reason


def test_what_is_behind_an_error_is_looked_at_too() -> None:
    error = ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379")
    error.__cause__ = RuntimeError("To fix this, either:\n- Use Ray 3\nRuntimeError: Version mismatch: 2.9.0")
    assert logs.cause(error) == "RuntimeError: Version mismatch: 2.9.0"


def test_the_logs_of_a_session(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    assert logs.last_words(tmp_path) == ""
    (folder / "raylet.out").write_text("[2026-11-25 21:33:18,974 I 1 2] (raylet) all is well\n")
    assert logs.last_words(tmp_path) == ""
    (folder / "raylet.err").write_text(f"{BASH}\n{BASH}\n")
    assert logs.last_words(tmp_path) == f"{BASH} (in Ray's raylet.err)"
    (folder / "worker-1.err").write_text(f"Traceback:\n  x\n{FULL}\n")
    assert logs.last_words(tmp_path) == f"{FULL} (in Ray's worker-1.err)"

"""Why something of Ray's failed, in one line: from its errors and from the log files of its session."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tictactoe.process.processes import session_folder

LOGS = (
    "worker-*.err",
    "raylet*.err",
    "gcs_server*.err",
    "dashboard_agent*.err",
    "runtime_env_agent*.err",
    "dashboard*.err",
    "runtime_env_agent*.log",
    "dashboard_agent*.log",
    "dashboard.log",
    "raylet*.out",
    "gcs_server*.out",
)
"""What may say why, the most telling first."""
TAIL_BYTES = 20_000
MOST = 300
"""Characters of a reason."""
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
_HEAD = re.compile(r"^\[?\d{4}-\d\d-\d\d[^\]]*\]\s*|^\d{4}-\d\d-\d\d [\d:,.]+\s+\w+\s+\S+\s+--\s+|^\([\w.]+\)\s+")
"""What Ray puts before each line: date, process, level."""
_EMPTY = re.compile(
    r"\bThe last \d+ lines of\b|^To fix this, either:|\bprinting the last\b|^\s*-+\s*$|^\d{4}-\d\d-\d\d \S+\s+(INFO|DEBUG)\b"
)
"""Lines that only announce others, or say that all is well."""
_TELLING = (
    re.compile(r"^(\w+\.)*\w*(Error|Exception)\b[:(]"),  # the last line of a traceback
    re.compile(r"\b[CF] \d+ \d+\]|\bCheck failed\b"),
    re.compile(r"\bE \d+ \d+\]|\bERROR\b|not found|[Nn]o such file|[Dd]enied|No space|[Cc]annot|syntax error|unexpected"),
)
"""What the line of a reason looks like, the most telling first."""


def cause(error: BaseException) -> str:
    """The line of an error's text, and of those behind it, that says why."""
    texts = []
    behind: BaseException | None = error
    while behind is not None:
        texts.append(str(behind) or type(behind).__name__)
        behind = behind.__cause__
    lines = [line for text in texts for line in text.splitlines() if line.strip() and not _EMPTY.search(line)]
    return _most_telling(lines) or (_clean(lines[0]) if lines else "it did not come up in time")


def last_words(session: Path | None = None) -> str:
    """The line of the logs of our own Ray's session (or those of another `session`) that says why; empty where none does."""
    session = session or session_folder()
    if session is None:
        return ""
    for pattern in LOGS:
        for path in sorted((session / "logs").glob(pattern), reverse=True):
            try:
                with path.open("rb") as file:
                    file.seek(max(0, path.stat().st_size - TAIL_BYTES))
                    lines = file.read().decode(errors="replace").splitlines()
            except OSError:
                continue
            if found := _most_telling(lines):
                return f"{found} (in Ray's {path.name})"
    return ""


def _most_telling(lines: Iterable[str]) -> str:
    lines = [_ESCAPE.sub("", line) for line in lines]
    for pattern in _TELLING:
        for line in reversed(lines):
            if pattern.search(line.strip()):
                return _clean(line)
    return ""


def _clean(line: str) -> str:
    return _HEAD.sub("", _ESCAPE.sub("", line).strip())[:MOST]

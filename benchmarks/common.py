"""What the benchmarks share: running the program as a user does, and printing a table or JSON."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent


def parser(description: str | None, **defaults: int) -> argparse.ArgumentParser:
    """Command line of a benchmark: whole numbers by name, and --json FILE."""
    result = argparse.ArgumentParser(description=description)
    for name, value in defaults.items():
        result.add_argument(f"--{name}", type=int, default=value, help=f"default: {value}")
    result.add_argument("--json", type=Path, help="also write the figures to this file")
    return result


def arguments(description: str | None, **defaults: int) -> argparse.Namespace:
    """The arguments of a benchmark's command line; see `parser`."""
    return parser(description, **defaults).parse_args()


def search(*options: str, **variables: str) -> dict[str, Any]:
    """One search in a folder of its own: its summary, its journal, and the seconds of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TICTACTOE_")}
        environment |= {"TICTACTOE_ENV_FILE": f"{folder}/none", **variables}
        began = time.monotonic()
        command = [sys.executable, str(ROOT / "main.py"), "--results-dir", folder, "--name", "bench", *options]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - began
        path = Path(folder, "bench")
        journal = [json.loads(line) for line in (path / "journal.jsonl").read_text().splitlines()]
        return {"summary": json.loads((path / "summary.json").read_text()), "journal": journal, "process_s": seconds}


def show(title: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Print rows with the same keys as a table; return both."""
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*(f"{value:,.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    return {"title": title, "rows": rows}


def write(path: Path | None, *tables: dict[str, Any]) -> None:
    """Write tables as JSON, if there is a path."""
    if path is not None:
        path.write_text(json.dumps(tables, indent=1))

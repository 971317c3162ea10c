"""The image's health check: whether the dashboard of this container's Ray answers. It is run by its path, with Python alone.

A worker of a search has no dashboard. It is well as long as it runs: it waits for its head, and ends when it cannot work.
"""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

DASHBOARD = "ray/dashboard/dashboard.py"
ROUTE = "/api/gcs_healthz"
"""The one that needs no token."""
SECONDS = 4.0


def commands(proc: Path = Path("/proc")) -> Iterator[list[str]]:
    """The words of each process's command line."""
    for file in proc.glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has just ended
            yield file.read_text(encoding="utf-8", errors="replace").split("\0")


def is_worker(proc: Path = Path("/proc")) -> bool:
    """Whether this is the container of a worker, which has no dashboard."""
    return any(
        one.endswith("main.py") and next_one == "worker" for words in commands(proc) for one, next_one in pairwise(words)
    )


def addresses(proc: Path = Path("/proc")) -> list[str]:
    """Where the Ray dashboards listen that run here, by their command lines: an option or `.env` may have named the port."""
    found = []
    for words in commands(proc):
        options = dict(word.removeprefix("--").partition("=")[::2] for word in words)
        if any(word.endswith(DASHBOARD) for word in words) and {"host", "port"} <= options.keys():
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options["host"], options["host"])  # noqa: S104 - compared with
            found.append(f"{f'[{host}]' if ':' in host else host}:{options['port']}")
    return found


def answers(address: str) -> bool:
    """Whether a dashboard's Ray is well; the environment's proxies are for other addresses."""
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{address}{ROUTE}", timeout=SECONDS).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    # The dashboard of a Ray that RAY_ADDRESS names is another container's.
    sys.exit(not (os.environ.get("RAY_ADDRESS") or is_worker() or any(map(answers, addresses()))))

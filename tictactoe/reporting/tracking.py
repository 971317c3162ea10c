"""Weights & Biases, written from the driver by one thread: one run a trial, and one for the search.

Telemetry never fails, delays or changes a search: whether the server answers is found out once, before any
run, and everything goes to local files where it does not.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from pydantic import SecretStr
from rich.console import Console

PROBE_SECONDS = 2.0
FLUSH_SECONDS = 300.0
"""Longest wait at the end for a server that answers; a signal ends it earlier."""
STALLED_SECONDS = 1.0
"""How long nothing may come through at the end before the server is asked whether it still answers."""
ALIVE_SECONDS = 1.0
"""How long it may take for that."""
TOLD_SECONDS = 3.0
"""After so long a wait the user is told."""
LEAVING_SECONDS = 2.0
"""Longest wait at the end of a search that a signal has ended."""
SAVE_SECONDS = 1.0
"""How much of a run's data a kill may cost; W&B's own interval is longer than a short trial."""
EMPTY_BYTES = 7
"""Length of the head of a run's file."""
PROJECT = "ray-tune-tictactoe"
SEARCH = "search"
"""Name of the run of the whole search."""


class Probe:
    """Asks the server, in a thread beside Ray's start, whether it knows the key."""

    def __init__(self, key: SecretStr | None) -> None:
        self._key = None if key is None else key.get_secret_value()
        self._result: tuple[str, str] | None = None
        self._asked = time.monotonic()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def result(self) -> tuple[str, str]:
        """(mode, message): "online", "offline" or "disabled", and what to tell the user about it."""
        self._thread.join(max(0.0, PROBE_SECONDS - (time.monotonic() - self._asked)))
        if self._result is None:
            return "offline", "W&B: the server does not answer; runs are kept offline, send them later with `wandb sync`"
        return self._result

    def _ask(self) -> None:
        wished = os.environ.get("WANDB_MODE", "").lower()
        if wished == "disabled" or os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true"):
            self._result = "disabled", "W&B: disabled"
        elif wished in ("offline", "dryrun"):
            self._result = "offline", "W&B: offline, as WANDB_MODE says"
        elif self._key is None:
            self._result = "offline", "W&B: no WANDB_API_KEY; runs are kept offline"
        else:
            self._result = _ask_server(_server(), self._key)


def _server() -> str:
    return os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"


def _answers() -> bool:
    """Whether the server answers anything at all."""
    import requests

    try:
        requests.get(_server(), timeout=ALIVE_SECONDS, allow_redirects=False)
    except requests.RequestException:
        return False
    return True


def _ask_server(server: str, key: str) -> tuple[str, str]:
    import requests

    kept = "runs are kept offline, send them later with `wandb sync`"
    try:
        answer = requests.post(
            f"{server.rstrip('/')}/graphql",
            json={"query": "query { viewer { id } }"},
            auth=("api", key),
            timeout=PROBE_SECONDS,
        )
        if answer.status_code in (401, 403) or (answer.ok and not (answer.json().get("data") or {}).get("viewer")):
            return "offline", f"W&B: {server} refuses the key; mend WANDB_API_KEY; {kept}"
        if answer.ok:
            return "online", f"W&B: online at {server}"
        return "offline", f"W&B: {server} answers {answer.status_code}; {kept}"
    except (requests.RequestException, ValueError, AttributeError):
        return "offline", f"W&B: {server} cannot be reached; {kept}"


class Tracker:
    """Writes runs in a thread of its own; an observer of the search.

    `group` is the search's name, `stamp` what tells this start of it from another of the same name: both make
    the runs' ids, so that a resumed search goes on in its runs. `leave` is set by a signal.
    """

    def __init__(self, mode: str, folder: Path, group: str, stamp: str, console: Console, leave: threading.Event) -> None:
        self.mode = mode
        self._leave = leave
        self._console = console
        self._folder, self._group, self._stamp = folder, group, stamp
        self._written = folder / "wandb" / "written"
        self._queue: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._runs: dict[int, Any] = {}
        self._handled = 0
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        if mode != "disabled":
            self._thread.start()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()
        if self.failure:
            runs = self._folder / "wandb" / ("run-*" if self.mode == "online" else "offline-run-*")
            self._console.print(f"W&B: {self.failure}; `wandb sync {runs}` sends what is missing there")

    def search_started(self, finished: list[dict[str, Any]]) -> None:
        """Write the runs of finished trials that an earlier attempt did not come to write.

        Folders that a kill has left without any data are removed: `wandb sync` would stop at them.
        """
        known = set()
        with suppress(OSError):
            for data in self._folder.glob("wandb/offline-run-*/*.wandb"):
                if data.stat().st_size <= EMPTY_BYTES:
                    shutil.rmtree(data.parent, ignore_errors=True)
            known = set(self._written.read_text(errors="replace").split())
        for record in finished:
            if str(record["index"]) not in known:
                self._put("start", record["index"], record["config"])
                for point in record["history"]:
                    self._put("log", record["index"], {"games": point["games"], "loss_vs_random": point["mean_loss"]})
                self._put("finish", record["index"], record)

    def trial_started(self, index: int, config: dict[str, Any]) -> None:
        self._put("start", index, config)

    def trial_reported(self, index: int, metrics: dict[str, Any]) -> None:
        names = (
            "games",
            "share",
            "par10",
            "median",
            "solved",
            "exploitability",
            "loss_vs_random",
            "learner_cpu_s",
            "games_per_s",
        )
        self._put("log", index, {name: metrics[name] for name in names})

    def trial_finished(self, record: dict[str, Any]) -> None:
        self._put("finish", record["index"], record)

    def trial_failed(self, index: int, error: str) -> None:
        self._put("fail", index, error)

    def trial_noted(self, index: int, text: str) -> None:
        """Not for W&B."""

    def search_finished(self, summary: dict[str, Any], records: list[dict[str, Any]], files: list[Path]) -> None:
        """Write the run of the whole search: its leaderboard as a table, its files as an artifact."""
        self._put("summary", -1, (summary, records, files))

    def _close(self) -> None:
        """Wait for what is still to be written, as long as the server answers; if it does not, end W&B's service process."""
        if self.mode == "disabled":
            return
        self._queue.put(None)
        began = moved = time.monotonic()
        handled, told, leaving = self._handled, False, self._leave.is_set()
        end = began + (LEAVING_SECONDS if leaving else FLUSH_SECONDS)
        while self._thread.is_alive() and time.monotonic() < end and self._leave.is_set() == leaving:
            self._thread.join(0.05)
            if handled != self._handled:
                moved, handled = time.monotonic(), self._handled
            if time.monotonic() > moved + STALLED_SECONDS:
                if self.mode == "online" and not _answers():
                    break
                moved = time.monotonic()
            if not told and time.monotonic() > began + TOLD_SECONDS:
                told = True
                self._console.print(f"W&B: {self._queue.qsize()} more things to write; Ctrl-C does without them")
        if not self._thread.is_alive():
            return
        stopped = "the server stopped answering" if self.mode == "online" else "its service stopped answering"
        self.failure = "not all is written" if self._leave.is_set() else stopped
        for process in psutil.Process().children(recursive=True):
            try:
                if "wandb-core" in process.name():
                    process.kill()
            except psutil.Error:
                continue

    def _put(self, *event: Any) -> None:
        if self.mode != "disabled":
            self._queue.put(event)

    def _work(self) -> None:
        # What is still to be sent belongs to the results; W&B would leave it, and its logs, in the home folder.
        for name in ("data", "cache"):
            os.environ.setdefault(f"WANDB_{name.upper()}_DIR", str(self._folder / "wandb" / name))
        try:
            import wandb

            logging.getLogger("wandb").setLevel(logging.CRITICAL)
        except Exception as error:
            self.failure = str(error)
            return
        while (event := self._queue.get()) is not None:
            try:
                self._handle(wandb, *event)
                self._handled += 1
            except Exception as error:  # telemetry never fails a search
                self.failure = self.failure or (str(error).strip().splitlines() or [type(error).__name__])[0]
        wandb.teardown()

    def _handle(self, wandb: Any, kind: str, index: int, content: Any) -> None:
        if kind == "start" and index not in self._runs:  # it is: tried again after its process was lost
            self._runs[index] = self._run(wandb, f"trial_{index:05d}", content)
        elif kind == "log" and index in self._runs:
            self._runs[index].log(_finite(content), step=int(content["games"]))
        elif kind == "finish" and index in self._runs:
            run = self._runs.pop(index)
            names = ("par10", "median", "solved", "exploitability", "loss_vs_random", "games", "learner_cpu_s", "stopped")
            run.summary.update(_finite({name: content[name] for name in names}))
            run.finish(exit_code=0)
            with self._written.open("a") as file:
                file.write(f"{index}\n")
        elif kind == "fail" and index in self._runs:
            run = self._runs.pop(index)
            run.summary["error"] = content
            run.finish(exit_code=1)
        elif kind == "summary":
            self._summary(wandb, *content)

    def _summary(self, wandb: Any, summary: dict[str, Any], records: list[dict[str, Any]], files: list[Path]) -> None:
        run = self._run(wandb, SEARCH, {"board": summary["board"], "seed": summary["seed"]})
        names = ("index", "par10", "median", "solved", "exploitability", "loss_vs_random", "games", "learner_cpu_s", "stopped")
        keys = list(records[0]["config"])
        ranked = sorted(records, key=lambda r: (r["stopped"], r["par10"]))
        rows = [[r[n] for n in names] + [r["config"][k] for k in keys] for r in ranked]
        pages = {
            path.stem: wandb.Html(path.read_text(encoding="utf-8"), inject=False) for path in files if path.suffix == ".html"
        }
        run.log({"leaderboard": wandb.Table(columns=[*names, *keys], data=rows)} | pages)
        run.summary.update(_finite({k: v for k, v in summary.items() if k not in ("versions",)}))
        artifact = wandb.Artifact(f"policy-{self._group}", type="policy")
        for path in files:
            artifact.add_file(str(path))
        try:
            run.log_artifact(artifact)
        finally:  # a server that takes no artifacts is to have the rest
            run.finish(exit_code=0)

    def _run(self, wandb: Any, name: str, config: dict[str, Any]) -> Any:
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            group=self._group,
            name=name,
            id=f"{self._group}-{self._stamp}-{name}"[-120:],
            config=config,
            dir=str(self._folder),
            mode=self.mode,
            resume="allow",  # offline too: `wandb sync` then appends to the run where it would overwrite it
            reinit="create_new",
            settings=wandb.Settings(
                console="off", silent=True, disable_git=True, disable_code=True, save_code=False, x_disable_stats=True,
                x_disable_machine_info=True, x_disable_meta=True, init_timeout=10,
                x_transaction_log_flush_interval=SAVE_SECONDS,
                x_save_requirements=name == SEARCH,  # one is enough: each reads all packages' files
            ),
        )  # fmt: skip


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}

"""`main.py status`: what a search is doing, or what has become of it, in words or as JSON."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from tictactoe.experiment import folder as folders
from tictactoe.experiment import status as statuses
from tictactoe.experiment import summary as summaries
from tictactoe.experiment.record import to_json
from tictactoe.experiment.status import Status
from tictactoe.experiment.summary import Summary
from tictactoe.process.interrupt import INTERRUPTED
from tictactoe.text import count, games, minutes, percent, trial_name

State = Literal["starting", "running", "held", "silent", "finished", "interrupted", "failed", "damaged"]
SILENT_SECONDS = 60.0
"""A search that is there says how far it is every five seconds; one that has not for so long hangs, most likely."""
EXIT_CODES: dict[State, int] = {"interrupted": INTERRUPTED, "failed": 1, "silent": 1, "damaged": 1}
"""Of states that are not well."""


@dataclass(frozen=True)
class View:
    """A search from outside."""

    name: str
    state: State
    age_s: float | None
    """Seconds since its status was written; None where there is none."""
    status: Status | None
    summary: Summary | None
    """Of a finished search."""

    @property
    def exit_code(self) -> int:
        return EXIT_CODES.get(self.state, 0)


def look(folder: Path) -> View:
    """What a search's files say now."""
    status, summary = statuses.read(folder), summaries.read(folder)
    age = None if status is None else max(0.0, time.time() - status.at)
    state: State = "damaged"
    if (since := folders.in_use_since(folder)) is not None:
        state = "starting"
        if status is not None and status.at >= since:
            state = "silent" if (age or 0.0) > SILENT_SECONDS else "held" if status.phase == "held" else "running"
    elif summary is not None:
        state = summary.status
    return View(folder.name, state, age, status, summary if isinstance(summary, Summary) else None)


def as_json(view: View) -> str:
    """One JSON object: name, state, age_s, status, and of a finished search its result."""
    content: dict[str, Any] = {"name": view.name, "state": view.state, "age_s": view.age_s}
    content["status"] = None if view.status is None else to_json(view.status)
    content["result"] = None
    if summary := view.summary:
        content["result"] = {
            "best": to_json(summary.best),
            "num_trials": summary.num_trials,
            "num_errors": summary.num_errors,
            "truncated": summary.truncated,
            "digest": summary.digest,
        }
    return json.dumps(content, indent=1)


def show(console: Console, view: View) -> None:
    """The same for a reader."""
    status = view.status
    console.print(f"search {view.name}: {view.state}{_where(view)}")
    if status is not None:
        for line in _lines(status):
            console.print(f"  {line}")
    if summary := view.summary:
        winner, median = trial_name(summary.best.index), games(summary.best.confirmed.median)
        console.print(f"  winner: {winner}, games to optimal: median {median} on seeds that chose nothing")
        console.print(f"  digest {summary.digest}")
    if view.age_s is not None:
        console.print(f"  as of {view.age_s:,.0f} s ago")


def _where(view: View) -> str:
    """The phase that a search is in, or was in when it ended."""
    status = view.status
    if status is None or view.state in ("finished", "held"):
        return ""
    if status.phase != "search" or status.rounds == 1:
        return f", {status.phase}"
    return f", round {status.round} of {status.rounds}"


def _lines(status: Status) -> list[str]:
    trials, best = status.trials, status.best
    lines = ["trials: " + ", ".join(f"{number:,} {state}" for state, number in vars(trials).items())]
    if any(status.retries.values()):
        lines.append("run again: " + ", ".join(f"{number:,} ({cause})" for cause, number in status.retries.items()))
    if best is not None:
        least = "at least " * best.is_bound
        lines.append(
            f"best: {trial_name(best.index)}, geometric mean {least}{games(best.geometric_mean)} games, "
            f"PAR-10 {least}{games(best.par10)}, solved {best.solved} of {best.seeds}"
        )
    lines.append("games: " + ", ".join(f"{status.games[stage]:,} {words}" for stage, words in _STAGES.items()))
    lost = f", {count(status.nodes_lost, 'node')} lost" if status.nodes_lost else ""
    learning = f"{percent(status.learner_share)} of their time learning"
    lines.append(f"{count(status.slots, 'slot')} on {count(status.nodes, 'node')}{lost}, {learning}")
    if status.time_left_s is not None:
        lines.append(f"time left: {minutes(status.time_left_s)}")
    if status.wandb_backlog:
        lines.append(f"W&B: {count(status.wandb_backlog, 'thing')} still to be written")
    share = percent(status.results_free_bytes / max(1, status.results_size_bytes))
    lines.append(f"results' volume: {status.results_free_bytes / 2**30:,.1f} GiB free, {share}")
    return lines


_STAGES: dict[statuses.Stage, str] = {"search": "in the search", "fresh": "on fresh seeds"}

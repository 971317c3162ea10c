"""What a search is doing at a moment: what its metrics say, and status.json, which `main.py status` reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tictactoe import files
from tictactoe.experiment.record import Cause, from_json, to_json

FILE = "status.json"
Phase = Literal["search", "finalists", "results", "held"]
"""Trials run; the finalists race on fresh seeds; results are made; all is done, and the dashboard stays."""
Stage = Literal["search", "fresh"]
"""Which seeds: those of the search, or fresh ones."""


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Trials of all rounds, by their state."""

    waiting: int
    running: int
    finished: int
    failed: int


@dataclass(frozen=True, kw_only=True)
class BestSoFar:
    """The best trial by now: of the latest round that has one."""

    index: int
    geometric_mean: float
    """The objective, as games to optimal; a lower bound, as `par10` is, while `is_bound`."""
    par10: float
    solved: int
    seeds: int
    is_bound: bool


@dataclass(frozen=True, kw_only=True)
class Status:
    """All of it. Counts and seconds are of all starts of the search, where nothing else is said."""

    name: str
    attempt: int
    """Which start of the search this is, counted from 1."""
    at: float
    """When this was so: seconds since 1970, as all moments here."""
    phase: Phase
    round: int
    """Counted from 1."""
    rounds: int
    trials: Trials
    retries: dict[Cause, int]
    """In this start: how often a trial, or some of its fresh replicates, was run again, by cause."""
    best: BestSoFar | None
    games: dict[Stage, int]
    """Of self-play, those of trials that run included."""
    learner_cpu_s: dict[Stage, float]
    trial_s: float
    """Slots' seconds in trials of the search."""
    slot_s: float
    """All of the slots' seconds in the search."""
    learner_share: float
    """Of the slots' seconds in the last start that has run trials, how much was learning; in [0, 1]."""
    slots: int
    nodes: int
    nodes_lost: int
    time_left_s: float | None
    """An estimate; None while nothing is known of it."""
    last_finished: float
    """When a trial, or some fresh replicates, ended last; before that, when this start began."""
    wandb_backlog: int
    """Things still to be written to W&B."""
    results_free_bytes: int
    results_size_bytes: int
    """Of the volume that the results are on."""


def write(folder: Path, status: Status) -> None:
    """Write status.json. Raises OSError."""
    files.write(folder / FILE, json.dumps(to_json(status), indent=1))


def read(folder: Path) -> Status | None:
    """What status.json says; None where there is none, or it is not of this version."""
    content = files.read_json(folder / FILE)
    try:
        return None if content is None else from_json(Status, content)
    except ValueError:
        return None

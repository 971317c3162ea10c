"""What is computed, and what became of it: the records that travel from a trial to the journal and to all who show it.

They are frozen dataclasses. Columns, charts and checks take their fields from here; no list of them is kept anywhere else.
Infinite numbers are None, as in JSON: a median of None games is "never".
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from tictactoe.core.learner import Hyperparameters
from tictactoe.core.seeds import Stream
from tictactoe.experiment import objective

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from tictactoe.settings import Settings

FORMAT = 4
"""Rises when what a record means changes: the grid of checks, the objective, a field. It is part of each search's fingerprint
and of every file that is read again, so that no search mixes two meanings under one digest."""

GamesToOptimal = tuple[int | None, ...]
"""Games to optimal by replicate, None where unsolved."""

Cause = Literal["node", "memory", "timeout", "process"]
"""Why a trial is run again: its node was lost, or its process was ended for want of memory, by its watchdog, or otherwise."""

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """What the replicates of a configuration compute, whoever runs them where."""

    board: str
    seeds: int
    games: int
    """Budget: self-play games of each replicate."""
    seed: int
    """Seed of the whole search."""
    stream: Stream = Stream.SEARCH
    """Which stream the replicates' seeds are of."""
    first: int = 0
    """Number of the first replicate in its stream."""
    cap: int | None = None
    """Games, a point of the grid of checks, after which each replicate stops; None for the whole budget."""
    curve: bool = True
    """Whether a learning curve is kept. Each of its points costs several times what other checks do."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """All replicates at one of their full checks."""

    games: int
    optimal: int
    """How many replicates play optimally there."""
    exploitability: tuple[float, float, float]
    """Its 10 %, 50 % and 90 % quantiles over replicates."""
    loss_vs_random: tuple[float, float, float]
    """The same of the loss against random."""
    mean_loss: float
    """Mean loss against random over replicates."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The numbers that tell how good a configuration is; the columns of trials.csv, of leaderboards and of W&B."""

    mean_log: float
    """The objective: mean logarithm of games to optimal; a lower bound where stopped before the budget."""
    par10: float
    """Mean games to optimal, an unsolved replicate counting as 10 budgets; a lower bound likewise."""
    median: float | None
    """Median games to optimal, None where the middle is unsolved."""
    solved: int
    """How many replicates are solved."""
    exploitability: float
    """Mean over replicates, at the last full check of each."""
    loss_vs_random: float
    """Mean over replicates, at the last full check of each."""
    games: int
    """Games at the last grid point that every replicate has passed."""
    learner_cpu_s: float
    """CPU seconds of training and checks, all attempts together."""


@dataclass(frozen=True, kw_only=True)
class Progress(Scores):
    """How far a trial has come."""

    games_to_optimal: GamesToOptimal
    """As it stands: a later check may change it."""
    played: int
    """Games of all replicates together."""
    share: float
    """`played` over what all replicates are to play: their budgets, or a round's games."""
    earlier_cpu_s: float
    """What of `learner_cpu_s` was used in earlier attempts."""
    history: tuple[CurvePoint, ...]
    """The learning curve: every full check that all replicates have passed."""

    @property
    def geometric_mean(self) -> float:
        """The objective as a number of games."""
        return objective.geometric_mean(self.mean_log)

    @property
    def games_per_s(self) -> float:
        """Games of self-play a CPU second."""
        return self.played / max(self.learner_cpu_s, 1e-9)


@dataclass(frozen=True, kw_only=True)
class Record(Progress):
    """A finished trial: one line of the journal."""

    index: int
    attempt: int
    """Which start of the search ran it, counted from 1."""
    config: Hyperparameters
    started_s: float
    """Seconds from this attempt's start."""
    ended_s: float
    node: str
    """Address of the node that ran it, as Ray names it."""
    worker: int
    """Id, on its node, of the worker process that ran it."""
    stopped: bool
    """Whether it ended before its budget, by a scheduler or a round's cap."""
    round: int = 0
    """Which round of the search's race it is of, counted from 0."""

    @property
    def kind(self) -> str:
        """ "solved" on every seed, "unsolved" on one at least, or "stopped" before the budget's end."""
        if self.stopped:
            return "stopped"
        return "solved" if self.solved == len(self.games_to_optimal) else "unsolved"

    @property
    def is_bound(self) -> bool:
        """Whether its scores are lower bounds: it was stopped with some seeds unsolved."""
        return self.stopped and self.solved < len(self.games_to_optimal)

    @property
    def rank(self) -> tuple[bool, int, float, float, int]:
        """Sort key: whole trials before stopped ones, later rounds first, then by the objective.

        Ties, of configurations that play optimally nowhere yet, go to the lower loss against random, then to the lower index.
        """
        return self.stopped, -self.round, self.mean_log, self.loss_vs_random, self.index

    @property
    def seconds(self) -> float:
        """How long it ran, in the attempt that finished it."""
        return self.ended_s - self.started_s

    @property
    def attempt_cpu_s(self) -> float:
        """Seconds that it learned in the attempt that finished it, which are at most those that it ran."""
        return min(self.learner_cpu_s - self.earlier_cpu_s, self.seconds)


def better(best: Record | None, record: Record) -> Record:
    """The better of two by rank; the first of equals."""
    return record if best is None or record.rank < best.rank else best


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A trial that failed: a line of the journal too."""

    index: int
    attempt: int
    config: Hyperparameters
    error: str
    timeout: float | None = None
    """The --trial-timeout that it outlasted; None where it failed otherwise."""
    round: int = 0
    """Which round of the search's race it failed in."""

    def is_final(self, settings: Settings) -> bool:
        """Whether it stays a failure; else its trial runs again, as the settings ask: all do, or it has more time."""
        more_time = self.timeout is not None and (settings.trial_timeout is None or settings.trial_timeout > self.timeout)
        return not (settings.retry_failed or more_time)


def by_kind(entries: Iterable[Record | Failure]) -> tuple[list[Record], list[Failure]]:
    """Those that finished and those that failed, in their order."""
    entries = list(entries)
    return [e for e in entries if isinstance(e, Record)], [e for e in entries if isinstance(e, Failure)]


def latest(entries: Iterable[Record | Failure]) -> tuple[list[Record], list[Failure]]:
    """Each trial by its latest round, finished or failed, in index order."""
    ordered = sorted(entries, key=lambda entry: (entry.index, entry.round))
    return by_kind({entry.index: entry for entry in ordered}.values())


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Some replicates of a configuration of the search on other seeds than the search's: one line of fresh.jsonl."""

    index: int
    """Number of the line."""
    stream: Stream
    trial: int
    config: Hyperparameters
    first: int
    """Number of the first replicate in its stream."""
    games_to_optimal: GamesToOptimal
    learner_cpu_s: float


@dataclass(frozen=True, kw_only=True)
class NodeEvent:
    """A node that joined the search or was lost: one line of nodes.jsonl.

    Each attempt begins with those that joined before its first trial.
    """

    index: int
    """Number of the line."""
    attempt: int
    """Which start of the search it was in, counted from 1."""
    at_s: float
    """Seconds from this attempt's start, as in its records."""
    node: str
    """Its address, as Ray names it."""
    event: Literal["joined", "lost"]
    cpus: float
    slots: int
    """Trials of this search that the node runs at a time."""


def required(kind: Any) -> list[str]:
    """The fields of a kind of records that have no default."""
    return [field.name for field in fields(kind) if field.default is MISSING]


def names(kind: Any) -> list[str]:
    """The fields of a kind of records, in their order."""
    return [field.name for field in fields(kind)]


def part(record: Any, kind: type[T]) -> T:
    """The fields of a record that a kind of records above it has, as one of that kind."""
    return kind(**{name: getattr(record, name) for name in names(kind)})


def to_json(record: Any) -> dict[str, Any]:
    """A record as JSON types."""
    content: dict[str, Any] = json.loads(json.dumps(asdict(record), allow_nan=False))
    return content


def from_json(kind: type[T], content: object) -> T:
    """The record that `to_json` was given. Raises ValueError where the content is none of its kind."""
    record: T = _adapter(kind).validate_python(content)  # type: ignore[arg-type]
    return record


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # only where files are read

    return TypeAdapter(kind)

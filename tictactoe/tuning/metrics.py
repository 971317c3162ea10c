"""What a search is doing, again and again: as metrics of Ray, and in status.json."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import get_args

from ray.util.metrics import Counter, Gauge

from tictactoe.experiment import status as statuses
from tictactoe.experiment.record import Cause
from tictactoe.experiment.status import Phase, Status
from tictactoe.experiment.tally import Tally
from tictactoe.process.threads import beside

PUBLISH_SECONDS = 5.0
"""Ray forgets a gauge that was not set again for 20 s."""
PREFIX = "tictactoe_"
"""Ray puts its own, `ray_`, in front of that."""
LABEL = "search"
EXACT = 2**20
"""Counters are multiples of 1 / EXACT."""

Sample = tuple[str, Mapping[str, str], float]
"""A metric's name, its labels besides the search's name, and its value."""

GAUGES = {
    "phase": "1 for the phase that the search is in, 0 for the others",
    "trials": "Trials of all rounds by state",
    "best_par10_games": "PAR-10 of the best trial so far; a lower bound until the last round",
    "best_geometric_mean_games": "Geometric mean of games to optimal of the best trial so far; a lower bound likewise",
    "best_solved_ratio": "Share of its seeds that the best trial so far has solved",
    "learner_share_ratio": "Share of the slots' seconds in the last start of the search that was learning",
    "slots": "Trials that can run at a time",
    "nodes": "Nodes that run trials",
    "time_left_seconds": "Estimate of the time until the search's trials have ended; missing while unknown",
    "last_finished_timestamp_seconds": "When a trial, or some fresh replicates, ended last, in seconds since 1970",
    "wandb_backlog": "Things still to be written to Weights & Biases",
    "results_free_bytes": "Free space on the volume of the results",
    "results_size_bytes": "Size of the volume of the results",
}
COUNTERS = {
    "games": "Games of self-play by stage: search, or fresh seeds",
    "learner_cpu_seconds": "CPU seconds of training and checks by stage",
    "trial_seconds": "Slots' seconds in trials of the search",
    "slot_seconds": "Seconds of all slots in the search",
    "retries": "Trials run again, by what was lost",
    "nodes_lost": "Nodes that were lost",
}
"""Exported with `_total` at the end. Each node counts one of its own: see `tuning/states.py`."""


def samples(status: Status) -> Iterator[Sample]:
    """All values of a status, gauges and counters; what is not known is left out."""
    for phase in get_args(Phase):
        yield "phase", {"phase": phase}, float(phase == status.phase)
    for state, number in vars(status.trials).items():
        yield "trials", {"state": state}, number
    if best := status.best:
        yield "best_par10_games", {}, best.par10
        yield "best_geometric_mean_games", {}, best.geometric_mean
        yield "best_solved_ratio", {}, best.solved / best.seeds
    yield "learner_share_ratio", {}, status.learner_share
    yield "slots", {}, status.slots
    yield "nodes", {}, status.nodes
    if status.time_left_s is not None:
        yield "time_left_seconds", {}, status.time_left_s
    yield "last_finished_timestamp_seconds", {}, status.last_finished
    yield "wandb_backlog", {}, status.wandb_backlog
    yield "results_free_bytes", {}, status.results_free_bytes
    yield "results_size_bytes", {}, status.results_size_bytes
    for stage, games in status.games.items():
        yield "games", {"stage": stage}, games
    for stage, seconds in status.learner_cpu_s.items():
        yield "learner_cpu_seconds", {"stage": stage}, seconds
    yield "trial_seconds", {}, status.trial_s
    yield "slot_seconds", {}, status.slot_s
    for cause in get_args(Cause):
        yield "retries", {"reason": cause}, status.retries.get(cause, 0)
    yield "nodes_lost", {}, status.nodes_lost


class Metrics:
    """Ray's metrics of one search."""

    def __init__(self, search: str) -> None:
        self._search = search
        self._metrics: dict[str, Gauge | Counter] = {}
        self._counted: dict[tuple[str, tuple[str, ...]], float] = {}

    def set(self, values: Iterable[Sample]) -> None:
        """Have Ray export these; counters never fall."""
        for name, labels, value in values:
            metric, tags = self._metric(name, labels), {LABEL: self._search, **labels}
            if isinstance(metric, Gauge):
                metric.set(value, tags)
                continue
            # Ray adds up: in steps of microseconds sums are exact, and a next start does not begin below the last one's end.
            value = math.floor(value * EXACT) / EXACT
            key = name, tuple(labels.values())
            more = value - self._counted.get(key, -math.inf)
            if more > 0:
                # Not `inc`, which takes no nought: Prometheus sees a counter rise that was there before.
                metric._record(min(more, value), tags)
                self._counted[key] = value

    def _metric(self, name: str, labels: Mapping[str, str]) -> Gauge | Counter:
        if name not in self._metrics:
            kind, about = (Gauge, GAUGES[name]) if name in GAUGES else (Counter, COUNTERS[name])
            self._metrics[name] = kind(PREFIX + name, about, (LABEL, *labels))
        return self._metrics[name]


@contextmanager
def published(tally: Tally, folder: Path, as_metrics: bool) -> Iterator[None]:
    """While Ray is up, say what the tally comes to once it is ready: in status.json, and `as_metrics`. Once more at the end.

    What earlier starts came to must be the first that is exported: Prometheus would take it for new otherwise.
    """
    metrics = Metrics(folder.name) if as_metrics else None

    def publish() -> None:
        if not tally.ready:
            return
        with suppress(OSError):  # whether results can be written is for the journal to say
            status = tally.status()
            if metrics:
                metrics.set(samples(status))
            statuses.write(folder, status)

    def run(stopped: threading.Event) -> None:
        publish()
        while not stopped.wait(PUBLISH_SECONDS):
            publish()

    try:
        with beside(run):
            yield
    finally:
        publish()

"""Replicates on fresh seeds, as Ray tasks whose results are on disk before anybody uses them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ray

from tictactoe.core.learner import Hyperparameters
from tictactoe.experiment.journal import Journal
from tictactoe.experiment.racing import Games
from tictactoe.experiment.replicates import Job, Replicates, warm_up
from tictactoe.process.interrupt import Interrupt
from tictactoe.settings import Settings
from tictactoe.tuning.search import LOST_WORKER_RETRIES, slots

BLOCK_GAMES = 1_000_000
"""A task plays about this many games, and is what an interruption may lose; no result depends on it."""
POLL_SECONDS = 0.2


class FreshReplicates:
    """Games to optimal of the finalists' fresh replicates: from the file `store`, or run and written there.

    `finalists` are records of the search; below, each goes by its place among them.
    """

    def __init__(self, settings: Settings, finalists: list[dict[str, Any]], interrupt: Interrupt, store: Path) -> None:
        self.learner_cpu_s = 0.0
        """Of all replicates that are known, this attempt's and earlier ones'."""
        self._settings, self._finalists, self._interrupt = settings, finalists, interrupt
        self._job = Job(settings.board, settings.seeds, settings.games, settings.seed, fresh=True)
        self._known: list[dict[int, int | None]] = [{} for _ in finalists]
        self._store, self._lines = Journal(store), 0
        self._warm = False
        places = {record["index"]: place for place, record in enumerate(finalists)}
        for line in self._store.read():
            self._lines = line["index"] + 1
            place = places.get(line["trial"])
            if place is not None and line["config"] == finalists[place]["config"]:
                self._learn(place, line)

    def run(self, chosen: list[int], first: int, last: int) -> list[Games] | None:
        """Those of the `chosen` finalists on the seeds from `first` to before `last`; None when interrupted.

        Raises RuntimeError when a replicate fails.
        """
        waiting = [(place, block) for place in chosen for block in self._missing(place, first, last)]
        running: dict[ray.ObjectRef, tuple[int, range]] = {}
        task = _replicates.options(num_cpus=self._settings.cpus_per_trial, max_retries=LOST_WORKER_RETRIES)
        at_a_time = slots(self._settings)
        if waiting and not self._warmed():
            return None
        while waiting or running:
            while waiting and len(running) < at_a_time:
                place, block = waiting.pop(0)
                job = replace(self._job, seeds=len(block), first=block.start)
                running[task.remote(asdict(job), self._finalists[place]["config"])] = (place, block)
            ended, _ = ray.wait(list(running), timeout=POLL_SECONDS)
            if self._interrupt.event.is_set():
                return None
            for reference in ended:
                self._finish(*running.pop(reference), reference)
        return [[self._known[place][seed] for seed in range(first, last)] for place in chosen]

    def _missing(self, place: int, first: int, last: int) -> Iterator[range]:
        """The seeds that a finalist has still to run, in blocks of a task's size."""
        most = max(1, BLOCK_GAMES // self._settings.games)
        start = first
        for seed in range(first, last + 1):
            if seed == last or seed in self._known[place] or seed - start == most:
                if seed > start:
                    yield range(start, seed)
                start = seed + (seed in self._known[place])

    def _warmed(self) -> bool:
        """Have the workers load and compile first, as the search's had, whose learner time is compared with."""
        task = ray.remote(warm_up).options(num_cpus=self._settings.cpus_per_trial)
        loading = [] if self._warm else [task.remote(self._settings.board) for _ in range(slots(self._settings))]
        while loading and not self._interrupt.event.is_set():
            _, loading = ray.wait(loading, num_returns=len(loading), timeout=POLL_SECONDS)
        self._warm = True
        return not self._interrupt.event.is_set()

    def _finish(self, place: int, block: range, reference: ray.ObjectRef) -> None:
        record = self._finalists[place]
        try:
            games, learner_cpu_s = ray.get(reference)
        except ray.exceptions.RayError as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise RuntimeError(f"trial_{record['index']:05d} failed on fresh seeds: {reason}") from error
        line = {"index": self._lines, "trial": record["index"], "config": record["config"], "first": block.start,
                "games_to_optimal": games, "learner_cpu_s": learner_cpu_s}  # fmt: skip
        self._store.append(line)
        self._lines += 1
        self._learn(place, line)

    def _learn(self, place: int, line: dict[str, Any]) -> None:
        self._known[place] |= {line["first"] + offset: games for offset, games in enumerate(line["games_to_optimal"])}
        self.learner_cpu_s += line["learner_cpu_s"]


@ray.remote
def _replicates(job: dict[str, Any], config: dict[str, Any]) -> tuple[Games, float]:
    """Games to optimal of a job's replicates, and the learner's CPU seconds."""
    replicates = Replicates(Job(**job), Hyperparameters(**config))
    replicates.advance(math.inf, replicates.job.games)
    return replicates.games_to_optimal, replicates.learner_cpu_s

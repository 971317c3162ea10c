"""Replicates on fresh seeds, as Ray tasks whose results are on disk before anybody uses them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from tictactoe.core.learner import Hyperparameters
from tictactoe.core.seeds import Stream
from tictactoe.experiment.journal import fresh_blocks
from tictactoe.experiment.record import FreshBlock, GamesToOptimal, Record, Task
from tictactoe.experiment.replicates import Replicates, warm_up
from tictactoe.process.interrupt import Interrupt
from tictactoe.settings import Settings
from tictactoe.text import reason, trial_name
from tictactoe.tuning.search import LOST_WORKER_RETRIES, slots

BLOCK_GAMES = 1_000_000
"""A task plays about this many games, and is what an interruption may lose; no result depends on it."""
POLL_SECONDS = 0.2


class FreshReplicates:
    """Games to optimal of the finalists' fresh replicates: from the search's fresh.jsonl, or run and written there.

    `finalists` are records of the search; below, each goes by its place among them.
    """

    def __init__(self, settings: Settings, finalists: Sequence[Record], interrupt: Interrupt, folder: Path) -> None:
        self.learner_cpu_s = 0.0
        """Of all replicates that have been run, in this attempt and earlier ones."""
        self._settings, self._finalists, self._interrupt = settings, finalists, interrupt
        self._task = Task(settings.board, settings.seeds, settings.games, settings.seed, Stream.FRESH)
        self._games: list[dict[int, int | None]] = [{} for _ in finalists]
        """Games to optimal by seed, of each finalist."""
        self._journal, self._lines = fresh_blocks(folder), 0
        self._warm = False
        places = {record.index: place for place, record in enumerate(finalists)}
        for block in self._journal.read():
            self._lines = block.index + 1
            place = places.get(block.trial)
            if place is not None and block.config == finalists[place].config:
                self._add(place, block)

    def run(self, entrants: list[int], first: int, last: int) -> list[GamesToOptimal] | None:
        """Those of some finalists on the seeds from `first` to before `last`; None when interrupted.

        Raises RuntimeError when a replicate fails.
        """
        waiting = [(place, seeds) for place in entrants for seeds in self._missing(place, first, last)]
        running: dict[ray.ObjectRef[Any], tuple[int, range]] = {}
        task = _replicates.options(num_cpus=self._settings.cpus_per_trial, max_retries=LOST_WORKER_RETRIES)
        at_a_time = slots(self._settings)
        if waiting and not self._warm_up():
            return None
        while waiting or running:
            while waiting and len(running) < at_a_time:
                place, seeds = waiting.pop(0)
                block = replace(self._task, seeds=len(seeds), first=seeds.start)
                running[task.remote(block, self._finalists[place].config)] = (place, seeds)
            ended, _ = ray.wait(list(running), timeout=POLL_SECONDS)
            if self._interrupt.event.is_set():
                return None
            for reference in ended:
                self._finish(*running.pop(reference), reference)
        return [tuple(self._games[place][seed] for seed in range(first, last)) for place in entrants]

    def _missing(self, place: int, first: int, last: int) -> Iterator[range]:
        """The seeds that a finalist has still to run, in blocks of a task's size."""
        most = max(1, BLOCK_GAMES // self._settings.games)
        start = first
        for seed in range(first, last + 1):
            if seed == last or seed in self._games[place] or seed - start == most:
                if seed > start:
                    yield range(start, seed)
                start = seed + (seed in self._games[place])

    def _warm_up(self) -> bool:
        """Have the workers load and compile first, as the search's had, whose learner time is compared with.

        Returns whether that was done: it was not where the search is interrupted.
        """
        task = ray.remote(warm_up).options(num_cpus=self._settings.cpus_per_trial)
        loading = [] if self._warm else [task.remote(self._settings.board) for _ in range(slots(self._settings))]
        while loading and not self._interrupt.event.is_set():
            _, loading = ray.wait(loading, num_returns=len(loading), timeout=POLL_SECONDS)
        self._warm = True
        return not self._interrupt.event.is_set()

    def _finish(self, place: int, seeds: range, reference: ray.ObjectRef[Any]) -> None:
        record = self._finalists[place]
        try:
            games_to_optimal, learner_cpu_s = ray.get(reference)
        except ray.exceptions.RayError as error:
            cause = reason(error, slice(-1, None))
            raise RuntimeError(f"{trial_name(record.index)} failed on fresh seeds: {cause}") from error
        block = FreshBlock(
            index=self._lines,
            trial=record.index,
            config=record.config,
            first=seeds.start,
            games_to_optimal=games_to_optimal,
            learner_cpu_s=learner_cpu_s,
        )
        self._journal.append(block)
        self._lines += 1
        self._add(place, block)

    def _add(self, place: int, block: FreshBlock) -> None:
        self._games[place] |= {block.first + offset: games for offset, games in enumerate(block.games_to_optimal)}
        self.learner_cpu_s += block.learner_cpu_s


@ray.remote
def _replicates(task: Task, config: Hyperparameters) -> tuple[GamesToOptimal, float]:
    """Games to optimal of a task's replicates, and the learner's CPU seconds."""
    replicates = Replicates(task, config)
    replicates.advance(math.inf, task.games)
    return tuple(replicates.games_to_optimal), replicates.learner_cpu_s

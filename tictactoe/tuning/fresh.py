"""Replicates on fresh seeds, as Ray tasks whose results are on disk before anybody uses them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from tictactoe.core.seeds import Stream
from tictactoe.experiment.block import play
from tictactoe.experiment.journal import fresh_blocks
from tictactoe.experiment.record import FreshBlock, GamesToOptimal, Record, Task
from tictactoe.experiment.replicates import warm_up
from tictactoe.process.interrupt import Interrupt
from tictactoe.settings import Settings
from tictactoe.text import count, reason, trial_name
from tictactoe.tuning.search import LOST_WORKER_RETRIES, slots
from tictactoe.tuning.trial import HUNG_SECONDS
from tictactoe.tuning.workers import SLOW_SECONDS, Patience, Wait

BLOCK_GAMES = 1_000_000
"""A task plays about this many games; no result depends on it. What it has played is saved as a trial's is."""
STATES = "unfinished-fresh"
"""Name of the folder that holds the states of unfinished blocks."""
POLL_SECONDS = 0.2
PROGRESS_SECONDS = 30.0
"""So often a long selection says how far it is."""


class FreshReplicates:
    """Games to optimal of the finalists' fresh replicates: from the search's fresh.jsonl, or run and written there.

    `finalists` are records of the search; below, each goes by its place among them.
    """

    def __init__(
        self,
        settings: Settings,
        finalists: Sequence[Record],
        interrupt: Interrupt,
        folder: Path,
        say: Callable[[str], None],
    ) -> None:
        self.learner_cpu_s = 0.0
        """Of all replicates that have been run, in this attempt and earlier ones."""
        self._settings, self._finalists, self._interrupt = settings, finalists, interrupt
        self._task = Task(settings.board, settings.seeds, settings.games, settings.seed, Stream.FRESH)
        self._games: list[dict[int, int | None]] = [{} for _ in finalists]
        """Games to optimal by seed, of each finalist."""
        self._journal, self._lines = fresh_blocks(folder), 0
        self._warm = False
        self._say, self._states = say, folder / STATES
        places = {record.index: place for place, record in enumerate(finalists)}
        for block in self._journal.read():
            self._lines = block.index + 1
            place = places.get(block.trial)
            if place is not None and block.config == finalists[place].config:
                self._add(place, block)

    def run(self, entrants: list[int], first: int, last: int) -> list[GamesToOptimal] | None:
        """Those of some finalists on the seeds from `first` to before `last`; None when interrupted.

        Raises RuntimeError when a replicate fails, or takes longer than --trial-timeout allows, or no process for it comes.
        """
        waiting = [(place, seeds) for place in entrants for seeds in self._missing(place, first, last)]
        if waiting and not (self._warm_up() and self._play(waiting)):
            return None
        return [tuple(self._games[place][seed] for seed in range(first, last)) for place in entrants]

    def _play(self, waiting: list[tuple[int, range]]) -> bool:
        """Run blocks of finalists' replicates; whether that was done: it was not where the search is interrupted."""
        running: dict[ray.ObjectRef[Any], tuple[int, range, float]] = {}
        task = ray.remote(play).options(num_cpus=self._settings.cpus_per_trial, max_retries=LOST_WORKER_RETRIES)
        at_a_time = slots(self._settings)
        missing, patience, said_at = sum(len(seeds) for _, seeds in waiting), Patience(self._say), time.monotonic()
        with suppress(OSError):  # whether results can be written is for the journal to say
            self._states.mkdir(exist_ok=True)
        while waiting or running:
            while waiting and len(running) < at_a_time:
                place, seeds = waiting.pop(0)
                block = replace(self._task, seeds=len(seeds), first=seeds.start)
                reference = task.remote(block, self._finalists[place].config, str(self._state(place, seeds)))
                running[reference] = (place, seeds, time.monotonic())
            ended, _ = ray.wait(list(running), timeout=POLL_SECONDS)
            if self._interrupt.event.is_set():
                return False
            for reference in ended:
                place, seeds, _ = running.pop(reference)
                self._finish(place, seeds, reference)
            if why := patience.at_an_end():
                raise RuntimeError(f"{why}; {self._settings.go_on}")
            for place, seeds, began in running.values():
                self._require_in_time(place, seeds, time.monotonic() - began)
            if time.monotonic() - said_at > PROGRESS_SECONDS:
                said_at = time.monotonic()
                left = sum(len(seeds) for _, seeds in waiting) + sum(len(seeds) for _, seeds, _ in running.values())
                self._say(f"selection: {missing - left} of {count(missing, 'replicate')} on fresh seeds")
        with suppress(OSError):  # not empty: what a later look has begun goes on from there
            self._states.rmdir()
        return True

    def _state(self, place: int, seeds: range) -> Path:
        """Where a block is saved while it is unfinished."""
        return self._states / f"fresh_{trial_name(self._finalists[place].index)}_{seeds.start}_{len(seeds)}.npz"

    def _require_in_time(self, place: int, seeds: range, seconds: float) -> None:
        """Raise RuntimeError where a block takes longer than --trial-timeout allows a trial of so many replicates."""
        timeout = self._settings.trial_timeout
        if timeout and seconds > timeout * max(1.0, len(seeds) / self._settings.seeds) + HUNG_SECONDS:
            late = f"{trial_name(self._finalists[place].index)} took longer than --trial-timeout {timeout:g} s on fresh seeds"
            raise RuntimeError(f"{late}; give it more seconds, then {self._settings.go_on}")

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
        patience, wait = Patience(self._say), Wait("processes to get ready for fresh seeds", self._say, SLOW_SECONDS)
        while loading and not self._interrupt.event.is_set():
            _, loading = ray.wait(loading, num_returns=len(loading), timeout=POLL_SECONDS)
            why = patience.at_an_end() or (f"no process was ready in {wait.limit:.0f} s" if wait.is_over() else None)
            if loading and why:
                raise RuntimeError(f"{why}; {self._settings.go_on}")
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
        with suppress(OSError):  # only now can the block do without its saved state
            self._state(place, seeds).unlink(missing_ok=True)

    def _add(self, place: int, block: FreshBlock) -> None:
        self._games[place] |= {block.first + offset: games for offset, games in enumerate(block.games_to_optimal)}
        self.learner_cpu_s += block.learner_cpu_s

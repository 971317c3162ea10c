"""Replicates on other seeds than the search's, as Ray tasks whose results are on disk before anybody uses them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from tictactoe.core.learner import Hyperparameters
from tictactoe.core.seeds import Stream
from tictactoe.experiment.block import play
from tictactoe.experiment.journal import replays
from tictactoe.experiment.record import GamesToOptimal, Record, Replay, Task
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
NAMES = {Stream.FRESH: "race", Stream.CONFIRMATION: "confirmation"}
POLL_SECONDS = 0.2
PROGRESS_SECONDS = 30.0
"""So often a long selection says how far it is."""


Waiting = tuple[Record, range]
"""Seeds of a configuration that are to be run."""


class Replays:
    """Runs configurations of a search on seeds of the race and of the confirmation, or takes them from its fresh.jsonl."""

    def __init__(self, settings: Settings, interrupt: Interrupt, folder: Path, say: Callable[[str], None]) -> None:
        self._settings, self._interrupt = settings, interrupt
        self._task = Task(settings.board, settings.seeds, settings.games, settings.seed, curve=False)
        self._games: dict[tuple[Stream, Hyperparameters, int], int | None] = {}
        """Games to optimal by stream, configuration and seed."""
        self._learner_cpu_s: dict[Stream, float] = {}
        self._journal, self._lines = replays(folder), 0
        self._warm = False
        self._say, self._states = say, folder / STATES
        for replay in self._journal.read():
            self._lines = replay.index + 1
            self._add(replay)

    def learner_cpu_s(self, stream: Stream) -> float:
        """Of all replicates of a stream that have been run, in this attempt and earlier ones."""
        return self._learner_cpu_s.get(stream, 0.0)

    def run(self, stream: Stream, records: Sequence[Record], first: int, last: int) -> list[GamesToOptimal] | None:
        """Games to optimal of some trials' configurations on the seeds from `first` to before `last`; None when interrupted.

        Raises RuntimeError when a replicate fails, or takes longer than --trial-timeout allows, or no process for it comes.
        """
        waiting = [(record, seeds) for record in records for seeds in self._missing(stream, record, first, last)]
        if waiting and not (self._warm_up() and self._play(stream, waiting)):
            return None
        return [tuple(self._games[stream, record.config, seed] for seed in range(first, last)) for record in records]

    def _play(self, stream: Stream, waiting: list[Waiting]) -> bool:
        """Run blocks of replicates; whether that was done: it was not where the search is interrupted."""
        running: dict[ray.ObjectRef[Any], tuple[Record, range, float]] = {}
        task = ray.remote(play).options(num_cpus=self._settings.cpus_per_trial, max_retries=LOST_WORKER_RETRIES)
        at_a_time = slots(self._settings)
        missing, patience, said_at = sum(len(seeds) for _, seeds in waiting), Patience(self._say), time.monotonic()
        with suppress(OSError):  # whether results can be written is for the journal to say
            self._states.mkdir(exist_ok=True)
        while waiting or running:
            while waiting and len(running) < at_a_time:
                record, seeds = waiting.pop(0)
                block = replace(self._task, stream=stream, seeds=len(seeds), first=seeds.start)
                reference = task.remote(block, record.config, str(self._state(stream, record, seeds)))
                running[reference] = (record, seeds, time.monotonic())
            ended, _ = ray.wait(list(running), timeout=POLL_SECONDS)
            if self._interrupt.event.is_set():
                return False
            for reference in ended:
                record, seeds, _ = running.pop(reference)
                self._finish(stream, record, seeds, reference)
            if why := patience.at_an_end():
                raise RuntimeError(f"{why}; {self._settings.go_on}")
            for record, seeds, began in running.values():
                self._require_in_time(record, seeds, time.monotonic() - began)
            if time.monotonic() - said_at > PROGRESS_SECONDS:
                said_at = time.monotonic()
                left = sum(len(seeds) for _, seeds in waiting) + sum(len(seeds) for _, seeds, _ in running.values())
                self._say(f"{NAMES[stream]}: {missing - left} of {count(missing, 'replicate')}")
        with suppress(OSError):  # not empty: what a later look has begun goes on from there
            self._states.rmdir()
        return True

    def _state(self, stream: Stream, record: Record, seeds: range) -> Path:
        """Where a block is saved while it is unfinished."""
        return self._states / f"{NAMES[stream]}_{trial_name(record.index)}_{seeds.start}_{len(seeds)}.npz"

    def _require_in_time(self, record: Record, seeds: range, seconds: float) -> None:
        """Raise RuntimeError where a block takes longer than --trial-timeout allows a trial of so many replicates."""
        timeout = self._settings.trial_timeout
        if timeout and seconds > timeout * max(1.0, len(seeds) / self._settings.seeds) + HUNG_SECONDS:
            late = f"{trial_name(record.index)} took longer than --trial-timeout {timeout:g} s on other seeds than the search's"
            raise RuntimeError(f"{late}; give it more seconds, then {self._settings.go_on}")

    def _missing(self, stream: Stream, record: Record, first: int, last: int) -> Iterator[range]:
        """The seeds that a trial's configuration has still to run, in blocks of a task's size."""
        most = max(1, BLOCK_GAMES // self._settings.games)
        start = first
        for seed in range(first, last + 1):
            done = (stream, record.config, seed) in self._games
            if seed == last or done or seed - start == most:
                if seed > start:
                    yield range(start, seed)
                start = seed + done

    def _warm_up(self) -> bool:
        """Have the workers load and compile first: no learner's time.

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

    def _finish(self, stream: Stream, record: Record, seeds: range, reference: ray.ObjectRef[Any]) -> None:
        try:
            games_to_optimal, learner_cpu_s = ray.get(reference)
        except ray.exceptions.RayError as error:
            cause = reason(error, slice(-1, None))
            raise RuntimeError(f"{trial_name(record.index)} failed on other seeds than the search's: {cause}") from error
        replay = Replay(
            index=self._lines,
            stream=stream,
            trial=record.index,
            config=record.config,
            first=seeds.start,
            games_to_optimal=games_to_optimal,
            learner_cpu_s=learner_cpu_s,
        )
        self._journal.append(replay)
        self._lines += 1
        self._add(replay)
        with suppress(OSError):  # only now can the block do without its saved state
            self._state(stream, record, seeds).unlink(missing_ok=True)

    def _add(self, replay: Replay) -> None:
        for seed, games in enumerate(replay.games_to_optimal, start=replay.first):
            self._games[replay.stream, replay.config, seed] = games
        self._learner_cpu_s[replay.stream] = self.learner_cpu_s(replay.stream) + replay.learner_cpu_s

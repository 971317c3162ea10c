"""Replicates on other seeds than the search's, as Ray tasks whose results are on disk before anybody uses them."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from tictactoe.core.learner import Hyperparameters
from tictactoe.core.seeds import Stream
from tictactoe.experiment.journal import replays
from tictactoe.experiment.observer import Observer
from tictactoe.experiment.record import Cause, GamesToOptimal, Record, Replay, Task
from tictactoe.experiment.replicates import warm_up
from tictactoe.process.interrupt import Interrupt
from tictactoe.settings import Settings
from tictactoe.text import count, reason, trial_name
from tictactoe.tuning.block import LateError, play
from tictactoe.tuning.controller import LOST_NODE_RETRIES
from tictactoe.tuning.nodes import Node, Nodes
from tictactoe.tuning.search import LOST_WORKER_RETRIES
from tictactoe.tuning.states import on
from tictactoe.tuning.trial import HUNG_SECONDS
from tictactoe.tuning.workers import SILENT_SECONDS, SLOW_SECONDS, Patience, Wait

BLOCK_GAMES = 1_000_000
"""A task plays about this many games; no result depends on it. What it has played is saved as a trial's is."""
STATES = "unfinished-fresh"
"""Name of the folder that holds the states of unfinished blocks."""
NAMES = {Stream.FRESH: "race", Stream.CONFIRMATION: "confirmation"}
POLL_SECONDS = 0.2
PROGRESS_SECONDS = 30.0
"""So often a long selection says how far it is."""


@dataclass
class Block:
    """Seeds of a configuration that are to be run, or are running."""

    record: Record
    seeds: range
    lost_processes: int = 0
    lost_nodes: int = 0
    """How often it was lost with its process, and with its node."""
    node: Node | None = None
    """Where it runs."""
    began: float = 0.0


class Replays:
    """Runs configurations of a search on seeds of the race and of the confirmation, or takes them from its fresh.jsonl."""

    def __init__(
        self,
        settings: Settings,
        interrupt: Interrupt,
        folder: Path,
        nodes: Nodes,
        say: Callable[[str], None],
        observers: Sequence[Observer] = (),
    ) -> None:
        self._settings, self._interrupt, self._nodes, self._observers = settings, interrupt, nodes, observers
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
        waiting = [Block(record, seeds) for record in records for seeds in self._missing(stream, record, first, last)]
        if waiting and not (self._warm_up() and self._play(stream, waiting)):
            return None
        return [tuple(self._games[stream, record.config, seed] for seed in range(first, last)) for record in records]

    def clear(self) -> None:
        """Remove the states of unfinished blocks once the selection is over.

        Some may be there: what a block on another node saved last is written after its end, now and then.
        """
        shutil.rmtree(self._states, ignore_errors=True)

    def _play(self, stream: Stream, waiting: list[Block]) -> bool:
        """Run blocks of replicates; whether that was done: it was not where the search is interrupted."""
        running: dict[ray.ObjectRef[Any], Block] = {}
        self._nodes.running = lambda node: sum(block.node is node for block in running.values())
        missing, patience = sum(len(block.seeds) for block in waiting), Patience(self._say, self._nodes)
        said_at = time.monotonic()
        with suppress(OSError):  # whether results can be written is for the journal to say
            self._states.mkdir(exist_ok=True)
        while waiting or running:
            self._nodes.update()
            while waiting and (node := self._nodes.take()) is not None:
                block = waiting.pop(0)
                block.node, block.began = node, time.monotonic()
                running[self._submit(stream, block, node)] = block
            ended = self._ended(list(running))
            if self._interrupt.event.is_set():
                return False
            for reference in ended:
                block = running[reference]
                if block.node is not None:
                    self._nodes.give_back(block.node)
                if not self._finish(stream, block, reference):
                    waiting.insert(0, block)
                del running[reference]  # only now: who hears of a lost node asks what ran there
            if why := patience.at_an_end():
                raise RuntimeError(f"{why}; {self._settings.go_on}")
            for block in running.values():
                elsewhere = block.node is not None and block.node.id != self._nodes.home
                self._require_in_time(block.record, block.seeds, time.monotonic() - block.began, elsewhere)
            if time.monotonic() - said_at > PROGRESS_SECONDS:
                said_at = time.monotonic()
                left = sum(len(block.seeds) for block in (*waiting, *running.values()))
                self._say(f"{NAMES[stream]}: {missing - left} of {count(missing, 'replicate')}")
        return True

    def _submit(self, stream: Stream, block: Block, node: Node) -> ray.ObjectRef[Any]:
        """Have a block run on a node."""
        task = replace(self._task, stream=stream, seeds=len(block.seeds), first=block.seeds.start)
        state = self._state(stream, block.record, block.seeds)
        reference: ray.ObjectRef[Any] = self._on(node, play).remote(
            task, block.record.config, self._nodes.home, str(state), state.exists(), self._seconds(block.seeds)
        )
        return reference

    def _on(self, node: Node, function: Callable[..., Any]) -> Any:
        """A function as a task with a slot of a node. What is lost is run again by us, perhaps elsewhere."""
        return ray.remote(function).options(
            num_cpus=self._settings.cpus_per_trial, max_retries=0, scheduling_strategy=on(node.id)
        )

    def _ended(self, running: list[ray.ObjectRef[Any]]) -> list[ray.ObjectRef[Any]]:
        """Which tasks have ended, after a short wait for one."""
        if not running:
            time.sleep(POLL_SECONDS)
            return []
        return ray.wait(running, timeout=POLL_SECONDS)[0]

    def _state(self, stream: Stream, record: Record, seeds: range) -> Path:
        """Where a block is saved while it is unfinished."""
        return self._states / f"{NAMES[stream]}_{trial_name(record.index)}_{seeds.start}_{len(seeds)}.npz"

    def _seconds(self, seeds: range) -> float:
        """How long a block may take: as --trial-timeout allows a trial of so many replicates."""
        timeout = self._settings.trial_timeout
        return timeout * max(1.0, len(seeds) / self._settings.seeds) if timeout else math.inf

    def _require_in_time(self, record: Record, seeds: range, seconds: float, elsewhere: bool = False) -> None:
        """Raise RuntimeError where a block does not even notice that its time is up.

        On another node a process may have to start for it first; and the node may be lost, which Ray has noticed by then: that
        block is run again.
        """
        if seconds > self._seconds(seeds) + (SILENT_SECONDS if elsewhere else HUNG_SECONDS):
            raise self._late(record)

    def _late(self, record: Record) -> RuntimeError:
        timeout = self._settings.trial_timeout
        late = f"{trial_name(record.index)} took longer than --trial-timeout {timeout:g} s on other seeds than the search's"
        return RuntimeError(f"{late}; give it more seconds, then {self._settings.go_on}")

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
        patience, wait = (
            Patience(self._say, self._nodes),
            Wait("processes to get ready for fresh seeds", self._say, SLOW_SECONDS),
        )
        loading: dict[ray.ObjectRef[Any], Node] = {}
        for _ in range(0 if self._warm else self._nodes.free):
            if (node := self._nodes.take()) is not None:
                loading[self._on(node, warm_up).remote(self._settings.board)] = node
        while loading and not self._interrupt.event.is_set():
            self._nodes.update()
            for reference in self._ended(list(loading)):
                self._nodes.give_back(loading.pop(reference))
            why = patience.at_an_end() or (f"no process was ready in {wait.limit:.0f} s" if wait.is_over() else None)
            if loading and why:
                raise RuntimeError(f"{why}; {self._settings.go_on}")
        self._warm = True
        return not self._interrupt.event.is_set()

    def _finish(self, stream: Stream, block: Block, reference: ray.ObjectRef[Any]) -> bool:
        """Write what a block has come to. Whether there is something: it is to be run again where it was lost."""
        record = block.record
        try:
            games_to_optimal, learner_cpu_s = ray.get(reference)
        except LateError as error:  # Ray raises what a task has raised as an error of both kinds
            raise self._late(record) from error
        except ray.exceptions.RayError as error:
            if not isinstance(error, ray.exceptions.RayTaskError) and self._may_run_again(block, error):
                return False
            cause = reason(error, slice(-1, None))
            raise RuntimeError(f"{trial_name(record.index)} failed on other seeds than the search's: {cause}") from error
        replay = Replay(
            index=self._lines,
            stream=stream,
            trial=record.index,
            config=record.config,
            first=block.seeds.start,
            games_to_optimal=games_to_optimal,
            learner_cpu_s=learner_cpu_s,
        )
        self._journal.append(replay)
        self._lines += 1
        self._add(replay)
        for observer in self._observers:
            observer.replicates_finished(replay)
        with suppress(OSError):  # only now can the block do without its saved state
            self._state(stream, record, block.seeds).unlink(missing_ok=True)
        return True

    def _may_run_again(self, block: Block, error: ray.exceptions.RayError) -> bool:
        """Count that a block was lost; whether that has not happened too often."""
        cause: Cause = "node" if block.node is not None and self._nodes.is_at_fault(block.node, error) else "process"
        if cause == "node":
            block.lost_nodes += 1
        else:
            block.lost_processes += 1
        for observer in self._observers:
            observer.trial_retried(block.record.index, cause)
        return block.lost_nodes <= LOST_NODE_RETRIES and block.lost_processes <= LOST_WORKER_RETRIES

    def _add(self, replay: Replay) -> None:
        for seed, games in enumerate(replay.games_to_optimal, start=replay.first):
            self._games[replay.stream, replay.config, seed] = games
        self._learner_cpu_s[replay.stream] = self.learner_cpu_s(replay.stream) + replay.learner_cpu_s

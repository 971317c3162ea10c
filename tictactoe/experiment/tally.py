"""Counts what happens in a search, and says at any moment how far it is."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tictactoe.core.learner import Hyperparameters
from tictactoe.experiment import journal
from tictactoe.experiment import status as statuses
from tictactoe.experiment.observer import Observer
from tictactoe.experiment.record import Cause, Failure, NodeEvent, Progress, Record, Replay, better
from tictactoe.experiment.rounds import Round, Standing, rounds
from tictactoe.experiment.slots import SlotClock, slot_limit, slot_seconds
from tictactoe.experiment.status import BestSoFar, Phase, Status, Trials
from tictactoe.settings import Settings


@dataclass
class _Running:
    """A trial that runs."""

    began: float
    progress: Progress | None = None

    @property
    def played(self) -> int:
        return self.progress.played if self.progress else 0

    @property
    def learner_cpu_s(self) -> float:
        """In this start and earlier ones."""
        return self.progress.learner_cpu_s if self.progress else 0.0

    @property
    def learned_s(self) -> float:
        """In this start."""
        return self.progress.learner_cpu_s - self.progress.earlier_cpu_s if self.progress else 0.0


@dataclass
class _Ended:
    """What runs nowhere any more comes to: trials that have ended, and what was cut off or lost of others."""

    finished: int = 0
    failed: int = 0
    by_round: Counter[int] = field(default_factory=Counter)
    games: int = 0
    learner_cpu_s: float = 0.0
    seconds: float = 0.0
    """Slots' seconds, in this start."""
    learned_s: float = 0.0
    """In this start."""


class Tally(Observer):
    """Hears of a search whose journals are in `folder`; `status` may be asked from another thread."""

    def __init__(self, settings: Settings, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.phase: Phase = "search"
        self.ready = False
        """Whether earlier starts are counted: before that there is nothing to be told."""
        self.seconds_left: Callable[[], float | None] = lambda: None
        """The search's time left, said by who reckons it; and the number of things still to be written to W&B."""
        self.backlog: Callable[[], int] = lambda: 0
        self._settings, self._folder, self._clock = settings, folder, clock
        self._rounds, self._number = rounds(settings), 0
        self._attempt, self._last_finished = 1, time.time()
        self._best: Record | None = None
        self._ended, self._running = _Ended(), dict[int, _Running]()
        self._games, self._learner_cpu_s, self._learned_s, self._trial_s = 0, 0.0, 0.0, 0.0
        """The most that was known so far. A trial that is run again begins with less, after a new start too."""
        self._counting = threading.Lock()
        """Of these four."""
        self._retries: Counter[Cause] = Counter()
        self._slot_clock = SlotClock(clock)
        """It goes from the start of this start's first trial to the end of the search."""
        self._earlier_slot_s = self._earlier_trial_s = 0.0
        self._nodes = self._nodes_lost = 0
        self._last: Status | None = None
        """What the start before said last."""
        self._fresh_games, self._fresh_cpu_s = 0, 0.0
        for replay in journal.replays(folder).read():
            self._add(replay)

    def search_started(self, before: Standing) -> None:
        """Count what earlier starts have come to."""
        self._number = min(before.number, len(self._rounds) - 1)
        for record in before.records:
            self._end(record)
        for failure in before.failures:
            self._fail(failure)
        self._ended.learned_s = self._ended.seconds = 0.0
        events = journal.nodes(self._folder).read()
        self._nodes_lost = sum(event.event == "lost" for event in events)
        attempts = [*(record.attempt for record in before.records), *(event.attempt for event in events)]
        self._attempt = max(attempts, default=1)
        spent = slot_seconds(before.records, events, slot_limit(self._settings))
        self._earlier_trial_s = spent.learning + spent.trial
        self._earlier_slot_s = self._earlier_trial_s + spent.between
        self._last = last = statuses.read(self._folder)
        if last:  # it knew of trials that had not ended
            self._games, self._learner_cpu_s = last.games["search"], last.learner_cpu_s["search"]
            self._earlier_trial_s = max(self._earlier_trial_s, last.trial_s)
            self._earlier_slot_s = max(self._earlier_slot_s, last.slot_s)
        self.ready = True

    def node_changed(self, event: NodeEvent) -> None:
        self._attempt = event.attempt
        self._nodes += 1 if event.event == "joined" else -1
        self._nodes_lost += event.event == "lost"

    def slots_changed(self, slots: int) -> None:
        self._slot_clock.change(slots)

    def round_started(self, number: int, round: Round, of: int) -> None:
        self._number = number

    def trial_started(self, index: int, config: Hyperparameters) -> None:
        if not self._slot_clock.goes:
            self._slot_clock.start()
        self._running[index] = _Running(self._clock())

    def trial_reported(self, index: int, progress: Progress, final: bool) -> None:
        if index in self._running:
            self._running[index].progress = progress

    def trial_finished(self, record: Record) -> None:
        self._running.pop(record.index, None)
        self._end(record)
        self._last_finished = time.time()

    def trial_failed(self, failure: Failure) -> None:
        if (one := self._cut(failure.index)) is not None:
            self._ended.games += one.played
            self._ended.learner_cpu_s += one.learner_cpu_s
            self._ended.learned_s += one.learned_s
        self._fail(failure)
        self._last_finished = time.time()

    def trial_retried(self, index: int, cause: Cause) -> None:
        self._cut(index)
        self._retries[cause] += 1

    def replicates_finished(self, replay: Replay) -> None:
        self._add(replay)
        self._last_finished = time.time()

    def enter(self, phase: Phase) -> None:
        """The search has come to a phase."""
        if phase != "search":
            for index in list(self._running):  # of a time budget's end nobody is told
                self._cut(index)
            self._slot_clock.stop()
        self.phase = phase

    def status(self) -> Status:
        """How far the search is now. Raises OSError where its folder is gone."""
        ended, running = self._ended, len(self._running)
        self._count()
        slot_s = self._slot_clock.seconds
        left = sum(round.trials - ended.by_round[number] for number, round in self._ahead())
        volume = shutil.disk_usage(self._folder)
        status = Status(
            name=self._folder.name,
            attempt=self._attempt,
            at=time.time(),
            phase=self.phase,
            round=self._number + 1,
            rounds=len(self._rounds),
            trials=Trials(waiting=max(0, left - running), running=running, finished=ended.finished, failed=ended.failed),
            retries=dict(self._retries),
            best=self._best_so_far(),
            games={"search": self._games, "fresh": self._fresh_games},
            learner_cpu_s={"search": self._learner_cpu_s, "fresh": self._fresh_cpu_s},
            trial_s=self._earlier_trial_s + self._trial_s,
            slot_s=self._earlier_slot_s + slot_s,
            learner_share=min(1.0, self._learned_s / slot_s) if slot_s else 0.0,
            slots=self._slot_clock.slots or 0,
            nodes=self._nodes,
            nodes_lost=self._nodes_lost,
            time_left_s=self.seconds_left() if self.phase == "search" else None,
            last_finished=self._last_finished,
            wandb_backlog=self.backlog(),
            results_free_bytes=volume.free,
            results_size_bytes=volume.total,
        )
        last = self._last
        if last and self.phase != "search" and self._slot_clock.slots is None:  # it is shown again, and has no nodes
            return replace(status, learner_share=last.learner_share, slots=last.slots, nodes=last.nodes)
        return status

    def _ahead(self) -> list[tuple[int, Round]]:
        """The rounds that are not over, with their numbers."""
        return list(enumerate(self._rounds))[self._number :] if self.phase == "search" else []

    def _best_so_far(self) -> BestSoFar | None:
        best = self._best
        if best is None:
            return None
        return BestSoFar(
            index=best.index,
            geometric_mean=best.geometric_mean,
            par10=best.par10,
            solved=best.solved,
            seeds=len(best.games_to_optimal),
            is_bound=best.is_bound,
        )

    def _count(self) -> None:
        """Count what ended and what runs, unless it was more before."""
        with self._counting:
            # In this order: what ends meanwhile is in neither rather than in both, and is counted the next time.
            now, ended, running = self._clock(), replace(self._ended), list(self._running.values())
            self._games = max(self._games, ended.games + sum(one.played for one in running))
            self._learner_cpu_s = max(self._learner_cpu_s, ended.learner_cpu_s + sum(one.learner_cpu_s for one in running))
            self._learned_s = max(self._learned_s, ended.learned_s + sum(one.learned_s for one in running))
            self._trial_s = max(self._trial_s, ended.seconds + sum(now - one.began for one in running))

    def _cut(self, index: int) -> _Running | None:
        """A trial that ran runs no more, and has not finished: its slot's time is gone, what it learned may be saved."""
        self._count()
        if (one := self._running.pop(index, None)) is not None:
            self._ended.seconds += self._clock() - one.began
        return one

    def _fail(self, failure: Failure) -> None:
        self._ended.failed += 1
        self._ended.by_round[failure.round] += 1

    def _end(self, record: Record) -> None:
        self._ended.finished += 1
        self._ended.by_round[record.round] += 1
        self._ended.games += record.played
        self._ended.learner_cpu_s += record.learner_cpu_s
        self._ended.seconds += record.seconds
        self._ended.learned_s += record.attempt_cpu_s
        self._best = better(self._best, record)

    def _add(self, replay: Replay) -> None:
        self._fresh_games += len(replay.games_to_optimal) * self._settings.games
        self._fresh_cpu_s += replay.learner_cpu_s

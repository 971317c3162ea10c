"""The slots' seconds: of a search that runs, and where those of its attempts went, which are put on one clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tictactoe.experiment.record import NodeEvent, Record
from tictactoe.experiment.summary import SearchSettings
from tictactoe.settings import Settings


@dataclass(frozen=True)
class Attempt:
    """The trials of one start of the search. A search that was interrupted has several attempts."""

    offset: float
    """Seconds to add to the times of its records. All attempts then share one clock, which begins with the first trial."""
    records: list[Record]
    """At least one, in index order."""
    events: list[NodeEvent]
    """Of its nodes, in their order; empty where nothing is known of them."""

    @property
    def start(self) -> float:
        """When its first trial began, on the common clock."""
        return min(record.started_s for record in self.records) + self.offset

    @property
    def seconds(self) -> float:
        """From the start of its first trial to the end of its last one."""
        return max(record.ended_s for record in self.records) - min(record.started_s for record in self.records)

    @property
    def at_once(self) -> int:
        """The largest number of trials that ran at the same time."""
        running = most = 0
        for _, change in sorted(_changes(self.records)):
            running += change
            most = max(most, running)
        return most

    def slot_seconds(self, cap: int) -> float:
        """Seconds of all slots, from the start of its first trial to the end of its last one.

        There are as many slots as its nodes have, second by second, but no more than `cap`; and as many as trials run, where
        that is more: a result may be heard after the loss of its node. Where nothing is known of nodes, there are as many all
        the time as trials ran at the same time.
        """
        if not self.events:
            return self.seconds * self.at_once
        now, end = self.start - self.offset, self.start - self.offset + self.seconds
        changes = [(at, 0, change) for at, change in _changes(self.records)]
        changes += [(min(max(e.at_s, now), end), e.slots if e.event == "joined" else -e.slots, 0) for e in self.events]
        slots = running = 0
        total = 0.0
        for at, more_slots, more_running in sorted(changes):
            total += (at - now) * max(min(slots, cap), running)
            now, slots, running = at, slots + more_slots, running + more_running
        return total


@dataclass(frozen=True)
class SlotSeconds:
    """Where the seconds of all slots went."""

    learning: float
    trial: float
    """In a trial, but not learning."""
    between: float
    """Between two trials, or with one that did not end there: it was lost, has failed, or was interrupted."""

    def share(self, seconds: float) -> float:
        """These seconds over all."""
        return seconds / max(self.learning + self.trial + self.between, 1e-9)


class SlotClock:
    """Counts the seconds of all slots while it goes, second by second as many as there are. Threads may share it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.slots: int | None = None
        """None until it is told."""
        self.goes = False
        self._clock = clock
        self._counted, self._since = 0.0, clock()
        self._changing = threading.Lock()

    @property
    def seconds(self) -> float:
        """So far."""
        with self._changing:
            return self._seconds()

    def start(self) -> None:
        """Count from nought on."""
        with self._changing:
            self._counted, self._since, self.goes = 0.0, self._clock(), True

    def stop(self) -> None:
        """Stay where it is."""
        with self._changing:
            self._counted, self.goes = self._seconds(), False

    def change(self, slots: int) -> None:
        """From now on there are so many."""
        with self._changing:
            self._counted, self._since, self.slots = self._seconds(), self._clock(), slots

    def _seconds(self) -> float:
        return self._counted + ((self.slots or 0) * (self._clock() - self._since) if self.goes else 0.0)


def slot_limit(settings: Settings | SearchSettings) -> int:
    """As many slots a search can use at most, however many its nodes have."""
    return min(settings.max_concurrent or settings.num_samples, settings.num_samples)


def attempts(records: Sequence[Record], events: Sequence[NodeEvent]) -> list[Attempt]:
    """The attempts, put one after another: the time between two of them is left out. So is one in which no trial ended."""
    result: list[Attempt] = []
    end = 0.0
    by_number: dict[int, list[Record]] = {}
    for record in records:
        by_number.setdefault(record.attempt, []).append(record)
    for number, own in sorted(by_number.items()):
        of_nodes = [event for event in events if event.attempt == number]
        result.append(Attempt(end - min(record.started_s for record in own), own, of_nodes))
        end += result[-1].seconds
    return result


def slot_seconds(records: Sequence[Record], events: Sequence[NodeEvent], cap: int) -> SlotSeconds:
    """Where the time of the slots went, of which there were never more than `cap`."""
    learning = sum(record.attempt_cpu_s for record in records)
    busy = sum(record.seconds for record in records)
    held = sum(attempt.slot_seconds(cap) for attempt in attempts(records, events))
    return SlotSeconds(learning, busy - learning, held - busy)


def _changes(records: Sequence[Record]) -> list[tuple[float, int]]:
    """When how many more trials run."""
    return [(record.started_s, 1) for record in records] + [(record.ended_s, -1) for record in records]

"""Where the time of a search went: its attempts on one clock, and what of their slots' seconds was learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tictactoe.experiment.record import Record


@dataclass(frozen=True)
class Attempt:
    """The trials of one start of the search. A search that was interrupted has several attempts."""

    offset: float
    """Seconds to add to the times of its records. All attempts then share one clock, which begins with the first trial."""
    records: list[Record]
    """At least one, in index order."""

    @property
    def start(self) -> float:
        """When its first trial began, on the common clock."""
        return min(record.started_s for record in self.records) + self.offset

    @property
    def seconds(self) -> float:
        """From the start of its first trial to the end of its last one."""
        return max(record.ended_s for record in self.records) - min(record.started_s for record in self.records)

    @property
    def slots(self) -> int:
        """The largest number of trials that ran at the same time."""
        events = sorted([(r.started_s, 1) for r in self.records] + [(r.ended_s, -1) for r in self.records])
        running = most = 0
        for _, change in events:
            running += change
            most = max(most, running)
        return most


@dataclass(frozen=True)
class SlotSeconds:
    """Where the seconds of all slots went."""

    learning: float
    trial: float
    """In a trial, but not learning."""
    between: float
    """Between two trials."""

    def share(self, seconds: float) -> float:
        """These seconds over all."""
        return seconds / max(self.learning + self.trial + self.between, 1e-9)


def attempts(records: Sequence[Record]) -> list[Attempt]:
    """The attempts, put one after another: the time between two of them is left out."""
    result: list[Attempt] = []
    end = 0.0
    by_number: dict[int, list[Record]] = {}
    for record in records:
        by_number.setdefault(record.attempt, []).append(record)
    for _, own in sorted(by_number.items()):
        result.append(Attempt(end - min(record.started_s for record in own), own))
        end += result[-1].seconds
    return result


def slot_seconds(records: Sequence[Record]) -> SlotSeconds:
    """Where the time of the slots went. In each attempt there are as many slots as trials ran at the same time."""
    learning = sum(record.attempt_cpu_s for record in records)
    busy = sum(record.seconds for record in records)
    held = sum(attempt.seconds * attempt.slots for attempt in attempts(records))
    return SlotSeconds(learning, busy - learning, held - busy)

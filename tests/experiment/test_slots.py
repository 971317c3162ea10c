"""Where the time of a search went."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import made_up
from tests.support.records import node_event, settings, unfinished
from tictactoe.experiment import slots
from tictactoe.experiment.record import NodeEvent, Record

TIMES = [(1, 5, 9, 3), (1, 5, 7, 2), (2, 1, 3, 1), (2, 4, 6, 2)]
"""Attempt, start, end, seconds of learning."""
RECORDS = [
    made_up.record(index, attempt=attempt, started_s=start, ended_s=end, learner_cpu_s=cpu)
    for index, (attempt, start, end, cpu) in enumerate(TIMES)
]
MANY = 1_000


def test_attempts_are_put_one_after_another() -> None:
    first, second = slots.attempts(RECORDS, [])
    assert (first.offset, first.start, first.seconds, first.at_once) == (-5, 0, 4, 2)
    assert (second.offset, second.start, second.seconds, second.at_once) == (3, 4, 5, 1)
    spent = slots.slot_seconds(RECORDS, [], MANY)
    assert spent == slots.SlotSeconds(learning=8, trial=2, between=3)
    assert spent.share(spent.between) == 3 / 13


@pytest.mark.parametrize(
    ("changes", "cap", "seconds"),
    [
        ([(0, "joined", 3)], MANY, 12),  # though two trials ran at the same time
        ([(0, "joined", 3)], 2, 8),
        ([(0, "joined", 2), (8, "joined", 4)], MANY, 2 * 4 + 4 * 1),  # that joins counts from then on
        ([(0, "joined", 2), (0, "joined", 2), (6, "lost", 2)], MANY, 4 * 1 + 2 * 3),  # that is lost, until then
        ([(0, "joined", 2), (0, "joined", 2), (6, "lost", 2)], 3, 3 * 1 + 2 * 3),
        ([(0, "joined", 2), (2, "joined", 2), (4, "lost", 2), (20, "joined", 9)], MANY, 8),  # before and after the trials
        ([(0, "joined", 2), (6, "lost", 2)], MANY, 2 * 1 + 2 * 1 + 1 * 2),  # its trials were heard of after its loss
        ([], MANY, 8),
    ],
)
def test_slots_count_from_joining_to_loss(changes: list[tuple[float, str, int]], cap: int, seconds: float) -> None:
    events = [node_event(index, at_s=at, event=event, slots=of) for index, (at, event, of) in enumerate(changes)]
    first, second = slots.attempts(RECORDS, events)
    assert first.slot_seconds(cap) == seconds
    assert second.slot_seconds(cap) == 5  # nothing is known of its nodes
    spent = slots.slot_seconds(RECORDS, events, cap)
    assert spent == slots.SlotSeconds(learning=8, trial=2, between=seconds + 5 - 10)


def test_each_attempt_has_its_own_nodes() -> None:
    events = [node_event(0, slots=2), node_event(1, attempt=2, slots=1), node_event(2, attempt=2, at_s=3.5, node="b", slots=1)]
    assert [one.slot_seconds(MANY) for one in slots.attempts(RECORDS, events)] == [8, 2.5 + 2 * 2.5]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Record], list[NodeEvent], int]:
    """Trials, nodes, and a limit of slots, all at whole milliseconds; a node is lost after it has joined, if at all."""
    moment = st.integers(0, 60)
    spans = draw(st.lists(st.tuples(moment, moment).map(sorted), min_size=1, max_size=6))
    records = [made_up.record(index, started_s=start / 1_000, ended_s=end / 1_000) for index, (start, end) in enumerate(spans)]
    changes = list[tuple[int, str, int]]()
    for joined, lost, size in draw(st.lists(st.tuples(moment, st.none() | moment, st.integers(1, 4)), min_size=1, max_size=5)):
        changes.append((joined, "joined", size))
        if lost is not None:
            changes.append((max(joined, lost), "lost", size))
    changes.sort(key=lambda change: change[0])
    events = [node_event(index, at_s=at / 1_000, event=event, slots=size) for index, (at, event, size) in enumerate(changes)]
    return records, events, draw(st.integers(1, 12))


@given(histories())
def test_slot_seconds_are_the_sum_over_all_milliseconds(history: tuple[list[Record], list[NodeEvent], int]) -> None:
    records, events, cap = history
    first, last = min(r.started_s for r in records), max(r.ended_s for r in records)
    summed = 0
    for millisecond in range(round(first * 1_000), round(last * 1_000)):
        now = (millisecond + 0.5) / 1_000
        there = sum((1 if event.event == "joined" else -1) * event.slots for event in events if event.at_s < now)
        running = sum(record.started_s < now < record.ended_s for record in records)
        summed += max(min(there, cap), running)
    (attempt,) = slots.attempts(records, events)
    assert attempt.slot_seconds(cap) == pytest.approx(summed / 1_000, abs=1e-9)


def test_a_search_has_no_more_slots_than_trials() -> None:
    assert slots.slot_limit(settings(num_samples=8)) == 8
    assert slots.slot_limit(settings(num_samples=8, max_concurrent=3)) == 3
    assert slots.slot_limit(settings(num_samples=8, max_concurrent=9)) == 8
    assert slots.slot_limit(unfinished().settings) == 2

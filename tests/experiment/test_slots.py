"""Where the time of a search went."""

from __future__ import annotations

from tests.support import made_up
from tictactoe.experiment import slots


def test_attempts_are_put_one_after_another() -> None:
    times = [(1, 5, 9, 3), (1, 5, 7, 2), (2, 1, 3, 1), (2, 4, 6, 2)]  # attempt, start, end, seconds of learning
    records = [
        made_up.record(index, attempt=attempt, started_s=start, ended_s=end, learner_cpu_s=cpu)
        for index, (attempt, start, end, cpu) in enumerate(times)
    ]
    first, second = slots.attempts(records)
    assert (first.offset, first.start, first.seconds, first.slots) == (-5, 0, 4, 2)
    assert (second.offset, second.start, second.seconds, second.slots) == (3, 4, 5, 1)
    spent = slots.slot_seconds(records)
    assert spent == slots.SlotSeconds(learning=8, trial=2, between=3)
    assert spent.share(spent.between) == 3 / 13
